"""Motion files of every kind mean the same joints: skeletons, units, axes, rates, SMPL parameters, real captures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from data.motions.body import likely_unit, turn_up, upright_axis
from data.motions.joint_maps import guess_joint_map, load_joint_map, shipped_names
from data.motions.reader import SourceMotion
from data.motions.settings import METRES
from data.motions.smpl import BodyShape
from data.prepare.checks import check_motion
from data.prepare.clip import reader_of
from data.prepare.settings import ClipSettings
from tests.data.prepare.bodies import PACK, SKELETON, Body, named_like, walking_body, write_bvh
from tests.test_fit import body_arrays, needs_smplx
from utils.errors import UserError
from utils.representation import canonicalize, features_to_joints, joints_to_features

SETTINGS = ClipSettings(min_frames=20)
needs_pack = pytest.mark.skipif(not PACK.is_dir(), reason="the motion-capture pack is not beside the project")


def read_motion(path: Path, settings: ClipSettings, bodies: dict[str, BodyShape] | None = None) -> SourceMotion:
    return reader_of(settings, bodies or {}).read(path)


def bone_change(joints: np.ndarray) -> float:
    """The largest change of any bone's length over time, metres."""
    bones = np.linalg.norm(joints[:, 1:] - joints[:, list(SKELETON.parents[1:])], axis=-1)
    return float(np.ptp(bones, axis=0).max())


@pytest.mark.parametrize(
    "unit, fps, order, all_positions",
    [("m", 20, "ZXY", False), ("cm", 30, "XYZ", True), ("inch", 60, "YXZ", True), ("mm", 120, "ZYX", False)]
    + [("foot", 60, "XZY", True), ("cmu", 120, "ZXY", False)],
)
def test_units_rates_and_channels(tmp_path: Path, unit: str, fps: int, order: str, all_positions: bool) -> None:
    body = walking_body(2.0, fps)
    path = write_bvh(tmp_path / "a.bvh", body, fps, order, METRES[unit], all_positions, wrong_offsets=all_positions)
    motion = read_motion(path, SETTINGS)
    assert (motion.kind, motion.joint_map, motion.unit, motion.source_fps) == ("bvh", "smpl", unit, fps)
    truth = walking_body(2.0, 20).joints()
    assert motion.joints.shape == truth.shape and np.linalg.norm(motion.joints - truth, axis=-1).max() < 1e-3
    assert bone_change(motion.joints) < 1e-4


def test_given_unit_is_believed(tmp_path: Path) -> None:
    path = write_bvh(tmp_path / "a.bvh", walking_body(2.0), 20)
    inches = read_motion(path, replace(SETTINGS, units="inch")).joints
    np.testing.assert_allclose(inches, read_motion(path, SETTINGS).joints * 2.54, rtol=1e-6)


@pytest.mark.parametrize("size", [0.9, 1.0, 1.25])
@pytest.mark.parametrize("unit", METRES)
def test_unit_of_small_and_tall_bodies(unit: str, size: float) -> None:
    assert likely_unit(walking_body(0.1).joints() * size / METRES[unit]) == unit


def test_a_body_without_size() -> None:
    with pytest.raises(UserError, match="at one place"):
        likely_unit(np.zeros((3, 22, 3)))
    with pytest.raises(UserError, match="no unit makes human: give --units"):
        likely_unit(walking_body(0.1).joints() * 1e6)


@pytest.mark.parametrize("up", ["x", "y", "z", "minus_x", "minus_y", "minus_z"])
def test_every_axis_can_be_up(up: str) -> None:
    """Turned so that `up` points up, the body is found to stand along it, and is turned back without a reflection."""
    joints = walking_body(1.0).joints()
    axis = np.eye(3)["xyz".index(up[-1])] * (-1 if up.startswith("minus") else 1)
    turn, _ = Rotation.align_vectors([axis], [[0, 1, 0]])
    turned = turn.apply(joints.reshape(-1, 3)).reshape(joints.shape)
    assert upright_axis(turned)[0] == up
    # Features do not see where the body stood and looked at the beginning.
    np.testing.assert_allclose(canonicalize(turn_up(turned, up)), canonicalize(joints), atol=1e-5)


