"""app.py as users start it: mistakes end in one line, nothing can be fetched or pushed, and a visitor sees a motion."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.page_attacks import CLIPS, CLOSED, bad_requests, leave, send_all, slow_requests
from tests.visualization.motions import make_walk

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
FILE = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
START = 240  # seconds that a busy machine may need

needs_gradio = pytest.mark.skipif(
    not importlib.util.find_spec("gradio"), reason="no Gradio here: pip install -r requirements-app.txt"
)
needs_browser = pytest.mark.skipif(
    not CHROMIUM or not importlib.util.find_spec("playwright"), reason="no Chromium or no Playwright here"
)


@dataclass
class Server:
    """A running app.py."""

    process: subprocess.Popen[str]
    port: int
    temporary: Path
    lines: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Sends exactly this path: nothing tidies `..` away."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=START)
        with contextlib.closing(connection):
            data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
            sent = {"Content-Type": "application/json"} if data is not None else {}
            connection.request(method, path, data, {**sent, **{k.replace("_", "-"): v for k, v in headers.items()}})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()

    def files(self) -> set[str]:
        """Everything in the server's temporary folder."""
        return {str(path.relative_to(self.temporary)) for path in self.temporary.rglob("*")}


@contextlib.contextmanager
def running(temporary: Path, *arguments: str) -> Iterator[Server]:
    """Starts app.py on a free port, with a temporary folder of its own."""
    process = subprocess.Popen(
        [sys.executable, "app.py", "--port", "0", "--gpu_id", "-1", *arguments],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(temporary), "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    server = Server(process, 0, temporary)
    started = threading.Event()

    def read() -> None:
        for line in process.stdout:
            server.lines.append(line)
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                server.port = int(found[1])
                started.set()
        started.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        assert started.wait(START) and server.port, "".join(server.lines)
        deadline = time.monotonic() + START
        while True:  # the port listens before the page is there: the first answer waits for it
            with contextlib.suppress(ConnectionError):
                assert server.ask("GET", "/health")[0] == 200
                break
            assert time.monotonic() < deadline and process.poll() is None, "".join(server.lines)
            time.sleep(0.1)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        finally:
            process.kill()
            reader.join(10)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server"), "--linger", "3") as started:
        yield started


def run_app(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "app.py", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=START
    )


def assert_refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 2, result.stdout + result.stderr
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, result.stderr
    assert all(word in result.stderr for word in words), result.stderr


def test_without_gradio_one_line_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, package=None: None if name == 'gradio' else find(name, package)\n"
    )
    assert_refused(run_app(PYTHONPATH=str(tmp_path)), "pip install -r requirements-app.txt")


@needs_gradio
def test_a_port_in_use_and_a_foreign_host_are_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert_refused(run_app("--port", port), f"--port {port} on 127.0.0.1", "in use", "choose another")
    assert_refused(run_app("--host", "no.such.host.invalid"), "--host no.such.host.invalid")
    assert_refused(run_app("--port", "0", "--mtrans_name", "nowhere"), "nowhere", "mtrans")


@needs_gradio
def test_health_tells_what_runs(server: Server) -> None:
    status, headers, body = server.ask("GET", "/health")
    health = json.loads(body)
    assert status == 200 and headers["content-type"] == "application/json"
    assert health["status"] == "ok" and health["dataset"] == "open" and health["device"] == "cpu"
    assert health["models"]["mtrans"] == "mtrans" and health["library"] > 0
    assert health["queue"] == {"running": 0, "waiting": 0, "limit": 8}


@needs_gradio
def test_it_listens_on_this_machine_alone(server: Server) -> None:
    listening = Path("/proc/net/tcp")
    if not listening.exists():
        pytest.skip("no /proc/net/tcp here")
    rows = [line.split() for line in listening.read_text().splitlines()[1:]]
    local = {row[1].split(":")[0] for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == server.port}
    assert local == {"0100007F"}
    assert server.ask("GET", "/health", Host="evil.example")[0] == 403, "another site's name opens the page"


