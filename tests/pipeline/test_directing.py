"""Stories and edits: what is given is kept, what is asked for is drawn where it was asked for, and nothing jumps."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from models.configs import SamplingSettings
from models.transformer.sampling import Given
from pipeline import Motion, TextToMotion
from pipeline.composition import Canvas, Composer, Span
from pipeline.constraints import Constraints
from pipeline.evaluation.edits import Maker
from pipeline.stories import LOOK_AHEAD, make_story, part_rows, read_story, tell
from utils.errors import UserError
from utils.formats import HUMANML3D
from utils.representation import features_to_joints
from utils.splicing import Articulation, led_along

QUICK = SamplingSettings(time_steps=4)
SCENES = [
    (0, 3, "a person walks forward"),
    (3, 6, "a person waves"),
    (4, 6, "a person jumps", "legs"),
    (6, 8, "he sits"),
]


@pytest.fixture(scope="module")
def t2m() -> TextToMotion:
    return TextToMotion.load(dataset_name="mini")


@pytest.fixture(scope="module")
def source(t2m: TextToMotion) -> np.ndarray:
    return t2m.generate(["a person walks forward"], 80, sampling=QUICK)[0].joints


@pytest.fixture(scope="module")
def told(t2m: TextToMotion) -> Motion:
    return t2m.story(SCENES, 5, sampling=QUICK)


def acceleration(joints: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.diff(joints, 2, axis=0), axis=-1)


def test_a_story_of_one_scene_is_the_plain_motion(t2m: TextToMotion) -> None:
    plain = t2m.generate(["a person jumps"], 80, 7, sampling=QUICK)[0]
    told = t2m.story([(0, 4, "a person jumps")], 7, sampling=QUICK)
    np.testing.assert_array_equal(told.features, plain.features)
    np.testing.assert_array_equal(told.joints, plain.joints)
    assert told.retrieved == plain.retrieved


@pytest.mark.parametrize("seconds", [2.0, 3.33, 4.05])
def test_a_motion_is_exactly_as_long_as_asked_for(t2m: TextToMotion, seconds: float) -> None:
    made = t2m.story([(0, seconds, "a person jumps")], sampling=QUICK)
    assert len(made.joints) == len(made.features) == round(20 * seconds)


def test_a_story_is_the_same_in_pieces_and_again(t2m: TextToMotion, told: Motion) -> None:
    pieces = list(t2m.stream(SCENES, 5, sampling=QUICK))
    assert len(pieces) == 3
    np.testing.assert_array_equal(np.concatenate([piece.joints for piece in pieces]), told.joints)
    assert not np.array_equal(t2m.story(SCENES, 6, sampling=QUICK).joints, told.joints)


def test_a_piece_comes_before_what_follows_is_made(t2m: TextToMotion, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    draw = Composer._draw
    monkeypatch.setattr(Composer, "_draw", lambda self, *window: (drawn.append(window), draw(self, *window)))
    stream = t2m.stream([(0, 3, "a person walks"), (3, 6, "he jumps"), (6, 9, "he sits")], sampling=QUICK)
    next(stream)
    assert len(drawn) == 1
    assert sum(len(piece.joints) for piece in stream) == 180 - (15 - LOOK_AHEAD) * 4


def test_joints_go_on_across_pieces_as_features_say(told: Motion) -> None:
    np.testing.assert_allclose(told.joints, features_to_joints(told.features), atol=2e-4)
    steps = np.linalg.norm(np.diff(told.joints[:, 0], axis=0), axis=-1)
    assert steps.max() < 0.15, "the root jumps"
    usual = np.percentile(acceleration(told.joints), 99)
    for seam in (60, 120):
        assert acceleration(told.joints)[seam - 2 : seam + 1].max() < 3 * usual


def test_each_prompt_speaks_of_its_own_cells() -> None:
    legs = part_rows("legs", HUMANML3D)
    canvas = Canvas.of([Span("a", 0, 4), Span("b", 6, 9), Span("c", 3, 7, legs)], 10, 6, 2)
    other = [row for row in range(6) if row not in legs]
    assert canvas.prompt[:, other].T.tolist() == [[0] * 5 + [1] * 5] * len(other)  # a gap is shared
    assert canvas.prompt[:, legs].T.tolist() == [[0] * 3 + [2] * 4 + [1] * 3] * len(legs)
    given = Given(canvas.codes[None], canvas.known[None], torch.zeros(3, dtype=torch.long), canvas.prompt[None])
    numbers = torch.arange(60).view(1, 10, 6)
    wanted, order = given.spoken(~canvas.known[None])
    assert len(wanted) == 60 and (wanted % 60)[order].tolist() == list(range(60))
    assert (wanted // 60)[order].tolist() == canvas.prompt.flatten().tolist()
    assert torch.equal(
        given.chosen(numbers.expand(3, 10, 6) + 100 * torch.arange(3)[:, None, None]), numbers + 100 * canvas.prompt
    )


@pytest.mark.parametrize(
    ("start", "context", "seen"),
    [(0, 2, (8, 0, 8)), (8, 2, (16, 6, 16)), (16, 2, (24, 14, 24)), (24, 2, (32, 22, 32)), (32, 9, (40, 28, 40))],
)
def test_windows_are_about_one_prompt_and_equally_long(start: int, context: int, seen: tuple[int, int, int]) -> None:
    canvas = Canvas.of([Span("a", 0, 8), Span("b", 8, 40)], 40, 6, 2)
    assert canvas.window(start, 12, context) == seen


@pytest.mark.parametrize(("context", "seen"), [(2, (10, 3, 12)), (40, (10, 0, 30)), (4, (10, 1, 14))])
def test_a_window_sees_what_is_known_on_both_sides(context: int, seen: tuple[int, int, int]) -> None:
    canvas = Canvas.of([Span("a", 0, 40)], 40, 6, 2)
    canvas.known[10:] = True
    assert canvas.window(5, 30, context) == seen


@pytest.mark.parametrize("section", [(1.0, 2.0), (0.0, 1.5), (2.5, 4.0), (1.33, 1.9)])
def test_frames_outside_of_a_section_are_those_of_the_source(
    t2m: TextToMotion, source: np.ndarray, section: tuple[float, float]
) -> None:
    made = t2m.edit(source, "a person jumps", 1, sections=[section], sampling=QUICK)
    start, end = (round(20 * each) for each in section)
    inside = np.zeros(len(source), bool)
    inside[start:end] = True
    np.testing.assert_array_equal(made.joints[~inside], source[~inside])
    assert np.abs(made.joints[inside] - source[inside]).max() > 0.02
    assert len(made.features) == len(made.joints) == len(source)
    for seam in {start, end} & set(range(2, len(source) - 2)):
        assert acceleration(made.joints)[seam - 2 : seam + 1].max() < 2 * np.percentile(acceleration(made.joints), 99)


@pytest.mark.parametrize("parts", ["arms", "left_arm,right_leg", "upper_body", "lower_body"])
def test_parts_that_are_not_named_stay(t2m: TextToMotion, source: np.ndarray, parts: str) -> None:
    made = t2m.edit(source, "a person waves with both hands", parts=parts, sampling=QUICK)
    rows = part_rows(parts, HUMANML3D)
    kept = [joint for row in range(6) if row not in rows for joint in HUMANML3D.parts[row][1]]
    bones = [Articulation.of(each, HUMANML3D).bones for each in (source, made.joints)]
    if "spine" not in {HUMANML3D.parts[row][0] for row in rows}:
        np.testing.assert_array_equal(made.joints[:, kept], source[:, kept])
    else:
        lengths = [np.linalg.norm(each[:, kept], axis=-1) for each in bones]
        np.testing.assert_allclose(*lengths, atol=1e-5)
    assert np.abs(bones[0] - bones[1]).max() > 0.02


def test_a_motion_goes_on_and_begins_earlier(t2m: TextToMotion, source: np.ndarray) -> None:
    after = t2m.edit(source, "a person sits down", sections=[(4.0, 6.0)], sampling=QUICK)
    before = t2m.edit(source, "a person stands", sections=[(-1.0, 0.0)], sampling=QUICK)
    assert len(after.joints) == 120 and len(before.joints) == 100
    np.testing.assert_array_equal(after.joints[:80], source)
    np.testing.assert_array_equal(before.joints[20:], source)
    assert np.abs(np.diff(after.joints[80:], axis=0)).max() > 0.01, "it stands still"


def test_strength(t2m: TextToMotion, source: np.ndarray) -> None:
    weak, strong = (t2m.edit(source, "a person jumps", 3, strength=each, sampling=QUICK).joints for each in (0.2, 1.0))
    assert 0 < np.abs(weak - source).mean() < np.abs(strong - source).mean()


def test_a_source_of_other_bones_keeps_them(t2m: TextToMotion, source: np.ndarray) -> None:
    tall = (1.2 * source).astype(np.float32)
    made = t2m.edit(tall, "a person jumps", sections=[(1.0, 3.0)], sampling=QUICK).joints
    lengths = [np.linalg.norm(Articulation.of(each, HUMANML3D).bones, axis=-1)[:, 1:] for each in (tall, made)]
    assert np.abs(lengths[1] / lengths[0].mean(axis=0) - 1)[20:60].max() < 0.151


def test_poses_ways_and_loops(t2m: TextToMotion, source: np.ndarray) -> None:
    aims = ((0.0, 0.0, 0.0), (2.0, 0.5, 0.5), (4.0, 0.0, 2.0))
    made = t2m.story(
        [(0, 4.1, "a person walks")], constraints=Constraints(source[20], source[50], aims), sampling=QUICK
    ).joints
    bones, wanted = (Articulation.of(each, HUMANML3D).bones for each in (made, source))
    np.testing.assert_allclose(bones[[0, -1]], wanted[[20, 50]], atol=1e-5)
    for time, x, z in aims:
        np.testing.assert_allclose(made[round(20 * time), 0, [0, 2]], [x, z], atol=1e-4)
    loop = t2m.story([(0, 4, "a person walks")], constraints=Constraints(loop=True), sampling=QUICK).joints
    bones = Articulation.of(loop, HUMANML3D).bones
    assert np.abs(bones[0] - bones[-1]).max() < 2 * np.abs(np.diff(bones, axis=0)).max()


def test_a_motion_steps_along_its_way(t2m: TextToMotion) -> None:
    """Limbs that were drawn for another path would slide along this one."""
    aims, frames = ((2.0, 1.0, 2.0), (4.0, 3.0, 3.0)), (40, 79)
    scenes, seeds = [(0, 4, "a person walks forward")], range(4)
    plain = [t2m.story(scenes, seed).joints for seed in seeds]
    stretched = [
        led_along(each, [(f, x, z) for f, (_, x, z) in zip(frames, aims, strict=True)], HUMANML3D) for each in plain
    ]
    calls = []
    stepped = [
        tell(
            t2m,
            make_story(scenes, HUMANML3D),
            seed,
            None,
            True,
            Constraints(waypoints=aims),
            lambda *at: calls.append(at),
        )
        for seed in seeds
    ]

    skate = Maker(t2m, QUICK).skate
    slid, left = (np.nanmean([skate(each) for each in motions]) for motions in (stretched, [m.joints for m in stepped]))
    assert left < 0.9 * slid
    assert calls[-1] == (160, 160), "made twice"
    source = plain[0]
    edited = t2m.edit(source, "a person walks forward", constraints=Constraints(waypoints=aims))
    for frame, (_, x, z) in zip(frames, aims, strict=True):
        np.testing.assert_allclose(edited.joints[frame, 0, [0, 2]], [x, z], atol=1e-4)


STORY = """
# of a morning
0-4 a person walks forward
3.5 - 6 [arms] waves the right hand    # while it walks
4-6s a person jumps
"""


def test_reading_a_story() -> None:
    story = read_story(STORY, HUMANML3D)
    assert story.frames == 120 and story.steps == 30
    assert story.spans == (
        Span("a person walks forward", 0, 20),
        Span("waves the right hand", 18, 30, (4, 5)),
        Span("a person jumps", 20, 30),
    )


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "the story is empty"),
        ("# nothing\n\n", "the story is empty"),
        ("0-4 walk\nhe jumps", "line 2 is not `START-END"),
        ("0-4", "line 1 is not `START-END"),
        ("0-4 [arms]", "line 1 is not `START-END"),
        ("4-2 walk", "line 1: 4-2 s"),
        ("0-0 walk", "line 1: 0-0 s"),
        ("0-1e9 walk", "line 1"),
        ("0-99999 walk", "line 1: 0-99999 s"),
        ("0-4 walk\n3-6 jump", "line 2: 3-6 s overlaps line 1"),
        ("4-8 walk\n0-3 jump", "line 2: 0-3 s comes before line 1"),
        ("0-4 walk\n1-3 [arms] wave\n2-4 [left_arm] punch", "line 3: 2-4 s overlaps line 2"),
        ("0-4 walk\n1-3 [tail] wave", "line 2: no body part is called 'tail'"),
        ("0-4 walk\n1-3 [ ] wave", "line 2: no body part is named"),
        ("0-4 walk\n3-6 [arms] wave", "line 2: it goes on after the story's end, 4 s"),
        ("0-4 [arms] wave", "nothing of the whole body"),
        ("0-0.05 walk", "line 1: 0-0.05 s is too short"),
        ("0-1.2.3 walk", "line 1: 0-1.2.3 are no times"),
    ],
)
def test_a_story_that_cannot_be_told_is_refused_by_its_line(text: str, match: str) -> None:
    with pytest.raises(UserError) as refused:
        read_story(text, HUMANML3D)
    assert match in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"strength": 1.5}, "strength 1.5 is no share"),
        ({"strength": float("nan")}, "strength nan is no share"),
        ({"parts": "wings"}, "no body part is called 'wings'"),
        ({"sections": [(2, 1)]}, "section 2,1 s"),
        ({"sections": [(5, 6)]}, "section 5,6 s"),
        ({"sections": [(1, float("inf"))]}, "section 1,inf s"),
        ({"text": " "}, "prompt is empty"),
        ({"source": np.zeros((40, 21, 3))}, r"joints \(T, 22, 3\)"),
        ({"source": np.zeros((3, 22, 3))}, "at least 8 frames"),
        ({"source": np.full((40, 22, 3), np.nan)}, "NaN"),
        ({"constraints": Constraints(start_pose=np.zeros((21, 3)))}, "the start pose"),
        ({"constraints": Constraints(waypoints=((2, 0, 0), (1, 0, 0)))}, "order of their times"),
        ({"constraints": Constraints(waypoints=((9, 0, 0),))}, "beyond the motion"),
    ],
)
def test_an_edit_that_cannot_be_made_is_refused(
    t2m: TextToMotion, source: np.ndarray, changes: dict, match: str
) -> None:
    asked = {"source": source, "text": "a person jumps"} | changes
    with pytest.raises(UserError, match=match):
        t2m.edit(**asked, sampling=QUICK)


def test_long_stories_need_no_more_memory(t2m: TextToMotion) -> None:
    scenes = [
        (5 * number, 5 * number + 5, f"a person {what}")
        for number, what in zip(range(8), itertools.cycle(("walks", "jumps")), strict=False)
    ]
    story = make_story(scenes, HUMANML3D)
    assert story.frames == 800
    seen = []
    for piece in t2m.stream(scenes, sampling=SamplingSettings(time_steps=1)):
        seen.append(len(piece.joints))
    assert sum(seen) == 800 and max(seen) <= 120