@pytest.mark.parametrize("name", shipped_names())
def test_shipped_maps_are_guessed(name: str) -> None:
    joint_map = load_joint_map(name)
    assert guess_joint_map(("Extra", *sorted(joint_map.sources))) == joint_map
    prefixed = tuple(f"mixamorig1:{source}" for source in sorted(joint_map.sources))
    assert guess_joint_map(prefixed) == joint_map


@pytest.mark.parametrize(
    "name, prefix",
    [("mixamo", "mixamorig:"), ("mixamo", ""), ("mixamo", "Model_"), ("lafan1", ""), ("smpl", "")]
    + [("smpl_short", "m_avg_")],
)
def test_skeletons_of_the_shipped_maps(tmp_path: Path, name: str, prefix: str) -> None:
    body = walking_body(1.5)
    motion = read_motion(write_bvh(tmp_path / "a.bvh", named_like(body, name, prefix), 20), SETTINGS)
    assert motion.joint_map == name
    np.testing.assert_allclose(motion.joints, body.joints(), atol=1e-5)


def spine_without_spine1(body: Body) -> Body:
    """The body in Bandai's names: no joint between Hips and Spine, which is where spine2 is."""
    keep = [joint for joint in range(22) if joint != 3]
    blends = load_joint_map("bandai").blends
    names = tuple(blends[joint][0][0] for joint in keep)
    parents = [SKELETON.parents[joint] for joint in keep]
    parents = tuple(-1 if parent < 0 else keep.index(0 if parent == 3 else parent) for parent in parents)
    offsets = body.offsets.copy()
    offsets[6] += offsets[3]
    return Body(names, parents, offsets[keep], body.root, body.turns[:, keep])


def test_blended_joint(tmp_path: Path) -> None:
    bandai = spine_without_spine1(walking_body(1.5))
    motion = read_motion(write_bvh(tmp_path / "a.bvh", bandai, 20), SETTINGS)
    places = bandai.joints()
    middle = (places[:, bandai.names.index("Hips")] + places[:, bandai.names.index("Spine")]) / 2
    assert motion.joint_map == "bandai" and bone_change(motion.joints) < 1e-4
    np.testing.assert_allclose(motion.joints[:, 3], middle, atol=1e-5)


def test_skipped_frames(tmp_path: Path) -> None:
    body = walking_body(2.0)
    path = write_bvh(tmp_path / "a.bvh", body, 20)
    assert len(read_motion(path, replace(SETTINGS, skip_frames=5)).joints) == len(body.root) - 5
    assert load_joint_map("cmu").skip_frames == 1


def test_wrong_skeletons_name_the_joint(tmp_path: Path) -> None:
    body = named_like(walking_body(1.5), "mixamo")
    broken = replace(body, names=tuple("Elbow" if name == "LeftForeArm" else name for name in body.names))
    path = write_bvh(tmp_path / "a.bvh", broken, 20)
    with pytest.raises(UserError, match="mixamo comes nearest but lacks LeftForeArm"):
        read_motion(path, SETTINGS)
    with pytest.raises(UserError, match="joint map lafan1 needs LeftForeArm, LeftToe, RightToe"):
        read_motion(path, replace(SETTINGS, joint_map="lafan1"))
    twice = replace(body, names=tuple("LeftHand" if name == "RightHand" else name for name in body.names))
    with pytest.raises(UserError, match="RightHand"):
        read_motion(write_bvh(tmp_path / "b.bvh", twice, 20), SETTINGS)
    assert load_joint_map("mixamo").missing(("a", "b"))
    with pytest.raises(UserError, match="no shipped joint map fits .*the file has a, b; give --joint_map"):
        guess_joint_map(("a", "b"))


@pytest.mark.parametrize(
    "text, words",
    [
        ("[]", 'an object "joints"'),
        ('{"joints": {}}', "lacks the joint pelvis"),
        ('{"joints": {"tail": "Tail"}}', "names the unknown joint tail"),
        ('{"joints": {"pelvis": 3}}', "lacks the joint left_hip"),
        ("{", "not valid JSON"),
    ],
)
def test_bad_joint_maps(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "map.json").write_text(text)
    with pytest.raises(UserError, match=words):
        load_joint_map(str(tmp_path / "map.json"))


