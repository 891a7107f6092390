"""Formats as files: what contradicts itself is refused by name, and the two published ones are the published tables."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.own_skeleton import STUDIO, content
from utils.errors import UserError
from utils.formats import HUMANML3D, format_of, get_format, read_format, telling, told_format
from utils.representation import joints_to_features

STORED = Path(__file__).with_name("published_features.json")


def at(*path: Any) -> Callable[[dict[str, Any], Any], None]:
    """Puts a value there."""

    def put(form: Any, value: Any) -> None:
        for key in path[:-1]:
            form = form[key]
        form[path[-1]] = value

    return put


def joint(name: str, key: str) -> Callable[[dict[str, Any], Any], None]:
    def put(form: dict[str, Any], value: Any) -> None:
        next(each for each in form["joints"] if each["name"] == name)[key] = value

    return put


WRONG: list[tuple[Callable[[dict[str, Any], Any], None], Any, str]] = [
    (joint("Spine", "parent"), "Chest", "Spine stands before its parent Chest"),  # a cycle
    (joint("Spine", "parent"), "Spine", "Spine stands before its parent Spine"),
    (joint("Spine", "parent"), "Nowhere", "the parent of Spine is 'Nowhere', which is no joint"),
    (joint("LeftArm", "parent"), None, "LeftArm has no parent, but only the first joint is the root"),
    (joint("Hips", "parent"), "Spine", "the first joint is the root, but Hips has the parent Spine"),
    (joint("Spine", "name"), "Hips", "two joints are called Hips"),
    (joint("Spine", "name"), "a spine", "the name of joint 1 must be a word without blanks"),
    (joint("Spine", "name"), 5, "the name of joint 1"),
    (joint("Head", "offset"), [0, float("nan"), 0], "NaN is no finite number"),
    (joint("Head", "offset"), [0, 1e300, 0], "the offset of Head"),
    (joint("Head", "offset"), [0, True, 0], "the offset of Head"),
    (joint("Head", "offset"), [0, 1], "the offset of Head"),
    (joint("Head", "offset"), [0, 0, 0], "Head lies on its parent Neck"),
    (joint("Head", "colour"), "red", "joint 4 has unknown keys: colour"),
    (at("joints"), [], '"joints" must be a list'),
    (at("joints", 3), "Neck", "joint 3 must be an object"),
    (at("parts", "trunk"), ["Hips", "Spine", "Chest", "Tail"], "a joint of trunk is 'Tail', which is no joint"),
    (at("parts", "trunk"), ["Hips", "Spine"], '"parts": Chest is in no part'),
    (at("parts", "more"), ["Hips"], "Hips stands in more than one place"),
    (at("parts", "more"), [], "more must be a list of joints"),
    (at("parts"), [["Hips"]], '"parts" must be an object'),
    (at("facing", "left_hip"), "Tail", '"facing": left_hip is \'Tail\''),
    (at("facing", "left_hip"), "LeftArm", "LeftArm and RightUpLeg must be each other's other side"),
    (at("facing"), {"left_hip": "Hips"}, '"facing" lacks right_hip'),
    (at("feet", "left"), ["LeftFoot", "LeftPaw"], '"feet": left is \'LeftPaw\', which is no joint'),
    (at("feet", "left"), ["LeftLeg", "LeftToeBase"], "LeftLeg is not the parent of LeftToeBase"),
    (at("feet", "left"), ["LeftFoot"], '"feet": left must be an ankle and a toe'),
    (at("feet"), {"left": ["RightFoot", "RightToeBase"], "right": ["LeftFoot", "LeftToeBase"]},
     "RightToeBase does not hang on LeftUpLeg"),
    (at("feet"), {"left": ["LeftFoot", "LeftToeBase"]}, '"feet" lacks right'),
    (at("fps"), 0, '"fps" must be a positive number'),
    (at("fps"), 1000, '"fps" must be a positive number of at most 240'),
    (at("fps"), float("nan"), "NaN is no finite number"),
    (at("fps"), True, '"fps"'),
    (at("contact_speed"), "slow", '"contact_speed"'),
    (at("units_per_metre"), -1, '"units_per_metre"'),
    (at("name"), "", '"name" must be a word'),
    (at("name"), ["studio"], '"name" must be a word'),
    (at("colour"), "red", "the format has unknown keys: colour"),
    (at("mirror"), {"LeftArm": "RightLeg"}, "LeftArm and RightLeg are not each other's other side"),
    (at("mirror"), {"LeftArm": "Tail"}, "the other side of LeftArm is 'Tail'"),
    (at("mirror"), {"Head": "Crown", "Crown": "Head"}, "the other side of Head, does not hang on Neck"),
    (at("mirror"), {}, "LeftUpLeg and RightUpLeg must be each other's other side"),
    (at("mirror"), "left to right", '"mirror" must be an object'),
    (at("chains"), [["Hips", "Chest"]], '"chains": Hips is not the parent of Chest'),
    (at("chains"), [["Hips", "Spine"]], '"chains": Chest must be reached once'),
    (at("chains"), [["Hips"]], '"chains" must be a list of lists'),
    (at("retriever_parts"), {"root": ["Pelvis"]}, "a joint of root is 'Pelvis'"),
    (at("landmarks"), {"tail": "Hips"}, '"landmarks" has unknown keys: tail'),
    (at("landmarks"), {"left_knee": "RightLeg"}, "left_knee RightLeg, left_ankle LeftFoot do not follow LeftUpLeg"),
    (at("landmarks"), {"left_wrist": "LeftArm"}, "along the left arm"),
    (at("rest"), {"Head": [0, 0, 0]}, '"rest": Head has no direction'),
    (at("rest"), {"Tail": [0, 1, 0]}, "'Tail', which is no joint"),
    (at("rest"), {"LeftLeg": [0, 1, 0], "LeftFoot": [0, 1, 0]}, "must stand with y up"),
    (at("rest"), {"LeftUpLeg": [-1, 0, 0], "RightUpLeg": [1, 0, 0]}, "must have its left at \\+x"),
]  # fmt: skip


@pytest.mark.parametrize(("put", "value", "words"), WRONG)
def test_what_contradicts_itself_is_named(put: Callable, value: Any, words: str, tmp_path: Path) -> None:
    wrong = content()
    put(wrong, value)
    (tmp_path / "studio.json").write_text(json.dumps(wrong))
    with pytest.raises(UserError, match=words) as refusal:
        read_format(tmp_path / "studio.json")
    assert str(refusal.value).startswith(str(tmp_path)) and "\n" not in str(refusal.value)


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """The paths of all values below."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [each for key, below in items for each in [(*path, key), *places(below, (*path, key))]]


