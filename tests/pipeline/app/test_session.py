"""From a request to files: the shipped models do it all, one at a time, and a full line turns others away."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from data.specs import get_spec
from models.configs import SamplingSettings
from options.app import AppOptions, ServerOptions
from options.command_line import parse
from options.demo import DemoOptions
from options.groups import DatasetOptions
from pipeline.app.markup import show_chips, show_clips, show_error, show_history, show_result
from pipeline.app.results import EACH, FILES, ResultStore, numbered
from pipeline.app.rooms import Neighbour, OwnClip
from pipeline.app.session import AppSession, Line
from pipeline.text_to_motion import Motion, TextToMotion
from tests.visualization.motions import make_walk
from utils.errors import UserError

PRETRAINED = str(Path(__file__).parents[3] / "pretrained")
REQUEST = {
    "prompt": "a person waves",
    "motion_length": 40,
    "seed": 3,
    "cond_scale": 2.0,
    "time_steps": 2,
    "retrieval": True,
    "motions": 1,
}
OF_ONE = {"motion.mp4", "viewer.html", "picture.png", *EACH}  # the files of a single motion
HOSTILE = "<img src=x onerror=alert(1)> ../../etc/passwd ' \" </script>"


@pytest.fixture
def store() -> Iterator[ResultStore]:
    with ResultStore(3600, 10) as made:
        yield made


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


def stub_session(store: ResultStore, generate: Callable[..., list[Motion]], queue_size: int = 2) -> AppSession:
    """A session whose models are a function."""
    t2m = SimpleNamespace(
        spec=get_spec("mini"),
        generate=generate,
        retriever=None,
        database=None,
        length_estimator=None,
        device=torch.device("cpu"),
    )
    return AppSession(t2m, AppOptions(server=ServerOptions(queue_size=queue_size)), store)


def test_the_shipped_models_answer_with_all_files(store: ResultStore) -> None:
    options = AppOptions(run=DatasetOptions("mini", PRETRAINED))
    t2m = TextToMotion.load(PRETRAINED)
    session = AppSession(t2m, options, store)
    told: list[tuple[float, str]] = []
    result = session.generate(lambda share, what: told.append((share, what)), **REQUEST)
    assert [share for share, _ in told] == sorted(share for share, _ in told) and 0 <= told[0][0] < told[-1][0] <= 1
    files = {name: store.path(result.token, name) for name in OF_ONE}
    assert all(files.values()) and sorted(files) == sorted(path.name for path in files["motion.bvh"].parent.iterdir())
    alone = t2m.generate(["a person waves"], 40, 3, cond_scale=2.0, time_steps=2)[0]
    np.testing.assert_allclose(np.load(files["joints.npy"]), alone.joints, atol=1e-5)
    assert np.load(files["features.npy"]).shape == (40, 263)
    assert files["motion.bvh"].read_text().startswith("HIERARCHY") and files["motion.glb"].read_bytes()[:4] == b"glTF"
    assert b"ftyp" in files["motion.mp4"].read_bytes()[:32]

    neighbours = result.neighbours
    assert len(neighbours) == 3 and [each.motion_id for each in neighbours if each.used] == [
        motion_id for motion_id, _, _ in alone.retrieved
    ]
    assert [each.score for each in neighbours] == sorted((each.score for each in neighbours), reverse=True)
    for each in neighbours:
        assert each.shown
        assert each.captions[0] in files["viewer.html"].read_text() and each.captions[0] in show_result(result)

    without = session.generate(**{**REQUEST, "retrieval": False})
    assert without.neighbours == () and "switched off" in show_result(without)
    other = np.load(store.path(without.token, "joints.npy"))
    assert without.token != result.token and not np.allclose(other, alone.joints)

    three = session.generate(visitor="a", **{**REQUEST, "motions": 3})
    names = OF_ONE | {numbered(name, number) for name in EACH for number in (1, 2)}
    assert {path.name for path in store.path(three.token, "motion.bvh").parent.iterdir()} == names
    for number in range(3):
        same = t2m.generate(["a person waves"], 40, 3 + number, cond_scale=2.0, time_steps=2)[0].joints
        made = np.load(store.path(three.token, numbered("joints.npy", number)))
        np.testing.assert_allclose(made, same, atol=1e-4)
    viewer, shown = store.path(three.token, "viewer.html").read_text(), show_result(three)
    assert all(f"seed {seed}" in viewer and f"seed {seed}</p>" in shown for seed in (3, 4, 5))
    assert shown.count("download=") == 2 + 3 * len(EACH)
    assert session.health() == {
        "status": "ok",
        "dataset": "open",
        "models": {"mtrans": "mtrans", "rtrans": "rtrans", "retriever": "tmr", "length_estimator": True},
        "library": len(t2m.database),
        "device": "cpu",
        "hardware": session.health()["hardware"],
        "queue": {"running": 0, "waiting": 0, "limit": 8},
    }


def test_a_request_samples_as_the_demo_does_with_the_same_values(store: ResultStore) -> None:
    asked = []

    def generate(texts: list[str], *arguments: Any, sampling: SamplingSettings, **settings: Any) -> list[Motion]:
        asked.append(sampling)
        return [Motion(texts[0], 20.0, np.zeros((8, 263), np.float32), make_walk(frames=8), (), 0)]

    stub_session(store, generate).generate(**{**REQUEST, "cond_scale": 4.0})
    demo = parse(DemoOptions, ["--text_prompt", "a", "--cond_scale", "4", "--time_steps", "2"])
    assert asked == [demo.sampling]


def test_a_refused_or_failed_request_leaves_nothing(store: ResultStore) -> None:
    calls = []

    def fail(*arguments: Any, **settings: Any) -> list[Motion]:
        calls.append(arguments)
        raise RuntimeError("out of memory")

    session = stub_session(store, fail)
    with pytest.raises(UserError, match="501 characters"):
        session.generate(**{**REQUEST, "prompt": "a" * 501})
    assert not calls, "a refused request reached the models"
    with pytest.raises(RuntimeError):
        session.generate(**REQUEST)
    assert len(calls) == 1 and not list(store.folder.iterdir())
    assert session.line.running == session.line.waiting == 0, "a failed request still stands in the line"


def test_one_is_served_at_a_time_and_a_full_line_turns_others_away(store: ResultStore) -> None:
    go, order, at_once = threading.Event(), [], []

    def generate(texts: list[str], *arguments: Any, **settings: Any) -> list[Motion]:
        at_once.append(session.line.running)
        order.append(texts[0])
        assert go.wait(60)
        joints = make_walk(frames=8)
        return [Motion(texts[0], 20.0, np.zeros((8, 263), np.float32), joints, (), 0)]

    session = stub_session(store, generate, queue_size=2)
    told: dict[str, list[str]] = {}
    threads = []
    for number in range(3):
        name = f"prompt {number}"
        told[name] = []

        def run(name: str = name) -> None:
            session.generate(lambda share, what: told[name].append(what), **{**REQUEST, "prompt": name})

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        eventually(lambda number=number: session.line.running + session.line.waiting == number + 1)
    eventually(lambda: len(order) == 1)
    assert session.health()["queue"] == {"running": 1, "waiting": 2, "limit": 2}
    with pytest.raises(UserError, match="too many prompts at once: one is at work and 2 wait"):
        session.generate(**REQUEST)
    go.set()
    for thread in threads:
        thread.join(60)
    assert order == ["prompt 0", "prompt 1", "prompt 2"] and at_once == [1, 1, 1]
    assert told["prompt 0"][0] == "generating" and told["prompt 2"][0] == "waiting: 2 before this one"
    assert session.health()["queue"] == {"running": 0, "waiting": 0, "limit": 2}
    assert len(list(store.folder.iterdir())) == 3


def test_a_line_without_waiting_places() -> None:
    line = Line(0)
    with line.turn(), pytest.raises(UserError, match="too many"), line.turn():
        pytest.fail("two were served at once")
    with line.turn():
        assert line.running == 1 and line.waiting == 0
    assert line.running == 0


def test_no_word_of_a_visitor_becomes_markup_or_a_path(store: ResultStore) -> None:
    joints = make_walk(frames=8)

    def generate(texts: list[str], *arguments: Any, **settings: Any) -> list[Motion]:
        return [Motion(texts[0], 20.0, np.zeros((8, 263), np.float32), joints, (), 0)]

    result = stub_session(store, generate).generate(**{**REQUEST, "prompt": HOSTILE})
    hostile = replace(result, neighbours=(Neighbour(HOSTILE, (HOSTILE,), 0.5, True, False),), remarks=(HOSTILE,))
    clip = OwnClip(HOSTILE, HOSTILE, 2.0, None, (HOSTILE,))
    parts = (show_history([hostile, hostile], ""), show_clips([clip]), show_chips([HOSTILE]), show_result(hostile))
    for text in (*parts, show_error(UserError(HOSTILE))):
        text = re.sub(r'<img src="results/[\w-]+/picture.png" alt="" width="96" height="64">', "", text)
        assert "<img" not in text and "</script" not in text and "&lt;img" in text
    assert set(result.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_")
    assert {path.name for path in store.path(result.token, "motion.bvh").parent.iterdir()} == OF_ONE <= set(FILES)