@needs_gradio
@pytest.mark.parametrize(
    "path",
    [
        "/file=/etc/passwd",
        "/file/etc/passwd",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=../../../../../../etc/passwd",
        "/gradio_api/file=%2Fetc%2Fpasswd",
        "/gradio_api/file=app.py",
        "/gradio_api/file=http://127.0.0.1/",
        "/gradio_api/proxy=http://127.0.0.1/",
        "/gradio_api/stream/a/b/c/playlist.m3u8",
        "/gradio_api/upload",
        "/clips/x",
        "/gradio_api/deep_link",
        "/gradio_api/runs",
        "/results/../../../../etc/passwd",
        "/results/x/..%2f..%2f..%2fetc%2fpasswd",
        "/results/x/motion.mp4",
        "/results/%2e%2e/motion.mp4",
        "/static/../../../../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/assets/..%2f..%2f..%2froutes.py",
        "/assets//etc/passwd",
        "/svelte/../../routes.py",
        "/monitoring",
        "/docs",
        "/openapi.json",
    ],
)
def test_no_path_fetches_a_file(server: Server, path: str) -> None:
    status, _, body = server.ask("GET", path)
    assert status in (403, 404) and b"root:" not in body and b"import" not in body


@needs_gradio
def test_nothing_can_be_pushed(server: Server) -> None:
    before = server.files()
    upload = b'--x\r\nContent-Disposition: form-data; name="files"; filename="../evil"\r\n\r\nevil\r\n--x--\r\n'
    form = "multipart/form-data; boundary=x"
    assert server.ask("POST", "/gradio_api/upload", upload, Content_Type=form)[0] == 404
    assert server.ask("POST", "/gradio_api/component_server", {"data": []})[0] == 404
    assert server.ask("POST", "/gradio_api/run/predict", {"data": []})[0] == 404
    assert server.ask("PUT", "/results/x/motion.mp4", b"x")[0] == 405
    join = {"data": [], "fn_index": 0, "session_hash": "a"}
    assert server.ask("POST", "/gradio_api/queue/join", join, Origin="http://evil.example")[0] == 403
    assert server.ask("POST", "/gradio_api/queue/join", {**join, "data": ["x" * 100_000]})[0] == 413
    assert server.files() == before


def event_of(server: Server) -> int:
    """The number of the page's event."""
    config = json.loads(server.ask("GET", "/config")[2])
    events = [each for each in config["dependencies"] if any(target[1] == "submit" for target in each["targets"])]
    return events[0]["id"]


def send(server: Server, data: list[Any], session: str, event: int | None = None) -> str:
    """What the page's event answers to `data`, as the stream of the queue tells it; the refusal of the guard."""
    body = {"data": data, "fn_index": event_of(server) if event is None else event, "session_hash": session}
    status, _, answer = server.ask("POST", "/gradio_api/queue/join", body)
    if status == 400:
        return answer.decode()
    assert status == 200, answer
    return server.ask("GET", f"/gradio_api/queue/data?session_hash={session}")[2].decode()


@needs_gradio
@pytest.mark.parametrize(
    "data, message",
    [
        (["a" * 501, True, 3, True, 0, 2, 10, 1], "501 characters"),
        (["  ", True, 3, True, 0, 2, 10, 1], "The prompt is empty"),
        (["a", False, 1.0, True, 0, 2, 10, 1], "The length in frames must be 32 to 196 (1.6 to 9.8 s), not 20"),
        (["a", False, "/etc/passwd", True, 0, 2, 10, 1], "The length in frames must be a whole number"),
        (["a", False, 10**30, True, 0, 2, 10, 1], "plain values"),
        (["a", True, 3, True, 2**40, 2, 10, 1], "The seed must be"),
        (["a", True, 3, True, 0, 1e9, 10, 1], "The guidance must be 0 to 10"),
        (["a", True, 3, True, 0, float("nan"), 10, 1], "plain values"),
        (["a", True, 3, True, 0, 2, 10**9, 1], "The number of steps must be 1 to 50"),
        (["a", True, 3, "on", 0, 2, 10, 1], "Retrieval must be on or off"),
        (["a", True, 3, True, 0, 2, 10, 9], "The number of motions must be 1 to 4, not 9"),
        (["a"], '"success":false'),
        ([FILE, True, 3, True, 0, 2, 10, 1], "plain values"),
        ([FILE | {"url": "http://127.0.0.1/x"}] * 8, "plain values"),
        (["a", [FILE], 3, True, 0, 2, 10, 1], "plain values"),
        (["a", [[FILE]], 3, True, 0, 2, 10, 1], "plain values"),
    ],
)
def test_forged_requests_do_nothing(server: Server, data: list[Any], message: str) -> None:
    before = server.files()
    answer = send(server, data, f"forged{abs(hash(str(data)))}")
    assert message in answer, answer[-500:]
    assert "results/" not in answer and "root:x" not in answer
    assert server.files() == before, "a forged request left files"
    assert json.loads(server.ask("GET", "/health")[2])["queue"]["running"] == 0


