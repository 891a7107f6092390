"""Every door that a motion enters by: the same detection, the same refusals, the same flags."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import fit
from data.motions.body import frames_before_motion, likely_up, turn_up
from data.motions.joint_maps import load_joint_map
from data.motions.reader import MotionReader
from data.motions.settings import ReadSettings
from data.specs import get_spec
from options.command_line import parse
from options.library import BuildOptions, SearchOptions
from options.prepare import PrepareOptions
from options.render import parse_render_options
from Part_TMR.library import read_motion, read_own_clips, reader_for
from pipeline.preparation import prepare_dataset
from pipeline.render_output import render_all
from tests.data.prepare.bodies import SKELETON, Body, named_like, walking_body, write_bvh
from tests.data.prepare.test_motions import smpl_arrays
from utils.bvh import read_bvh
from utils.errors import UserError
from utils.facing import facing
from utils.formats import HUMANML3D
from utils.representation import canonicalize, features_to_joints, joints_to_features
from visualization import export

SPEC = get_spec("humanml3d")
AXES = {"z": ("x", 90), "minus_z": ("x", -90), "x": ("z", -90)}


def tilted(body: Body, up: str) -> Body:
    """The body in a world whose axis `up` points up."""
    turn = Rotation.from_euler(*AXES[up], degrees=True)
    turns = body.turns.copy()
    turns[:, 0] = (turn * Rotation.from_rotvec(turns[:, 0])).as_rotvec()
    return replace(body, root=turn.apply(body.root), turns=turns)


def after_t_pose(body: Body, frames: int = 1, place: tuple[float, float, float] = (0, 0, 0)) -> Body:
    """The body, before which a T-pose stands at `place`."""
    root = np.concatenate([np.tile(np.array(place, dtype=float), (frames, 1)), body.root + [0.0, 0.0, 2.0]])
    return replace(body, root=root, turns=np.concatenate([np.zeros((frames, 22, 3)), body.turns]))


def prepared(folder: Path, *flags: str) -> np.ndarray:
    (folder / "texts").mkdir(exist_ok=True)
    (folder / "texts" / "a.txt").write_text("he walks")
    arguments = ["--motion_dir", folder / "in", "--text_dir", folder / "texts", "--out", folder / "out"]
    arguments += ["--workers", "1", "--contact_sheet", "0", "--split", "1,0,0", "--restart", *flags]
    prepare_dataset(parse(PrepareOptions, [str(word) for word in arguments]))
    return np.load(folder / "out" / "new_joint_vecs" / "a.npy")


def added(folder: Path, *flags: str) -> np.ndarray:
    options = parse(BuildOptions, ["--add", str(folder / "in"), *flags])
    source = next((folder / "in").iterdir())
    return read_own_clips(source, ("he walks",), SPEC, reader_for(SPEC, options.reading))[0].features


def searched(folder: Path, *flags: str) -> np.ndarray:
    path = next((folder / "in").iterdir())
    options = parse(SearchOptions, ["--motion", str(path), *flags])
    return read_motion(path, SPEC, reader_for(SPEC, options.reading).agreed([path]))


def exported(folder: Path, *flags: str) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        arguments = ["--dir", folder / "in", "--out", folder / "files", "--formats", "bvh", *flags]
        patch.setattr(sys, "argv", ["export", *map(str, arguments)])
        export.main()
    motion = read_bvh(folder / "files" / "a.bvh").resampled(20)
    order = [motion.names.index(name) for name in SKELETON.joint_names]
    return joints_to_features(canonicalize(motion.positions()[:, order] / 100))


def until(words: str, door: Callable[[], object]) -> None:
    """Goes through a door up to what is not installed here: by then all motions are read."""
    try:
        door()
    except UserError as error:
        if not re.search(words, str(error)):
            raise


def fitted(folder: Path, *flags: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        arguments = ["--dir", folder / "in", "--save_folder", folder / "fits", "--body_model", folder / "none", *flags]
        patch.setattr(sys, "argv", ["fit", *map(str, arguments)])
        until("smplx|no SMPL body model", fit.main)


def rendered(folder: Path, *flags: str) -> None:
    arguments = ["--dir", str(folder / "in"), *flags]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "bpy", None)
        until("needs Blender", lambda: render_all(parse_render_options(arguments)))


FEATURES = (prepared, added, searched, exported)
DOORS = (*FEATURES, fitted, rendered)


@pytest.mark.parametrize("door", FEATURES)
@pytest.mark.parametrize("up", AXES)
def test_an_axis_that_is_up_is_found_at_every_door(tmp_path: Path, door: Callable, up: str) -> None:
    body = named_like(walking_body(3.0), "mixamo")
    expected = joints_to_features(canonicalize(walking_body(3.0).joints()))
    write_bvh(tmp_path / "in" / "a.bvh", tilted(body, up), 20)
    for flags in ((), ("--up_axis", up)):
        features = door(tmp_path, *flags)
        again, truth = features_to_joints(features), features_to_joints(expected[: len(features)])
        assert np.linalg.norm(again - truth, axis=-1).max() < 0.02
    joints = features_to_joints(door(tmp_path, "--up_axis", "y"))
    assert np.median(joints[:, 15, 1] - joints[:, 0, 1]) < 0.3, "a flag is believed: the body lies"


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", ["bvh", "held", "joints"])
def test_a_t_pose_before_the_motion_is_refused_with_the_way_out(tmp_path: Path, door: Callable, kind: str) -> None:
    frames = 12 if kind == "held" else 1
    body = after_t_pose(
        named_like(walking_body(3.0, 30), "mixamo"), frames, (0, 0.95, 0) if kind == "held" else (0, 0, 0)
    )
    (tmp_path / "in").mkdir()
    if kind == "joints":
        np.savez(tmp_path / "in" / "a.npz", joints=body.joints(), fps=30)
    else:
        write_bvh(tmp_path / "in" / "a.bvh", body, 30)
    with pytest.raises(UserError, match=f"--skip_frames {frames}"):
        door(tmp_path)
    features = door(tmp_path, "--skip_frames", str(frames))
    if features is not None:
        height = features_to_joints(features)[:, 0, 1]
        assert 0.7 < height.min() <= height.max() < 1.1, "the body stands on the floor"
    with pytest.raises(UserError, match="--skip_frames leaves none"):
        door(tmp_path, "--skip_frames", "1000")


@pytest.mark.parametrize("door", FEATURES)
@pytest.mark.parametrize("key", ["fps", "mocap_framerate"])
def test_joints_have_their_own_rate_at_every_door(tmp_path: Path, door: Callable, key: str) -> None:
    (tmp_path / "in").mkdir()
    np.savez(tmp_path / "in" / "a.npz", joints=walking_body(3.0, 60).joints(), **{key: 60})
    truth = features_to_joints(joints_to_features(canonicalize(walking_body(3.0).joints())))
    joints = features_to_joints(door(tmp_path))
    assert len(joints) >= len(truth) - 3 and np.linalg.norm(joints - truth[: len(joints)], axis=-1).max() < 0.03


@pytest.mark.parametrize("door", FEATURES)
def test_a_rate_unit_and_map_can_be_given_at_every_door(tmp_path: Path, door: Callable) -> None:
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", walking_body(3.0, 60).joints() * 100)
    features = door(tmp_path, "--source_fps", "60", "--units", "cm")
    assert 56 <= len(features) <= 60
    with pytest.raises(UserError, match="no joint map nowhere"):
        write_bvh(tmp_path / "in" / "a.bvh", walking_body(3.0), 20)
        (tmp_path / "in" / "a.npy").unlink()
        door(tmp_path, "--joint_map", "nowhere")


@pytest.mark.parametrize("door", DOORS)
def test_bad_arrays_have_one_error(tmp_path: Path, door: Callable) -> None:
    (tmp_path / "in").mkdir()
    for array, words in (
        (np.zeros((50, 20, 3)), r"wrong joints: the shape is \(50, 20, 3\), not \(frames, 22, 3\)"),
        (np.full((50, 22, 3), np.nan), "NaN: or infinity or an absurd number, first in frame 0"),
        (np.zeros((0, 22, 3)), "too short: no frames"),
        (np.full((50, 22, 3), "a"), "they must be numbers"),
    ):
        np.save(tmp_path / "in" / "a.npy", array)
        with pytest.raises(UserError, match=words):
            door(tmp_path)


def test_smpl_parameters_enter_where_motions_do(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    np.savez(tmp_path / "in" / "a.npz", **smpl_arrays(61))
    for door in DOORS[:4]:
        with pytest.raises(UserError, match="give --body_model"):
            door(tmp_path)


# What the demo wrote


def demo_folder(folder: Path, fps: float = 30.0) -> Path:
    """Two runs as the demo writes them; one lies down on the floor all the time."""
    walking = walking_body(3.0, fps).joints()
    lying = turn_up(walking_body(3.0, fps, speed=0.0).joints(), "z")
    lying[..., 1] -= lying[..., 1].min()
    samples = []
    for number, joints in enumerate((walking, lying)):
        name = f"0{number}_run"
        (folder / name).mkdir(parents=True)
        np.save(folder / name / "joints.npy", joints.astype(np.float32))
        np.save(folder / name / "features.npy", np.zeros((len(joints) - 1, 263)))
        samples.append(
            {
                "prompt": f"prompt {number}",
                "seed": 0,
                "fps": fps,
                "retrieved": [],
                "files": {"joints": f"{name}/joints.npy"},
            }
        )
    (folder / "result.json").write_text(json.dumps({"samples": samples}))
    return folder


def test_the_demos_rate_is_kept_unless_a_flag_says_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = demo_folder(tmp_path / "in")
    for flags, rate in (((), 30), (("--fps", "25"), 25), (("--frame_rate", "60"), 60), (("--source_fps", "40"), 40)):
        arguments = ["--dir", source, "--out", tmp_path / f"{rate}", "--formats", "bvh", *flags]
        monkeypatch.setattr(sys, "argv", ["export", *map(str, arguments)])
        export.main()
        assert read_bvh(tmp_path / f"{rate}" / "00_run.bvh").fps == pytest.approx(rate)
    lying = read_bvh(tmp_path / "30" / "01_run.bvh").positions() / 100
    assert lying[..., 1].max() < 1.2, "what the project made is never turned"


def test_the_demos_folder_enters_the_library_with_its_prompts(tmp_path: Path) -> None:
    clips = read_own_clips(demo_folder(tmp_path / "in"), (), SPEC)
    assert [(clip.id, clip.captions[0].text) for clip in clips] == [("00_run", "prompt 0"), ("01_run", "prompt 1")]
    assert [len(clip.features) for clip in clips] == [60, 60], "3 seconds at 20 frames"
    (tmp_path / "in" / "result.json").write_text('{"samples": [{"files": {"joints": "a"}, "fps": "x"}]}')
    with pytest.raises(UserError, match="result.json is not what the demo writes"):
        read_own_clips(tmp_path / "in", (), SPEC)


# Single rules


def test_a_body_that_lies_on_the_floor_is_not_turned() -> None:
    joints = turn_up(walking_body(3.0, speed=0.0).joints(), "z")
    joints[..., 1] -= joints[..., 1].min()
    joints[..., 2] += 1.0
    assert likely_up(joints)[0] == "y"
    standing = walking_body(3.0).joints()[..., [0, 2, 1]] * [1, -1, 1]
    assert likely_up(standing)[0] == "z"


def test_motions_that_begin_at_once_are_let_through() -> None:
    for speed in (0.0, 1.0, 8.0):
        for fps in (10, 20, 120):
            assert frames_before_motion(walking_body(3.0, fps, speed=speed).root, fps) == (0, 0.0)
    assert frames_before_motion(np.zeros((1, 3)), 20) == (0, 0.0)


@pytest.mark.parametrize("prefix", ["mixamorig", "mixamorig9", "Character1", "rig_", "a:b:"])
def test_prefixes_without_a_mark(tmp_path: Path, prefix: str) -> None:
    body = named_like(walking_body(2.5), "mixamo", prefix)
    motion = MotionReader(fps=20).read(write_bvh(tmp_path / "a.bvh", body, 20))
    assert motion.joint_map == "mixamo"
    np.testing.assert_allclose(motion.joints, body.joints(), atol=1e-5)


def test_a_root_that_stays_is_remarked(tmp_path: Path) -> None:
    body = walking_body(2.5)
    path = write_bvh(tmp_path / "a.bvh", body, 20)
    assert not MotionReader().read(path).remarks
    lines = path.read_text().replace("CHANNELS 6 Xposition Yposition Zposition", "CHANNELS 3").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("Frame Time")) + 1
    path.write_text("\n".join(lines[:start] + [line.split(" ", 3)[3] for line in lines[start:]]) + "\n")
    write_bvh(tmp_path / "b.bvh", replace(body, root=np.tile(body.root[:1], (len(body.root), 1))), 20)
    for name in ("a", "b"):
        assert "on the spot" in MotionReader().read(tmp_path / f"{name}.bvh").remarks[0]


# Bones that a file has not

TWICE = {
    "toes": {"left_foot": "LeftFoot", "right_foot": "RightFoot"},
    "collars": {"left_collar": "Spine2", "right_collar": "Spine2"},
    "wrists": {"left_wrist": "LeftForeArm", "right_wrist": "RightForeArm"},
    "head": {"head": "Neck"},
    "spine": {"spine2": "Spine"},
    "blend": {"left_foot": {"LeftFoot": 0.5, "LeftToeBase": 0.5}, "left_ankle": {"LeftFoot": 0.5, "LeftToeBase": 0.5}},
}


def bones_of(joints: np.ndarray) -> np.ndarray:
    """(T, 22, 3) unit bones, that of the root zero."""
    bones = joints - joints[:, [0, *SKELETON.parents[1:]]]
    return bones / np.maximum(np.linalg.norm(bones, axis=-1, keepdims=True), 1e-9)


def mapped(folder: Path, changes: dict) -> str:
    names = {
        target: named_like(walking_body(0.1), "mixamo").names[joint]
        for joint, target in enumerate(SKELETON.joint_names)
    }
    (folder / "map.json").write_text(json.dumps({"joints": names | changes}))
    return str(folder / "map.json")


@pytest.mark.parametrize("case", TWICE)
def test_a_joint_mapped_twice_keeps_its_rest_direction(tmp_path: Path, case: str) -> None:
    """The bone turns with its parent's joint, as it would with a joint of its own that never turns."""
    body = named_like(walking_body(3.0), "mixamo")
    path = write_bvh(tmp_path / "a.bvh", body, 20)
    motion = MotionReader(ReadSettings(joint_map=mapped(tmp_path, TWICE[case]))).read(path)
    (remark,) = motion.remarks
    lacking = [SKELETON.joint_names.index(name) for name in TWICE[case] if name in remark]
    assert lacking and "rest direction" in remark
    truth, found = bones_of(body.joints()), bones_of(motion.joints)
    angles = np.rad2deg(np.arccos(np.clip((truth * found).sum(-1)[:, lacking], -1, 1)))
    assert angles.max() < 45, angles.max(axis=0)
    lengths = np.linalg.norm(
        motion.joints[:, lacking] - motion.joints[:, [SKELETON.parents[j] for j in lacking]], axis=-1
    )
    assert (lengths > 0.01).all() and np.ptp(lengths, axis=0).max() < 1e-6