def test_users_joint_map(tmp_path: Path) -> None:
    import json

    blends = {
        target: blend[0][0] for target, blend in zip(SKELETON.joint_names, load_joint_map("smpl").blends, strict=True)
    }
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"joints": {**blends, "spine1": {"pelvis": 0.25, "spine2": 0.75}}}))
    body = walking_body(1.5)
    joints = read_motion(write_bvh(tmp_path / "a.bvh", body, 20), replace(SETTINGS, joint_map=str(path))).joints
    np.testing.assert_allclose(joints[:, 3], 0.25 * body.joints()[:, 0] + 0.75 * body.joints()[:, 6], atol=1e-5)
    for blend, words in (({"pelvis": 0.5}, "add up to 0.5"), ({"pelvis": 2}, "from 0 to 1"), ([], "spine1 must be")):
        other = tmp_path / f"{len(words)}.json"
        other.write_text(json.dumps({"joints": {**blends, "spine1": blend}}))
        with pytest.raises(UserError, match=words):
            load_joint_map(str(other))


def test_joints_files(tmp_path: Path) -> None:
    """A .npy at --source_fps, or a .npz that tells its own rate, means the same as the BVH."""
    joints = walking_body(2.0, 60).joints()
    np.save(tmp_path / "a.npy", joints)
    np.savez(tmp_path / "b.npz", joints=joints * 100, fps=60)
    bvh = read_motion(write_bvh(tmp_path / "c.bvh", walking_body(2.0, 60), 60), SETTINGS)
    first = read_motion(tmp_path / "a.npy", replace(SETTINGS, source_fps=60))
    second = read_motion(tmp_path / "b.npz", SETTINGS)
    assert (first.kind, first.unit, second.unit, second.source_fps) == ("joints", "m", "cm", 60)
    for motion in (first, second):
        np.testing.assert_allclose(motion.joints, bvh.joints, atol=1e-5)


@pytest.mark.parametrize(
    "array, words",
    [
        (np.zeros((50, 21, 3)), "wrong joints: the shape is"),
        (np.zeros((50, 263)), "look like features"),
        (np.zeros((0, 22, 3)), "no frames"),
        (np.where(np.arange(50)[:, None, None] == 7, np.nan, np.ones((50, 22, 3))), "first in frame 7"),
        (np.array(["a"]), "wrong joints"),
    ],
)
def test_bad_arrays(tmp_path: Path, array: np.ndarray, words: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(UserError, match=words):
        read_motion(tmp_path / "a.npy", SETTINGS)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04nothing", b"\x93NUMPY\x01\x00v\x00{'descr'", b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f4' \n"],
)
def test_broken_arrays(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"a{suffix}").write_bytes(content)
    with pytest.raises(UserError, match="not a readable"):
        read_motion(tmp_path / f"a{suffix}", SETTINGS)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1), length=st.integers(0, 30), new=st.binary(max_size=30), packed=st.booleans())
def test_damaged_arrays_are_read_or_refused(
    tmp_path: Path, place: float, length: int, new: bytes, packed: bool
) -> None:
    """Any stretch of a good file replaced by anything: joints, or our own error and no other."""
    joints = walking_body(0.2).joints().astype(np.float32)
    path = tmp_path / ("a.npz" if packed else "a.npy")
    np.savez_compressed(path, joints=joints) if packed else np.save(path, joints)
    content = path.read_bytes()
    start = round(place * (400 if place < 0.7 else len(content)))  # headers more often than numbers
    path.write_bytes(content[:start] + new + content[start + length :])
    try:
        motion = read_motion(path, SETTINGS)
    except UserError:
        return
    assert motion.joints.shape[1:] == (22, 3) and np.isfinite(motion.joints).all()


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="not a readable"):
        read_motion(tmp_path / "a.npy", SETTINGS)


# SMPL


