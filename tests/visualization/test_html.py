"""The page is one file, survives hostile captions, and plays in a real browser where there is one."""

from __future__ import annotations

import base64
import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.visualization.motions import make_walk
from utils.errors import UserError
from utils.formats import HUMANML3D, get_format
from visualization.body import get_body
from visualization.captioned import CaptionedMotion
from visualization.html import write_html

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--virtual-time-budget=120000"]
HOSTILE = "</script><script>document.title='taken'</script><!-- \" ' & \u2028 /*MOTIONS*/ 走"
# Runs inside the page: what a person would do, and what they would see.
VISIT = """
<script>
const seen = {};
const pixels = () => document.querySelector("canvas").toDataURL();
seen.first = pixels();
let visits = 0;
const waiting = setInterval(() => {
  // The page's clock is virtual and runs ahead of its frames on a busy machine: pictures take real time.
  if (Number(document.documentElement.dataset.frame) <= 3 && ++visits < 900 && pixels()) return;
  clearInterval(waiting);
  seen.playedTo = Number(document.documentElement.dataset.frame);
  seen.moved = pixels() !== seen.first;
  document.getElementById("play").click();
  const paused = document.documentElement.dataset.frame;
  setTimeout(() => {
    seen.pauses = document.documentElement.dataset.frame === paused;
    const scrub = document.getElementById("scrub");
    scrub.value = 5;
    scrub.dispatchEvent(new Event("input"));
    seen.scrubbedTo = Number(document.documentElement.dataset.frame);
    const before = pixels(), canvas = document.querySelector("canvas");
    canvas.dispatchEvent(new PointerEvent("pointermove", { buttons: 1, movementX: 80, movementY: 10 }));
    seen.turns = pixels() !== before;
    document.getElementById("view").click();
    seen.resets = pixels() === before;
    document.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
    document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
    seen.steppedTo = Number(document.documentElement.dataset.frame);
    seen.title = document.title;
    seen.prompts = [...document.querySelectorAll(".prompt")].map(e => e.textContent);
    seen.retrieved = [...document.querySelectorAll("li")].map(e => e.textContent);
    const result = document.createElement("pre");
    result.id = "seen";
    result.textContent = btoa(unescape(encodeURIComponent(JSON.stringify(seen))));
    document.body.append(result);
  }, 300);
}, 100);
</script>
"""


def content_of(path: Path) -> dict:
    """The data inside a page."""
    found = re.search(r'<script id="motions" type="application/json">(.*?)</script>', path.read_text("utf-8"), re.S)
    assert found
    return json.loads(found.group(1))


def test_page_holds_everything(tmp_path: Path) -> None:
    joints = make_walk(frames=30)
    panels = [CaptionedMotion(joints, HOSTILE, "a", [("000001", HOSTILE, 0.5)]), CaptionedMotion(joints[:7], "b")]
    path = write_html(tmp_path / "page.html", panels, 20, title=HOSTILE)
    text = path.read_text("utf-8")
    assert not re.search(r"https?://|src=|href=|@import|url\(", text)
    assert text.count("<script") == text.count("</script>") == 2
    content = content_of(path)
    assert content["title"] == content["motions"][0]["prompt"] == HOSTILE
    assert content["motions"][0]["retrieved"] == [["000001", HOSTILE, "0.500"]]
    points = np.frombuffer(base64.b64decode(content["motions"][1]["points"]), "<f4").reshape(7, -1, 3)
    np.testing.assert_allclose(points, get_body(HUMANML3D).display_points(joints[:7]), atol=1e-5)


def test_figures_side_by_side_stand_on_one_line(tmp_path: Path) -> None:
    """The view looks at the same height above the ground of each, however high one of them jumps."""
    stand = np.repeat(make_walk(frames=1), 6, axis=0)
    leap = stand + [0, 1.0, 0]
    leap[2:4, :, 1] += 0.8
    content = content_of(write_html(tmp_path / "page.html", [CaptionedMotion(stand), CaptionedMotion(leap)], 20))
    looked_at = [np.frombuffer(base64.b64decode(motion["path"]), "<f4").reshape(-1, 3) for motion in content["motions"]]
    np.testing.assert_allclose(looked_at[1][:, 1] - looked_at[0][:, 1], 1.0, atol=1e-4)