def test_toes_of_joints_alone_look_ahead(tmp_path: Path) -> None:
    """The same where a file has no rotations: toes on the ankles, wrists on the elbows, heads on the necks."""
    joints = walking_body(3.0).joints()
    truth = bones_of(joints)
    for joint in (10, 11, 20, 21, 15):
        joints[:, joint] = joints[:, SKELETON.parents[joint]]
    np.save(tmp_path / "a.npy", joints)
    motion = MotionReader().read(tmp_path / "a.npy")
    ahead = (bones_of(motion.joints)[:, [10, 11]] * facing(motion.joints, HUMANML3D)[:, None]).sum(-1)
    assert "left_foot" in motion.remarks[0] and ahead.min() > 0.5
    assert (bones_of(motion.joints) * truth).sum(-1)[:, [20, 21, 15]].min() > 0.7


def test_end_sites_can_be_named(tmp_path: Path) -> None:
    body = named_like(walking_body(3.0), "mixamo")
    keep = [joint for joint in range(22) if joint not in (10, 11)]
    parents = tuple(-1 if SKELETON.parents[joint] < 0 else keep.index(SKELETON.parents[joint]) for joint in keep)
    names = tuple(body.names[joint] for joint in keep)
    toeless = Body(names, parents, body.offsets[keep], body.root, body.turns[:, keep])
    path = write_bvh(tmp_path / "a.bvh", toeless, 20)
    for name in ("LeftFoot End Site", "LeftFoot_End", "EndSite_LeftFoot"):
        chosen = mapped(tmp_path, {"left_foot": name, "right_foot": name.replace("Left", "Right")})
        motion = MotionReader(ReadSettings(joint_map=chosen)).read(path)
        assert not motion.remarks
        toe = np.linalg.norm(motion.joints[:, 10] - motion.joints[:, 7], axis=-1)
        np.testing.assert_allclose(toe, 0.05, atol=1e-5)
        load_joint_map.cache_clear()