def smpl_arrays(frames: int = 41, fps: float = 20.0) -> dict[str, np.ndarray]:
    """Pose parameters as in AMASS: z up."""
    body = walking_body((frames - 1) / fps, fps)
    lifted = Rotation.from_euler("x", 90, degrees=True)
    turns = body.turns.copy()
    turns[:, 0] = (lifted * Rotation.from_rotvec(turns[:, 0])).as_rotvec()
    poses = np.concatenate([turns.reshape(frames, -1), np.zeros((frames, 90))], axis=1)
    betas = np.random.default_rng(3).normal(size=16)
    return {"poses": poses, "trans": lifted.apply(body.root), "betas": betas, "mocap_framerate": np.array(fps)}


def test_smpl_against_matrices(tmp_path: Path) -> None:
    """Joints as the model's equations say, in their own arithmetic; z up becomes y up."""
    model, arrays = body_arrays(), smpl_arrays()
    np.savez(tmp_path / "a.npz", **arrays)
    bodies = {"neutral": BodyShape.from_model(model)}
    motion = read_motion(tmp_path / "a.npz", replace(SETTINGS, up=(("smpl", "z"),)), bodies)
    shaped = model["v_template"] + model["shapedirs"] @ arrays["betas"][:10]
    rest = (model["J_regressor"] @ shaped)[:22]
    offsets = rest - rest[[0, *SKELETON.parents[1:]]]
    turns = arrays["poses"][:, :66].reshape(-1, 22, 3)
    truth = Body(SKELETON.joint_names, SKELETON.parents, offsets, arrays["trans"] + rest[0], turns).joints()
    truth = np.stack([truth[..., 0], truth[..., 2], -truth[..., 1]], axis=-1)
    assert (motion.kind, motion.unit, motion.source_fps) == ("smpl", "m", 20)
    np.testing.assert_allclose(motion.joints, truth, atol=1e-9)
    assert upright_axis(motion.joints)[0] == "y"


@needs_smplx
def test_smpl_against_smplx(tmp_path: Path) -> None:
    import torch

    from visualization.smpl_model import load_body_model

    arrays = smpl_arrays()
    np.savez(tmp_path / "SMPL_NEUTRAL.npz", **body_arrays())
    np.savez(tmp_path / "a.npz", **arrays)
    values = {"global_orient": arrays["poses"][:, :3], "body_pose": arrays["poses"][:, 3:72], "transl": arrays["trans"]}
    values["betas"] = np.tile(arrays["betas"][:10], (len(arrays["poses"]), 1))
    with torch.no_grad():
        output = load_body_model(tmp_path / "SMPL_NEUTRAL.npz")(
            **{name: torch.as_tensor(value, dtype=torch.float32) for name, value in values.items()}
        )
    bodies = {"neutral": BodyShape.from_model(body_arrays())}
    joints = read_motion(tmp_path / "a.npz", SETTINGS, bodies).joints
    np.testing.assert_allclose(joints, output.joints[:, :22].numpy(), atol=1e-5)


def test_smpl_needs_a_body_and_a_rate(tmp_path: Path) -> None:
    arrays = smpl_arrays()
    bodies = {"neutral": BodyShape.from_model(body_arrays())}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match="give --body_model"):
        read_motion(tmp_path / "a.npz", SETTINGS)
    np.savez(tmp_path / "b.npz", poses=arrays["poses"], trans=arrays["trans"])
    with pytest.raises(UserError, match="give --source_fps"):
        read_motion(tmp_path / "b.npz", SETTINGS, bodies)
    np.savez(tmp_path / "c.npz", **{**arrays, "poses": arrays["poses"][:, :30]})
    with pytest.raises(UserError, match="no SMPL motion"):
        read_motion(tmp_path / "c.npz", SETTINGS, bodies)


# Checks


def test_a_good_motion_passes() -> None:
    for speed in (0.0, 1.0, 6.0):
        assert check_motion(walking_body(3.0, speed=speed).joints(), ClipSettings()) == []


def jumped(joints: np.ndarray) -> None:
    joints[30:] += np.array([0.5, 0, 0])


def stretched(joints: np.ndarray) -> None:
    joints[20, 20] += 0.3 * (joints[20, 20] - joints[20, 18])


def missing(joints: np.ndarray) -> None:
    joints[12, 3, 1] = np.nan