def test_a_leading_panel_needs_others(tmp_path: Path) -> None:
    panel = CaptionedMotion(make_walk(frames=3))
    for panels, lead, expected in (([panel], True, False), ([panel] * 3, True, True), ([panel] * 3, False, False)):
        assert content_of(write_html(tmp_path / "page.html", panels, 20, lead=lead))["lead"] is expected


def test_bad_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least one"):
        write_html(tmp_path / "a.html", [], 20)
    with pytest.raises(UserError, match="shape"):
        write_html(tmp_path / "a.html", [CaptionedMotion(np.zeros((3, 4, 3)))], 20)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here")
@pytest.mark.parametrize("dataset", ["humanml3d", "kit"])
def test_page_works_in_a_browser(tmp_path: Path, dataset: str) -> None:
    joints = make_walk(dataset, frames=60)
    panels = [
        CaptionedMotion(joints, HOSTILE, "label", [("000001", "someone walks", 0.875)]),
        CaptionedMotion(joints[:1], "one frame"),
    ]
    path = write_html(tmp_path / "page.html", panels, 20, get_format(dataset), title="two figures")
    path.write_text(path.read_text("utf-8").replace("</body>", VISIT + "</body>"), "utf-8")
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert "CONSOLE" not in done.stderr, done.stderr
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout)
    assert found, done.stdout[-2000:]
    seen = json.loads(base64.b64decode(found.group(1)))
    assert seen["playedTo"] > 3 and seen["moved"]
    assert seen["pauses"] and seen["scrubbedTo"] == 6 and seen["turns"] and seen["resets"]
    assert seen["steppedTo"] == 8
    assert seen["title"] == "two figures"
    assert seen["prompts"] == [HOSTILE, "one frame"]
    assert seen["retrieved"] == ["0.875someone walks"]


@pytest.mark.skipif(not CHROMIUM or not importlib.util.find_spec("playwright"), reason="no Chromium or no Playwright")
def test_controls_are_in_view_and_each_figure_counts_its_own_frames(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    joints, prompt = make_walk(frames=40), "a person walks in a wide circle to the left and " * 4
    found = [("000001", "someone walks", 0.875)] * 3
    pages = {
        count: write_html(
            tmp_path / f"{count}.html",
            [CaptionedMotion(joints[: 40 - 3 * n], prompt, f"seed {n}", found) for n in range(count)],
            20,
        )
        for count in (1, 2, 3, 4, 9)
    }
    panels = [CaptionedMotion(joints[:20], "led", "generated"), CaptionedMotion(joints, "longer", "retrieved")]
    leading = write_html(tmp_path / "lead.html", panels, 20, lead=True)
    look = """() => {
      const every = name => [...document.querySelectorAll(name)];
      return {
      bottom: document.querySelector("footer").getBoundingClientRect().bottom,
      page: [document.documentElement.scrollWidth, document.documentElement.scrollHeight],
      least: Math.min(...every("canvas").flatMap(each => [each.clientWidth, each.clientHeight])),
      seen: every("figure").filter(each => each.getBoundingClientRect().top < innerHeight - 150).length,
    } }"""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        for width, height in ((1280, 720), (1366, 768), (390, 844)):
            page.set_viewport_size({"width": width, "height": height})
            for count, path in pages.items():
                page.goto(path.as_uri())
                seen = page.evaluate(look)
                assert seen["bottom"] <= height and seen["page"] == [width, height], (count, width, seen)
                assert seen["least"] >= 120, (count, width, seen)
                assert seen["seen"] == count or (count, width) == (9, 390), (count, width, seen)
        page.goto(pages[2].as_uri())
        page.locator("#scrub").fill("38")
        assert page.locator(".counter").all_inner_texts() == ["frame 39 of 40 · 1.90 s", "frame 37 of 37 · ended"]
        page.goto(leading.as_uri())
        page.locator("#scrub").fill("5.5")
        assert page.locator(".counter").first.inner_text() == "frame 6 of 20 · 0.28 s"
        assert page.locator(".counter").nth(1).is_hidden() and page.locator("#scrub").get_attribute("max") == "19"
        assert page.locator("#time").inner_text() == "0.3 of 1.0 s"
        browser.close()