WHOLE = STUDIO.to_json()
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(STUDIO.joint_names),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(path=st.sampled_from(places(WHOLE)), value=ANYTHING, remove=st.booleans())
def test_any_content_is_a_format_or_refused(path: tuple, value: Any, remove: bool) -> None:
    changed = copy.deepcopy(WHOLE)
    at(*path)(changed, value)
    if remove:
        below = changed
        for key in path[:-1]:
            below = below[key]
        del below[path[-1]]
    for each in (changed, value):
        try:
            form = format_of(each, "here")
        except UserError as error:
            assert str(error).startswith("here: ") and len(str(error)) < 500
        else:
            assert format_of(form.to_json(), "again") == form


def test_landmarks_and_sides_are_told_by_the_tree_and_by_names() -> None:
    names = dict(STUDIO.landmarks)
    assert {role: STUDIO.joint_names[number] for role, number in names.items()} == {
        "head": "Head", "neck": "Neck", "left_knee": "LeftLeg", "right_knee": "RightLeg", "left_ankle": "LeftFoot",
        "right_ankle": "RightFoot", "left_elbow": "LeftForeArm", "right_elbow": "RightForeArm",
        "left_wrist": "LeftHand", "right_wrist": "RightHand",
    }  # fmt: skip
    lettered = json.loads(json.dumps(content()).replace("Left", "L_").replace("Right", "R_"))
    assert format_of(lettered, "letters").mirror == STUDIO.mirror
    headless = json.loads(json.dumps(content()).replace('"Head"', '"Skull"'))
    form = format_of(headless, "headless")
    with pytest.raises(UserError, match='studio does not say which joint is the head: name it under "landmarks"'):
        form.landmark("head")
    assert format_of(headless | {"landmarks": {"head": "Skull"}}, "named").landmarks == STUDIO.landmarks


def test_differences_are_told_in_one_line() -> None:
    assert STUDIO.difference(replace(STUDIO, name="other", landmarks=(), rest=())) is None
    assert STUDIO.difference(replace(STUDIO, fps=25.0)) == "fps 30, not 25"
    assert STUDIO.difference(HUMANML3D) == "24 joints, not 22 (Hips, Spine, Chest)"
    longer = content()
    longer["joints"][1]["offset"] = [0, 0.2, 0]
    told = STUDIO.difference(format_of(longer, "longer"))
    assert told == "joints: Spine is ['Hips', [0.0, 0.1, 0.0]], not ['Hips', [0.0, 0.2, 0.0]]"
    parted = content()
    parted["parts"]["trunk"], parted["parts"]["head"] = ["Hips", "Spine"], ["Chest", "Neck", "Head", "Crown"]
    assert STUDIO.difference(format_of(parted, "parted")).startswith("parts: trunk is ['Hips', 'Spine', 'Chest'], not")