STORY = '[[0, 2, "", "a person walks"]]'
CHANGE = ["x/0", 0, 1, "a person waves", "arms", 1, True, 0, 2, 2]


@needs_gradio
@pytest.mark.parametrize(
    "data, message",
    [
        ([None, True, 0, 2, 2], "The story cannot be read"),
        (["[" * 20_000, True, 0, 2, 2], "The story cannot be read"),
        (['[[0, 99, "", "a"]]', True, 0, 2, 2], "Scene 1: the end in seconds must be 0 to 60, not 99"),
        (['[[0, 2, "../x", "a"]]', True, 0, 2, 2], "Scene 1: no body part is called"),
        ([STORY, True, 0, 2, 51], "The number of steps must be 1 to 50"),
        ([[[0, 2, "", "a"]], True, 0, 2, 2], "plain values"),
        ([FILE, True, 0, 2, 2], "plain values"),
        (CHANGE, "This motion is gone"),
        (["../../etc/passwd/0", *CHANGE[1:]], "Nothing is chosen"),
        (["x/0", 5, 1, *CHANGE[3:]], "5 to 1 s: what is drawn ends after it starts"),
        ([*CHANGE[:5], 7, *CHANGE[6:]], "The strength must be 0 to 1, not 7"),
        ([FILE, *CHANGE[1:]], "plain values"),
    ],
)
def test_forged_stories_and_changes_do_nothing(server: Server, data: list[Any], message: str) -> None:
    before, told = server.files(), len(server.lines)
    event = next(event for event, count in events_of(server) if count == len(data))
    answer = send(server, data, f"directs{abs(hash(str(data)))}", event)
    assert message in answer and "results/" not in answer, answer[-500:]
    assert server.files() <= before and not server.lines[told:]


def events_of(server: Server) -> list[tuple[int, int]]:
    """The numbers of the page's events that its server answers, and of their inputs."""
    config = json.loads(server.ask("GET", "/config")[2])
    return [(each["id"], len(each["inputs"])) for each in config["dependencies"] if each["backend_fn"]]


def idle(server: Server) -> None:
    """Returns when no prompt is worked on or waits."""
    deadline = time.monotonic() + START
    while sum(json.loads(server.ask("GET", "/health")[2])["queue"][each] for each in ("running", "waiting")):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@needs_gradio
def test_every_event_answers_forged_values_in_words(server: Server) -> None:
    token = server.ask("POST", CLIPS, b"HIERARCHY", X_Name="a.bvh")[2].decode()
    assert re.fullmatch(r"[\w-]{22}", token)
    said = len(server.lines)  # Gradio itself prints what it refuses of forged requests
    before = {name for name in server.files() if "result_" in name}
    for number, (event, count) in enumerate(events_of(server)):
        for kind, value in enumerate((None, -1, "../x", True, token)):
            body = {"data": [value] * count, "fn_index": event, "session_hash": f"any{number}{kind}"}
            assert server.ask("POST", "/gradio_api/queue/join", body)[0] == 200
            answer = server.ask("GET", f"/gradio_api/queue/data?session_hash=any{number}{kind}")[2].decode()
            assert "process_completed" in answer and "results/" not in answer and '"success":false' not in answer, (
                answer
            )
    assert {name for name in server.files() if "result_" in name} <= before
    assert not any("Traceback" in line for line in server.lines[said:]), server.lines[said:]


@needs_gradio
def test_a_result_is_shown_again_to_its_visitor_alone(server: Server) -> None:
    token = re.search(r"results/([\w-]+)/", send(server, ["a person waves", False, 2, True, 0, 2, 2, 1], "mine"))[1]
    show = next(event for event, count in events_of(server) if count == 1)

    def ask(name: str) -> str:
        body = {"data": [token], "event_data": {}, "fn_index": show, "session_hash": name}
        assert server.ask("POST", "/gradio_api/queue/join", body)[0] == 200
        return server.ask("GET", f"/gradio_api/queue/data?session_hash={name}")[2].decode()

    assert f"results/{token}/motion.mp4" in ask("mine")
    other = ask("other")
    assert "is gone" in other and token not in other


