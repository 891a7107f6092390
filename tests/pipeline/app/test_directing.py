"""Stories and changes in the page: what a visitor marks is made, what is kept stays, and nobody gets at another's."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.configs import SamplingSettings
from options.app import AppOptions, RequestLimits
from pipeline.app.markup import show_history, show_result
from pipeline.app.requests import EditRequest, StoryRequest, check_edit, check_story, part_choices
from pipeline.app.results import ResultStore
from pipeline.app.session import AppSession
from pipeline.app.visitors import VisitorLeft
from pipeline.text_to_motion import TextToMotion
from tests.pipeline.app.test_clips import HOSTILE as NO_MOTIONS
from tests.pipeline.app.test_clips import npy
from tests.visualization.motions import make_walk
from utils.errors import UserError
from utils.formats import HUMANML3D

LIMITS = RequestLimits()
HOW = {"seed": 5, "cond_scale": 2.0, "time_steps": 2, "retrieval": True}
SCENES = [[0, 2, "", "a person walks forward"], [1, 2, "arms", "a person waves"], [2, 3, "", "a person jumps"]]
EDIT = {"source": "x/0", "start": 1, "end": 2.5, "prompt": "a person waves", "parts": "arms", "strength": 1, **HOW}
HOSTILE = "<img src=x onerror=alert(1)> ' \" </script>"


def story(scenes: Any, **changes: Any) -> StoryRequest:
    return check_story(LIMITS, HUMANML3D, {**HOW, "scenes": json.dumps(scenes), **changes})


def edit(**changes: Any) -> EditRequest:
    return check_edit(LIMITS, HUMANML3D, EDIT | changes)


def test_scenes_are_told_in_any_order_and_kept_as_they_were_listed() -> None:
    request = story([SCENES[2], SCENES[0], SCENES[1]])
    assert [scene[3] for scene in request.scenes] == ["a person jumps", "a person walks forward", "a person waves"]
    assert [span.start for span in request.story.spans] == [0, 5, 10] and request.motion_length == 60
    assert request.prompt == "a person walks forward; a person waves; a person jumps"
    many = story([[number, number + 1, "", "a" * 400] for number in range(20)])
    assert len(many.title) < 200 < len(many.prompt)


@pytest.mark.parametrize(
    "scenes, message",
    [
        ([], "the story is empty"),
        ({}, "a list of scenes"),
        ([[0, 1, ""]], "a list of scenes"),
        ([1], "a list of scenes"),
        ([[0, 2, "", "a"]] * 25, "25 scenes, at most 24"),
        ([[0, 2, "", "a"], [1, 3, "", "b"]], "scene 2: 1-3 s overlaps scene 1"),
        ([[1, 3, "", "b"], [0, 2, "", "a"]], "scene 1: 1-3 s overlaps scene 2"),
        ([[0, 2, "", "a"], [0, 3, "arms", "b"]], "scene 2: it goes on after the story's end, 2 s"),
        ([[0, 2, "arms", "a"]], "nothing of the whole body"),
        ([[0, 2, "", "a"], [2, 61, "", "b"]], "scene 2: the end in seconds must be 0 to 60, not 61"),
        ([[-1, 2, "", "a"]], "scene 1: the start in seconds must be 0 to 60, not -1"),
        ([[None, 2, "", "a"]], "scene 1: the start in seconds must be a number, not nothing"),
        ([["0", 2, "", "a"]], "scene 1: the start in seconds must be a number"),
        ([[True, 2, "", "a"]], "scene 1: the start in seconds must be a number"),
        ([[3, 2, "", "a"]], "scene 1: 3-2 s: a scene ends after it starts"),
        ([[0, 0.05, "", "a"]], "scene 1: 0-0.05 s is too short"),
        ([[0, 2, "", " \n"]], "scene 1: the prompt is empty"),
        ([[0, 2, "", "a" * 501]], "scene 1: the prompt has 501 characters"),
        ([[0, 2, "", ["a"]]], "scene 1: the prompt must be text"),
        ([[0, 2, "tail" * 99, "a"]], "scene 1: no body part is called 'tail"),
        ([[0, 2, ["arms"], "a"]], "scene 1: no body part is called a list"),
    ],
)
def test_a_story_that_cannot_be_told_is_refused_at_its_scene(scenes: Any, message: str) -> None:
    with pytest.raises(UserError) as refused:
        story(scenes)
    text = str(refused.value)
    assert message in text and len(text) < 240 and "\n" not in text


@pytest.mark.parametrize("text", [None, 5, [], "", "[", "[[0,NaN]]", "[" * 9999, "\ud800", '[[0, 1e999, "", "a"]]'])
def test_what_is_no_story_is_refused(text: Any) -> None:
    with pytest.raises(UserError, match="the story cannot be read|is empty"):
        check_story(LIMITS, HUMANML3D, {**HOW, "scenes": text})


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"source": ""}, "nothing is chosen to be changed"),
        ({"source": None}, "nothing is chosen"),
        ({"source": "x/../0"}, "nothing is chosen"),
        ({"source": "x/9"}, "nothing is chosen"),
        ({"start": None}, "the start in seconds must be a number, not nothing"),
        ({"end": float("nan")}, "the end in seconds must be a number, not nan"),
        ({"end": 61}, "the end in seconds must be -60 to 60"),
        ({"start": 3}, "3 to 2.5 s: what is drawn ends after it starts"),
        ({"prompt": " "}, "the prompt is empty"),
        ({"parts": "left_arm,head"}, "no body part is called 'left_arm,head'"),
        ({"parts": None}, "no body part is called nothing"),
        ({"strength": 1.1}, "the strength must be 0 to 1, not 1.1"),
        ({"strength": "1"}, "the strength must be a number"),
        ({"seed": -1}, "the seed must be"),
        ({"retrieval": 1}, "retrieval must be on or off"),
    ],
)
def test_a_change_that_cannot_be_made_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as refused:
        edit(**changes)
    assert message in str(refused.value) and len(str(refused.value)) < 240


ANY = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.sampled_from(["", "arms", "a"]),
    st.lists(st.integers(), max_size=2),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(ANY, ANY, ANY, ANY), max_size=3), st.fixed_dictionaries({name: ANY for name in EDIT}))
def test_whatever_is_sent_is_within_the_limits_or_refused(scenes: list[Any], values: dict[str, Any]) -> None:
    with contextlib.suppress(UserError):
        assert 0 < story(scenes).motion_length <= LIMITS.seconds * HUMANML3D.fps
    try:
        request = edit(**values)
    except UserError:
        return
    assert -60 <= request.section[0] < request.section[1] <= 60 and request.parts in part_choices(HUMANML3D)


@pytest.fixture(scope="module")
def session() -> Iterator[AppSession]:
    t2m = TextToMotion.load(str(Path(__file__).parents[3] / "pretrained"))
    with ResultStore(3600, 20) as store:
        yield AppSession(t2m, AppOptions(), store)


def joints_of(session: AppSession, token: str) -> np.ndarray:
    return np.load(session.store.path(token, "joints.npy"))


def test_a_story_is_told_as_the_command_tells_it(session: AppSession) -> None:
    said: list[tuple[float, str]] = []
    result = session.tell(lambda *line: said.append(line), "a", scenes=json.dumps(SCENES), **HOW)
    alone = session.t2m.story(
        "0-2 a person walks forward\n1-2 [arms] a person waves\n2-3 a person jumps",
        5, sampling=SamplingSettings(time_steps=2, cond_scale=2.0),
    )  # fmt: skip
    np.testing.assert_array_equal(joints_of(session, result.token), alone.joints)
    assert result.frames == (60,) and [share for share, _ in said] == sorted(share for share, _ in said)
    assert any("is made" in what for _, what in said)
    for name in ("motion.mp4", "motion.bvh", "motion.glb", "viewer.html", "picture.png", "features.npy"):
        assert session.store.path(result.token, name)
    page = show_result(result)
    assert "walks forward" in page and f'data-source="{result.token}/0" data-seconds="3.00"' in page
    assert {each.motion_id for each in result.neighbours} == {each[0] for each in alone.retrieved}


def test_who_leaves_ends_a_story_and_a_change_between_their_pieces(session: AppSession) -> None:
    before = {*session.store.folder.iterdir()}

    def leave(share: float, what: str) -> None:
        if "is made" in what:
            raise VisitorLeft

    with pytest.raises(VisitorLeft):
        session.tell(leave, "a", scenes=json.dumps(SCENES), **HOW)
    source = session.rooms.results("a")[0].token
    with pytest.raises(VisitorLeft):
        session.edit(leave, "a", **EDIT | {"source": f"{source}/0"})
    assert {*session.store.folder.iterdir()} == before and session.line.running == 0


def test_a_motion_that_was_sent_is_changed_where_it_is_marked_and_stays_elsewhere(session: AppSession) -> None:
    walk = make_walk(frames=80).astype(np.float32)
    opened = session.open_source(session.uploads.hold("<b>walk</b>.npy", npy(walk)), visitor="b")
    page = show_result(opened)
    assert "<b>walk" not in page and "<video" not in page and 'data-seconds="4.00"' in page and "Nearest" not in page
    np.testing.assert_array_equal(joints_of(session, opened.token), walk)
    values = EDIT | {"source": f"{opened.token}/0"}
    changed = session.edit(visitor="b", **values)
    made = joints_of(session, changed.token)
    np.testing.assert_array_equal(made[:20], walk[:20])
    np.testing.assert_array_equal(made[50:], walk[50:])
    legs = [joint for name, joints in HUMANML3D.parts if "leg" in name for joint in joints]
    np.testing.assert_array_equal(made[:, legs], walk[:, legs])
    assert np.abs(made - walk).max() > 0.02
    again = session.edit(visitor="b", **values | {"seed": 6})
    assert not np.array_equal(joints_of(session, again.token), made), "another seed makes the same"
    longer = session.edit(visitor="b", **values | {"start": 4, "end": 5, "parts": ""})
    assert longer.frames == (100,) and np.array_equal(joints_of(session, longer.token)[:80], walk)
    kept = [each.token for each in session.rooms.results("b")]
    assert kept == [longer.token, opened.token, again.token, changed.token], "what is changed may be forgotten first"
    form = show_result(longer)
    assert "4 to 5 s: whole body" in form and f"{opened.token}/0" in form
    assert "as it was" in session.store.path(longer.token, "viewer.html").read_text()

    with pytest.raises(UserError, match="this motion is gone"):
        session.edit(visitor="another", **values)
    with pytest.raises(UserError, match="this motion is gone"):
        session.edit(visitor="b", **values | {"source": f"{opened.token}/1"})
    with pytest.raises(UserError, match="section 30,31 s: it must start before it ends, and touch the motion"):
        session.edit(visitor="b", **values | {"start": 30, "end": 31})
    with pytest.raises(UserError, match="it would have 63 s, at most 60 s are made"):
        session.edit(visitor="b", **values | {"start": -59, "end": 1})
    assert session.line.running == session.line.waiting == 0


@pytest.mark.parametrize("name", sorted(set(NO_MOTIONS) - {"short.npy"}))
def test_what_is_no_motion_is_refused_as_a_source_too(session: AppSession, name: str) -> None:
    data, message = NO_MOTIONS[name]
    before = {*session.store.folder.iterdir()}
    with pytest.raises(UserError) as refused:
        session.open_source(session.uploads.hold(name, data), visitor="c")
    text = str(refused.value)
    assert message in text and "\n" not in text and str(session.store.folder) not in text
    assert {*session.store.folder.iterdir()} == before and not session.rooms.results("c")


def test_no_word_of_a_story_becomes_markup(session: AppSession) -> None:
    result = session.tell(visitor="d", scenes=json.dumps([[0, 2, "", HOSTILE]]), **HOW)
    source = session.edit(visitor="d", **EDIT | {"source": f"{result.token}/0", "prompt": HOSTILE, "end": 2})
    for page in (show_result(result), show_result(source), show_history([result, source], "")):
        assert "<img src=x" not in page and "</script" not in page