@pytest.mark.parametrize(
    "spoil, words",
    [
        (jumped, "teleporting root: 0.5. m from frame 29 to 30"),
        (stretched, "bone lengths change: left_wrist 0.266 to 0.346 m"),
        (missing, "NaN: first in frame 12"),
    ],
)
def test_spoiled_motions(spoil, words: str) -> None:
    joints = walking_body(3.0).joints()
    spoil(joints)
    with pytest.raises(UserError, match=words):
        check_motion(joints, ClipSettings())


def test_short_and_fast_motions() -> None:
    with pytest.raises(UserError, match="too short: 39 rows of features at 20 fps .1.95 s., --min_frames is 40"):
        check_motion(walking_body(2.0).joints()[:40], ClipSettings())
    with pytest.raises(UserError, match="teleporting root"):
        check_motion(walking_body(3.0, speed=20.0).joints(), ClipSettings())


def test_odd_looks_are_remarked() -> None:
    joints = walking_body(3.0).joints()
    assert "not upright" in check_motion(turn_up(joints, "z"), ClipSettings())[0]
    assert check_motion(joints * 0.01, ClipSettings()) == ["the body measures 0.0148 m from ankle to head: --units?"]
    left_handed = joints * np.array([-1.0, 1, 1])
    assert "toes point backwards" in check_motion(left_handed, ClipSettings())[0]


# Real captures


def pack_joints() -> dict[str, np.ndarray]:
    with np.load(PACK / "bandai_joints.npz", allow_pickle=False) as file:
        ends = np.cumsum(file["lengths"])
        wanted = {path.stem for path in (PACK / "bvh").glob("*.bvh")}
        root, relative, names, lengths = file["root"], file["rel"], file["names"], file["lengths"]
    return {
        str(name): root[end - count : end, None] + relative[end - count : end] * 1e-4
        for name, end, count in zip(names, ends, lengths, strict=True)
        if str(name) in wanted
    }


def aligned(joints: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Joints (T, J, 3) turned about y and shifted as near to the target as that goes."""
    centre, other = joints.mean(axis=(0, 1)), target.mean(axis=(0, 1))
    a, b = (joints - centre)[..., [2, 0]], (target - other)[..., [2, 0]]
    angle = np.arctan2((a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]).sum(), (a * b).sum())
    return Rotation.from_euler("y", angle).apply((joints - centre).reshape(-1, 3)).reshape(joints.shape) + other


@needs_pack
def test_real_files() -> None:
    """All BVH files of the pack: 1 mm to its joints where both have a frame, and features of either agree."""
    reference = pack_joints()
    assert len(reference) == 24
    for name, target in reference.items():
        motion = read_motion(PACK / "bvh" / f"{name}.bvh", ClipSettings())
        assert (motion.joint_map, motion.unit, motion.source_fps) == ("bandai", "cm", 30)
        assert len(motion.joints) == len(target) and bone_change(motion.joints) < 1e-4
        # Every second frame at 20 fps is a frame of the file; between them the two interpolations differ a little.
        same = aligned(motion.joints[::2], target[::2]) - target[::2]
        assert np.linalg.norm(same, axis=-1).max() < 1e-3, name
        between = np.linalg.norm(aligned(motion.joints, target) - target, axis=-1)
        assert between.max() < 0.01 and np.percentile(between, 99) < 2e-3, name
        features = joints_to_features(canonicalize(motion.joints))
        expected = joints_to_features(canonicalize(target))
        assert np.abs(features_to_joints(features) - features_to_joints(expected)).max() < 0.02, name
        assert np.abs(features - expected).mean() < 2e-3, name


@needs_pack
def test_features_of_real_files_return() -> None:
    """Features -> joints -> features; the last rows feel the lost last frame through the smoothed heading."""
    for name in ("dataset-2_walk_normal_013", "dataset-2_wave-left-hand_normal_024"):
        joints = canonicalize(read_motion(PACK / "bvh" / f"{name}.bvh", ClipSettings()).joints)
        features = joints_to_features(joints)
        again = features_to_joints(features)
        np.testing.assert_allclose(again, joints[:-1], atol=1e-4)
        rows = len(features) - 80
        np.testing.assert_allclose(joints_to_features(again)[:rows], features[:rows], atol=1e-4)