@needs_gradio
def test_hostile_requests_are_refused_and_slow_ones_ended(server: Server) -> None:
    idle(server)  # what other tests asked for is done
    before, told = server.files(), len(server.lines)
    at_once = {name: (data, b"") for name, data in bad_requests(server.port, event_of(server)).items()}
    said = send_all(server.port, {**at_once, **slow_requests(server.port)}, 60)
    busy = {name for name, status in said.items() if status == 503 and "clip" in name}  # few may come at once
    wrong = {
        name: status
        for name, status in said.items()
        if status != CLOSED and not 400 <= status < 500 and name not in busy
    }
    assert len(said) > 90 and not wrong
    assert said["half of a body"] == said["a slow body"] == 408
    assert server.files() <= before and not any("Traceback" in line for line in server.lines[told:]), server.lines
    assert json.loads(server.ask("GET", "/health")[2])["queue"]["running"] == 0


@needs_gradio
def test_who_leaves_gives_up_the_place_in_the_line(server: Server) -> None:
    event, before = event_of(server), server.files()
    for number in range(7):
        leave(server.port, event, f"leaves{number}")
    idle(server)
    made = [name for name in server.files() - before if name.endswith("motion.mp4")]
    assert len(made) <= 3, "motions are made for those who left"


@contextlib.contextmanager
def running_page(context: Any, url: str) -> Iterator[Any]:
    """The page once more, as another visitor sees it."""
    page = context.new_page()
    page.goto(url)
    page.get_by_role("button", name="Generate").wait_for()
    yield page
    page.close()