def test_files_tell_formats_by_name_by_path_or_whole(tmp_path: Path) -> None:
    (tmp_path / "studio.json").write_text(json.dumps(content()))
    assert told_format("studio.json", "here", tmp_path) == get_format(str(tmp_path / "studio.json")) == STUDIO
    assert told_format(telling(STUDIO), "here") == STUDIO
    assert telling(replace(HUMANML3D, fps=30.0)) == "humanml3d" and told_format("t2m", "here") == HUMANML3D
    for wrong in ("cmu", 5, None, ["kit"], "../../etc/passwd"):
        with pytest.raises(UserError, match="here must be"):
            told_format(wrong, "here")


PUBLISHED = {
    "humanml3d": {
        "columns": (263, (4, 67), (67, 193), (193, 259), (259, 263)),
        "parts": [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11], [12, 15], [13, 16, 18, 20], [14, 17, 19, 21]],
        "mirror": [0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20],
        "widths": [7, 50, 50, 60, 60, 60],
        "feet": (7, 10, 8, 11),
        "chains": [[0, 2, 5, 8, 11], [0, 1, 4, 7, 10], [0, 3, 6, 9, 12, 15], [9, 14, 17, 19, 21], [9, 13, 16, 18, 20]],
        "parents": [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19],
    },
    "kit": {
        "columns": (251, (4, 64), (64, 184), (184, 247), (247, 251)),
        "parts": [[0, 1, 2, 3], [16, 17, 18, 19, 20], [11, 12, 13, 14, 15], [4], [8, 9, 10], [5, 6, 7]],
        "mirror": [0, 1, 2, 3, 4, 8, 9, 10, 5, 6, 7, 16, 17, 18, 19, 20, 11, 12, 13, 14, 15],
        "widths": [7, 62, 62, 48, 48, 48],
        "feet": (19, 20, 14, 15),
        "chains": [[0, 11, 12, 13, 14, 15], [0, 16, 17, 18, 19, 20], [0, 1, 2, 3, 4], [3, 5, 6, 7], [3, 8, 9, 10]],
        "parents": [-1, 0, 1, 2, 3, 3, 5, 6, 3, 8, 9, 0, 11, 12, 13, 14, 0, 16, 17, 18, 19],
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_formats_are_the_published_tables(name: str) -> None:
    """What checkpoints of the field, and our own, rely on."""
    form, table = get_format(name), PUBLISHED[name]
    blocks = [(part.start, part.stop) for part in (form.positions, form.rotations, form.velocities, form.contacts)]
    assert (form.n_features, *blocks) == table["columns"]
    assert [list(joints) for _, joints in form.parts] == table["parts"]
    assert list(form.mirror) == table["mirror"] and form.feet == table["feet"]
    assert [len(columns) for columns in form.part_columns.values()] == table["widths"]
    assert [list(chain) for chain in form.chains] == table["chains"] and list(form.parents) == table["parents"]
    cells = form.grid_columns[form.grid_columns < form.n_features]
    assert sorted(cells) == list(range(form.n_features)) and len(form.grid_columns) == 6 * form.slots_per_part
    root = form.grid_columns[form.slots.index(0)]
    stop = form.contacts.stop
    assert root.tolist() == [*range(4), *range(stop - 4, stop), stop, *form.joint_columns(0)]


def synthetic(name: str) -> np.ndarray:
    """(9, J, 3) of a body in the published proportions that turns, walks and bends, by a formula."""
    form = get_format(name)
    time = np.arange(9)[:, None, None] / 4
    number = np.arange(form.n_joints)[None, :, None]
    bend = 0.3 * np.sin(time + number + np.arange(3) * 0.7)
    joints = np.zeros((9, form.n_joints, 3))
    joints[:, 0] = np.concatenate(
        [0.1 * np.sin(time[:, 0]), 0.9 + 0.05 * np.cos(time[:, 0]), 0.2 * time[:, 0]], axis=-1
    )
    for joint_number in range(1, form.n_joints):
        bone = np.array(form.offsets[joint_number]) + form.bone_lengths[joint_number] * bend[:, joint_number]
        joints[:, joint_number] = joints[:, form.parents[joint_number]] + bone
    return joints


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_features_stay_what_they_are(name: str) -> None:
    stored = np.array(json.loads(STORED.read_text())[name])
    features = joints_to_features(synthetic(name), name)[::4]
    np.testing.assert_allclose(features, stored, rtol=5e-7, atol=5e-7)