@needs_gradio
@needs_browser
def test_a_visitor_types_a_prompt_and_sees_a_motion(server: Server, tmp_path: Path) -> None:
    from playwright.sync_api import expect, sync_playwright

    said: list[str] = []
    asked: list[str] = []
    with sync_playwright() as playwright, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, headless=True, args=FLAGS, viewport={"width": 1280, "height": 900}
        )
        context.set_default_timeout(1000 * START)
        expect.set_options(timeout=1000 * START)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(server.url)

        prompt, button = page.get_by_role("textbox", name="Motion"), page.get_by_role("button", name="Generate")
        example = page.locator(".chips button").first
        example.click()
        expect(prompt).to_have_value(example.inner_text())
        prompt.fill("a" * 501)
        expect(page.locator("#count .over")).to_have_text("501 of 500 characters")
        button.click()
        expect(page.get_by_role("alert")).to_have_text(
            "The prompt has 501 characters, at most 500 are read: shorten it."
        )
        assert page.locator("video").count() == 0

        page.get_by_role("button", name="What the models know").click()
        expect(page.locator(".words")).to_contain_text("walks")
        assert page.locator("#words .chips button").count() > 15
        page.locator("#words .chips button").last.click()
        expect(prompt).to_have_value(page.locator("#words .chips button").last.inner_text())

        prompt.fill("a person walks <b>forward</b>")
        button.click()
        video = page.locator("video")
        expect(video).to_be_visible()
        expect(page.get_by_role("alert")).to_have_count(0)
        page.wait_for_function("document.querySelector('video').readyState >= 2")
        assert 2 <= video.evaluate("each => each.duration") <= 10
        assert video.evaluate("each => [each.videoWidth, each.videoHeight]") == [854, 480]
        assert page.locator(".result h2").inner_text() == "a person walks <b>forward</b>"

        viewer = page.frame_locator("iframe.viewer")
        expect(viewer.locator("canvas")).to_have_count(4)  # the motion and three retrieved ones
        html, canvas = viewer.locator("html"), viewer.locator("canvas").first
        before = (html.get_attribute("data-frame"), canvas.evaluate("each => each.toDataURL()"))
        expect(html).not_to_have_attribute("data-frame", before[0])
        assert canvas.evaluate("each => each.toDataURL()") != before[1], "the figure does not move"
        expect(viewer.locator(".counter").first).to_have_text(re.compile(r"frame \d+ of \d+ · \d\.\d\d s"))
        inside = viewer.locator("body").evaluate(
            "each => [each.scrollWidth, each.scrollHeight, innerWidth, innerHeight]"
        )
        assert inside[0] <= inside[2] and inside[1] <= inside[3], "the 3D view does not fit its frame"

        assert page.locator(".neighbours li").count() == 3 and page.locator(".neighbours b").count() >= 1
        starts = {"mp4": b"ftyp", "bvh": b"HIERARCHY", "glb": b"glTF", "npy": b"\x93NUMPY", "html": b"<!DOCTYPE"}
        links = page.locator(".downloads a")
        assert links.count() == 6
        for number in range(links.count()):
            with page.expect_download() as downloading:
                links.nth(number).click()
            name = downloading.value.suggested_filename
            downloading.value.save_as(tmp_path / name)
            kind = name.rsplit(".", 1)[1]
            assert (
                name.startswith("a_person_walks_b_forward_b_0") and starts[kind] in (tmp_path / name).read_bytes()[:32]
            )
        assert len(list(tmp_path.iterdir())) == 6

        assert page.locator(".remark").count() == 0
        prompt.fill("a <i>backflip</i>")
        button.click()
        expect(page.locator(".result .remark")).to_contain_text("I do not know: backflip")

        # Another seed, and back to what was there before.
        seed, facts = page.get_by_label("Seed", exact=True), page.locator(".result header p")
        expect(page.locator(".history button")).to_have_count(2)
        page.get_by_role("button", name="Another seed").click()
        expect(facts).to_contain_text("seed 1")
        expect(seed).to_have_value("1")
        expect(page.locator(".history button")).to_have_count(3)
        page.locator(".history button").last.click()
        expect(page.locator(".result h2")).to_have_text("a person walks <b>forward</b>")
        expect(prompt).to_have_value("a person walks <b>forward</b>")
        expect(seed).to_have_value("0")
        page.wait_for_function("document.querySelector('video').readyState >= 2")

        # A clip of one's own is shown with what is near it, and added; it is on the disk neither then nor later.
        np.save(tmp_path / "my walk.npy", make_walk(frames=80))
        page.get_by_role("button", name="Your own clips").click()
        similar, caption = page.get_by_role("button", name="Find similar"), page.get_by_label("What it shows")
        similar.click()
        expect(page.get_by_role("alert")).to_have_text("Choose a file first.")
        page.locator("#clip-file input").set_input_files(tmp_path / "my walk.npy")
        similar.click()
        expect(page.locator(".result h2")).to_have_text("like my walk.npy")
        expect(page.get_by_role("alert")).to_have_count(0)
        found = page.locator(".neighbours .caption").first
        found.click()
        expect(prompt).to_have_value(found.inner_text())
        caption.fill("a <i>zorba</i> twist")
        page.get_by_role("button", name="Add to my library").click()
        expect(page.locator(".clips li")).to_contain_text("a <i>zorba</i> twist")
        assert not [name for name in server.files() if "walk" in name or "clip" in name]
        prompt.fill("a <i>zorba</i> twist")
        page.locator("#several label").filter(has_text=re.compile(r"^\s*2\s*$")).click()
        button.click()
        expect(facts).to_contain_text("seeds 0 to 1")
        expect(page.locator(".neighbours .facts").first).to_contain_text(re.compile("yours_1.*used"))
        expect(page.frame_locator("iframe.viewer").locator(".counter")).to_have_count(2)
        assert page.locator(".downloads a").count() == 2 + 2 * 4

        with running_page(context, server.url) as other:
            assert other.locator(".history button, .clips li").count() == 0, "another visitor's results are shown"

        for width in (1280, 400):
            page.set_viewport_size({"width": width, "height": 900})
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"at {width} pixels the page is {wide} wide"
        kept = {name for name in server.files() if name.endswith("viewer.html")}
        assert len(kept) >= 5
        context.close()
    deadline = time.monotonic() + START
    while kept & server.files():
        assert time.monotonic() < deadline, "files of a visitor who left stay"
        time.sleep(0.2)
    assert not said, said
    assert all(url.startswith((server.url, "blob:", "data:")) for url in asked), "the page asked someone else"


@needs_gradio
@needs_browser
def test_a_visitor_tells_a_story_and_changes_it(server: Server, tmp_path: Path) -> None:
    from playwright.sync_api import expect, sync_playwright

    said: list[str] = []
    walk = make_walk(frames=80).astype(np.float32)
    np.save(tmp_path / "my walk.npy", walk)
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS) as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(1000 * START)
        expect.set_options(timeout=1000 * START)
        page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(server.url)

        def joints() -> np.ndarray:
            with page.expect_download() as downloading:
                page.locator(".downloads a").filter(has_text="Joints").click()
            downloading.value.save_as(tmp_path / "made.npy")
            return np.load(tmp_path / "made.npy")

        def button(name: str) -> Any:
            return page.get_by_role("button", name=name)

        # Blocks and typed times are one thing, and what is wrong stands at its scene.
        page.get_by_role("tab", name="Story").click()
        expect(page.locator(".scenes li")).to_have_count(3)
        assert not button("Generate").is_visible() and not page.get_by_text("Length from the text").is_visible()
        box = page.locator(".stretch").nth(1).bounding_box()
        page.mouse.move(box["x"] + box["width"] - 3, box["y"] + 9)
        page.mouse.down()
        page.mouse.move(box["x"] - 400, box["y"] + 9, steps=3)
        page.mouse.move(box["x"] + 50, box["y"] + 9, steps=3)
        page.mouse.up()
        ends = page.get_by_label("End of scene 2")
        assert 4.2 <= float(ends.input_value()) < 7
        page.get_by_label("Start of scene 2").fill("2")
        ends.fill("3.2")
        button("Tell the story").click()
        expect(page.locator(".scenes li .wrong")).to_have_text(re.compile("2-3.2 s overlaps scene 1"))
        assert page.locator(".stretch.wrong").count() == 1 and page.locator("video").count() == 0
        button("Remove scene 3").click()
        page.get_by_label("End of scene 1").fill("2")
        button("Add a scene: arms").click()
        page.get_by_label("Start of scene 3").fill("0.4")
        page.get_by_label("End of scene 3").fill("2")
        page.get_by_label("What happens in scene 3").fill("a <i>person</i> waves")
        expect(page.locator(".stretch.part")).to_have_text("3 a <i>person</i> waves")
        button("Tell the story").click()
        title, facts = page.locator(".result h2"), page.locator(".result header p")
        expect(title).to_have_text("a person walks forward; a <i>person</i> waves; a person jumps")
        expect(facts).to_contain_text("3.2 s · 64 frames · seed 0")
        expect(page.locator(".scenes .wrong, .message")).to_have_count(0)
        told = joints()
        assert told.shape == (64, 22, 3)
        button("Another seed").click()
        expect(facts).to_contain_text("seed 1")

        # What is in view is changed where it is marked; then a file of one's own.
        button("Change it").click()
        expect(page.locator(".source")).to_contain_text("3.2 s")
        button("the middle").click()
        page.get_by_label("Start of what is drawn").fill("1.2")
        page.get_by_label("What is to be seen").fill("a person kicks")
        seen = joints()
        button("Change the motion").click()
        expect(title).to_have_text("a person kicks")
        made = joints()
        assert np.array_equal(made[:24], seen[:24]) and not np.array_equal(made, seen)
        expect(page.frame_locator("iframe.viewer").locator("canvas")).to_have_count(2)
        expect(page.locator(".source")).to_contain_text("a person walks forward")
        page.locator("#mark-board input[type=file]").set_input_files(tmp_path / "my walk.npy")
        expect(title).to_have_text("my walk.npy")
        expect(page.locator(".source")).to_have_text("my walk.npy 4 s")
        button("how it goes on").click()
        expect(page.get_by_label("End of what is drawn")).to_have_value("7")
        button("Change the motion").click()
        expect(facts).to_contain_text("7.0 s · 140 frames · 4 to 7 s: whole body")
        assert np.array_equal(joints()[:80], walk)

        # Back to the story: its scenes are there again.
        page.locator(".history button").last.click()
        expect(title).to_have_text("a person walks forward; a <i>person</i> waves; a person jumps")
        expect(page.get_by_label("What happens in scene 3")).to_have_value("a <i>person</i> waves")
        expect(page.get_by_label("Seed", exact=True)).to_have_value("0")
        for kind in ("Story", "Change", "Prompt"):
            page.get_by_role("tab", name=kind).click()
            for width in (1280, 390):
                page.set_viewport_size({"width": width, "height": 800})
                wide = page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, f"at {width} pixels {kind} is {wide} wide"
    assert not said, said


@needs_gradio
def test_everything_is_removed_at_the_end(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        send(server, ["a person waves", False, 2, True, 0, 2, 2, 1], "ending")
        assert any(name.endswith("motion.mp4") for name in server.files())
        page = threading.Thread(target=lambda: server.ask("GET", "/gradio_api/heartbeat/open"), daemon=True)
        page.start()  # a page that is open when the server is told to stop
        time.sleep(1.0)
    page.join(10)
    assert not page.is_alive()
    assert server.process.returncode == 0, "".join(server.lines)
    assert not server.files(), "something is left behind"
    assert not any(word in "".join(server.lines) for word in ("Traceback", "ERROR")), server.lines
