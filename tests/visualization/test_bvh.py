"""Exported skeletons: exact forward kinematics, no jumps, planted feet, clear refusals."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from tests.visualization.motions import make_walk
from utils import quaternion
from utils.bvh import read_bvh
from utils.errors import UserError
from utils.formats import get_format
from utils.hierarchy import Hierarchy
from visualization import foot_lock
from visualization.bvh import rig_motion, write_bvh
from visualization.contacts import detect_contacts
from visualization.euler import to_euler
from visualization.kinematics import forward


def export(path: Path, joints: np.ndarray, dataset: str = "humanml3d", **options) -> tuple[Hierarchy, np.ndarray]:
    """The written file and its joints (T, J, 3) in metres by forward kinematics."""
    motion = read_bvh(write_bvh(path, joints, 20, get_format(dataset), **options))
    order = [motion.names.index(name) for name in get_format(dataset).joint_names]
    return motion, motion.positions()[:, order] / 100


def written_angles(path: Path) -> np.ndarray:
    """(T, 3 N) degrees as they stand in the file, the root's first."""
    return np.loadtxt(path.read_text().split("Frame Time")[1].splitlines()[1:], ndmin=2)[:, 3:]


def root_order(path: Path) -> list[str]:
    """The channels of the root's angles, in the file's order."""
    return path.read_text().partition("Zposition ")[2].partition("\n")[0].split()


def largest_turn(motion: Hierarchy) -> float:
    """The largest rotation of any joint between two frames, degrees."""
    return largest_turn_of(motion.rotations)


def largest_turn_of(rotations: np.ndarray) -> float:
    """The same of quaternions (T, N, 4)."""
    cosine = np.abs((rotations[1:] * rotations[:-1]).sum(-1))
    return float(np.rad2deg(2 * np.arccos(np.clip(cosine, 0, 1))).max())


def slide(joints: np.ndarray, contacts: np.ndarray) -> float:
    """Mean horizontal way of foot joints between two frames of contact, metres."""
    feet = [7, 10, 8, 11]
    step = np.linalg.norm(np.diff(joints[:, feet][..., [0, 2]], axis=0), axis=-1)
    both = contacts[1:] & contacts[:-1]
    return float(step[both].mean())


@pytest.mark.parametrize("dataset", ["humanml3d", "kit"])
def test_forward_kinematics_returns_the_joints(tmp_path: Path, dataset: str) -> None:
    joints = make_walk(dataset, turns=0.4)
    motion, again = export(tmp_path / "walk.bvh", joints, dataset)
    assert np.abs(again - joints).max() < 1e-4
    assert motion.fps == pytest.approx(20)
    assert np.isfinite(motion.ends[[i for i in range(len(motion.names)) if i not in motion.parents]]).all()


def test_forward_kinematics_of_real_motion(
    tmp_path: Path, real_clips: list[np.ndarray], reference_clip: np.ndarray
) -> None:
    for joints in [*real_clips, reference_clip]:
        motion, again = export(tmp_path / "clip.bvh", joints)
        assert np.linalg.norm(again - joints, axis=-1).max() < 0.01
        # 60 degrees in a twentieth of a second is the fastest arm in these clips.
        assert largest_turn(motion) < 62


def test_uneven_bones_do_not_add_up_along_a_limb(tmp_path: Path) -> None:
    joints = make_walk()
    noisy = joints + 0.004 * np.random.default_rng(0).standard_normal(joints.shape)
    _, again = export(tmp_path / "noisy.bvh", noisy)
    error = np.linalg.norm(again - noisy, axis=-1)
    assert error.mean() < 0.006
    assert np.percentile(error, 99) < 0.02


@pytest.mark.parametrize("start", [0, 90, 179, 180, -90])
@pytest.mark.parametrize("turns", [3.0, -3.0])
def test_full_turns_have_no_jumps(tmp_path: Path, start: float, turns: float) -> None:
    joints = make_walk(frames=100, turns=turns, speed=0.5, start=start)
    motion, again = export(tmp_path / "turns.bvh", joints)
    assert np.abs(again - joints).max() < 1e-4
    assert largest_turn(motion) < 25
    angles = written_angles(tmp_path / "turns.bvh")
    assert np.abs(np.diff(angles, axis=0)).max() < 60
    # The heading winds up instead of wrapping at 180 degrees.
    heading = angles[:, root_order(tmp_path / "turns.bvh").index("Yrotation")]
    assert abs(heading[-1] - heading[0]) == pytest.approx(abs(turns) * 360, abs=40)


def test_every_heading_is_alike(tmp_path: Path) -> None:
    """A motion that starts in another direction differs in the root's heading alone; no heading is special."""
    joints = make_walk(frames=20, turns=0.4)
    rig, pose = rig_motion(joints, 20)
    for degrees in range(15, 360, 15):
        turn = quaternion.from_axis_angle(np.array([0.0, 1.0, 0.0]), np.deg2rad(degrees))
        turned_rig, turned = rig_motion(quaternion.rotate(turn, joints), 20)
        np.testing.assert_allclose(turned_rig.offsets, rig.offsets, atol=1e-9)
        same = np.abs((turned.local[:, 1:] * pose.local[:, 1:]).sum(-1))
        np.testing.assert_allclose(same, 1, atol=1e-9)
        root = quaternion.multiply(turn, pose.local[:, 0])
        np.testing.assert_allclose(np.abs((turned.local[:, 0] * root).sum(-1)), 1, atol=1e-9)
        _, again = export(tmp_path / "a.bvh", quaternion.rotate(turn, joints))
        assert np.abs(again - quaternion.rotate(turn, joints)).max() < 1e-4
        assert np.abs(np.diff(written_angles(tmp_path / "a.bvh"), axis=0)).max() < 60


@pytest.mark.parametrize("fps", [1, 12.5, 20, 60, 120])
def test_any_frame_rate(tmp_path: Path, fps: float) -> None:
    joints = make_walk(frames=6, fps=20)
    motion = read_bvh(write_bvh(tmp_path / "a.bvh", joints, fps, foot_locking=True))
    assert motion.fps == pytest.approx(fps, rel=1e-6) and len(motion.rotations) == 6


def test_angles_take_the_nearer_of_two_names_of_a_rotation() -> None:
    """Also through gimbal lock, where both names of a rotation meet."""
    turns = np.cumsum(np.random.default_rng(0).normal(size=(200, 5, 3)) * 0.3, axis=0)
    rotations = quaternion.unroll(quaternion.from_euler(turns, "ZXY"))
    orders, angles = to_euler(rotations)
    for node, order in enumerate(orders):
        again = quaternion.from_euler(angles[:, node], order)
        np.testing.assert_allclose(np.abs((again * rotations[:, node]).sum(-1)), 1, atol=1e-9)
    other = angles[1:] * [1, -1, 1] + np.pi
    steps = [np.abs((end - angles[:-1] + np.pi) % (2 * np.pi) - np.pi).sum(-1) for end in (angles[1:], other)]
    assert (np.abs(np.diff(angles, axis=0)).sum(-1) <= steps[1] + 1e-9).all()
    np.testing.assert_allclose(np.abs(np.diff(angles, axis=0)).sum(-1), steps[0], atol=1e-9)


def test_straight_limbs_do_not_spin(tmp_path: Path) -> None:
    """Arms and legs that pass through straight have no bending plane there: their twist must stay calm."""
    joints = make_walk(frames=60, speed=0)
    skeleton = get_format("humanml3d")
    for shoulder, elbow, wrist in ((16, 18, 20), (17, 19, 21)):
        upper = joints[:, elbow] - joints[:, shoulder]
        straight = upper / np.linalg.norm(upper, axis=-1, keepdims=True)
        wobble = 0.004 * np.random.default_rng(1).standard_normal((60, 3))
        joints[:, wrist] = joints[:, elbow] + skeleton.bone_lengths[wrist] * straight + wobble
    motion, _ = export(tmp_path / "straight.bvh", joints)
    assert largest_turn(motion) < 20


def test_a_deformed_chest_does_not_swing_the_head() -> None:
    """No rigid chest follows collars alone; the short neck above it must not make up for all of that."""
    joints = make_walk(frames=40, speed=0)
    joints[20:23, [13, 14, 16, 17, 18, 19, 20, 21], 2] += 0.12  # collars and arms jump forwards
    rig, pose = rig_motion(joints, 20)
    assert largest_turn_of(pose.world[:, [rig.names.index("neck")]]) < 30


@pytest.mark.parametrize("noise", [0.004, 0.008])
@pytest.mark.parametrize("joint", ["spine1", "spine2", "neck", "all"])
def test_noisy_joints_do_not_swing_a_short_spine(noise: float, joint: str) -> None:
    """A bone of 6 cm whose ends are noisy would turn by tens of degrees a frame; what a clean clip does is kept."""
    joints = make_walk(turns=0.4)
    chosen = slice(None) if joint == "all" else get_format("humanml3d").joint_names.index(joint)
    noisy = joints.copy()
    noisy[:, chosen] += noise * np.random.default_rng(0).standard_normal(noisy[:, chosen].shape)
    rig, pose = rig_motion(noisy, 20)
    spine = [rig.names.index(name) for name in ("spine1", "spine2", "neck")]
    assert largest_turn_of(pose.local[:, spine]) < 18
    rig, pose = rig_motion(joints, 20)
    assert largest_turn_of(pose.local[:, spine]) < 4
    assert np.abs(forward(rig, pose.root, pose.local)[:, rig.node_of_joint] - joints).max() < 1e-4


def test_bone_lengths_are_medians_and_rest_pose_faces_forward(tmp_path: Path, walk: np.ndarray) -> None:
    motion, _ = export(tmp_path / "walk.bvh", walk)
    offsets = dict(zip(motion.names, motion.offsets, strict=True))
    assert offsets["left_hip"][0] > 0 > offsets["right_hip"][0]
    assert offsets["left_knee"][1] < 0
    assert offsets["left_foot"][2] > 0
    assert np.linalg.norm(offsets["left_knee"]) == pytest.approx(39.362, abs=1e-2)


def test_units(tmp_path: Path, walk: np.ndarray) -> None:
    metres = read_bvh(write_bvh(tmp_path / "m.bvh", walk, 20, unit="m"))
    centimetres = read_bvh(write_bvh(tmp_path / "cm.bvh", walk, 20))
    np.testing.assert_allclose(metres.positions() * 100, centimetres.positions(), atol=0.01)


@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize("foot_locking", [False, True])
def test_shortest_motions(tmp_path: Path, frames: int, foot_locking: bool) -> None:
    motion, again = export(tmp_path / "short.bvh", make_walk(frames=frames), foot_locking=foot_locking)
    assert len(motion.rotations) == frames
    assert np.isfinite(again).all()


def test_collapsed_joints_stay_finite(tmp_path: Path) -> None:
    _, again = export(tmp_path / "zero.bvh", np.zeros((10, 22, 3)), foot_locking=True)
    assert np.isfinite(again).all()


def test_foot_locking_takes_the_slide_out() -> None:
    joints = make_walk(frames=100, speed=1.7)  # faster than its legs: the feet slide
    contacts = detect_contacts(joints, 20)
    rig, pose = rig_motion(joints, 20, foot_locking=True)
    locked = forward(rig, pose.root, pose.local)
    assert contacts.mean() > 0.1
    assert slide(locked, contacts) < slide(joints, contacts) / 3


def test_foot_locking_of_real_motion(real_clips: list[np.ndarray]) -> None:
    before, after = [], []
    for joints in real_clips:
        drifting = joints.copy()
        drifting[..., [0, 2]] += 0.15 * joints[:, :1, [0, 2]]  # 15 per cent too fast for its steps
        contacts = detect_contacts(drifting, 20)
        rig, pose = rig_motion(drifting, 20, foot_locking=True)
        locked = forward(rig, pose.root, pose.local)
        before.append(slide(drifting, contacts))
        after.append(slide(locked, contacts))
        # Knees bend the human way and never reach through: hip to ankle stays shorter than the straight leg.
        for hip, knee, ankle in ((1, 4, 7), (2, 5, 8)):
            reach = np.linalg.norm(locked[:, hip] - locked[:, ankle], axis=-1)
            assert reach.max() < np.linalg.norm(rig.offsets[[knee, ankle]], axis=-1).sum()
        lengths = np.linalg.norm(locked[:, 1:] - locked[:, list(rig.parents[1:])], axis=-1)
        assert lengths.std(axis=0).max() < 1e-6
        # The upper body goes where it went: only the legs and a little height change.
        assert np.abs((locked - drifting)[:, [0, 15, 20, 21]]).max() < 0.10
        jerk, raw_jerk = (np.abs(np.diff(motion, 2, axis=0)).max() for motion in (locked, drifting))
        assert jerk < raw_jerk + 0.06
    assert np.mean(after) < np.mean(before) / 3


@pytest.mark.parametrize("drop", [0.0, 0.12, -0.12])
def test_locked_knees_bend_forwards_only(drop: float) -> None:
    """However far the placed foot asks the leg to reach: never stretched through, never bent the wrong way."""
    joints = make_walk(frames=80, speed=2.2, turns=0.5)
    joints[20:50, :, 1] += drop * np.sin(np.linspace(0, np.pi, 30))[:, None]
    rig, pose = rig_motion(joints, 20, foot_locking=True)
    for side in ("left", "right"):
        hip, knee, ankle = (rig.names.index(f"{side}_{name}") for name in ("hip", "knee", "ankle"))
        positions = forward(rig, pose.root, pose.local)
        straight = np.linalg.norm(rig.offsets[[knee, ankle]], axis=-1).sum()
        assert (np.linalg.norm(positions[:, ankle] - positions[:, hip], axis=-1) < 0.99 * straight).all()
        shin = quaternion.rotate(pose.local[:, knee], rig.offsets[ankle])
        assert shin[:, 2].max() < 1e-3  # in the thigh's own frame the shin points down and back
    assert largest_turn_of(pose.local) < 45


@pytest.mark.parametrize("late", [0, 4, 9])
def test_a_long_slide_does_not_turn_the_foot_about(late: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ball and heel are let go together where a slide is cut in two, whichever of them stood first."""
    frames = 60
    joints = np.repeat(make_walk(frames=1), frames, axis=0)
    joints[:, :, 2] -= np.linspace(0, 1.4, frames)[:, None]
    contacts = np.zeros((frames, 4))
    contacts[5 : 40 - late, [0, 2]] = 1
    contacts[5 + late : 50, [1, 3]] = 1
    monkeypatch.setattr(foot_lock, "detect_contacts", lambda *given: contacts > 0)
    rig, pose = rig_motion(joints, 20, foot_locking=True)
    locked = forward(rig, pose.root, pose.local)
    for ankle, toe in ((7, 10), (8, 11)):
        foot, before = locked[:, toe] - locked[:, ankle], joints[:, toe] - joints[:, ankle]
        cosine = (foot * before).sum(-1) / np.linalg.norm(foot, axis=-1) / np.linalg.norm(before, axis=-1)
        assert np.rad2deg(np.arccos(cosine.min())) < 15
        steps = np.linalg.norm(np.diff(locked[:, toe], axis=0), axis=-1)[contacts[1:, 1] > 0]
        assert np.median(steps) < 1e-3  # it stands, and steps where the slide is cut
    assert largest_turn_of(pose.world) < 30


def test_locking_keeps_the_contacts_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    joints = make_walk(frames=60, speed=1.5)
    speed = np.convolve(np.linalg.norm(np.diff(joints[:, 10], axis=0), axis=-1), np.ones(8), "valid")
    first = int(speed.argmin())
    contacts = np.zeros((60, 4))
    contacts[first : first + 9, 1] = 1
    monkeypatch.setattr(foot_lock, "detect_contacts", lambda *given: contacts > 0)
    rig, pose = rig_motion(joints, 20, foot_locking=True)
    toe = forward(rig, pose.root, pose.local)[first : first + 9, 10]
    assert np.ptp(joints[first : first + 9, 10], axis=0).max() > 0.02
    assert np.ptp(toe, axis=0).max() < 0.005


def test_hundred_motions_are_quick(tmp_path: Path) -> None:
    joints = make_walk(frames=120)
    start = time.process_time()
    for index in range(20):
        write_bvh(tmp_path / f"{index}.bvh", joints, 20, foot_locking=True)
    assert time.process_time() - start < 2.0  # 100 of them in 10 s


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda joints: joints[:, :21], r"shape \(50, 21, 3\)"),
        (lambda joints: joints[0], "shape"),
        (lambda joints: joints[:0], "no frames"),
        (lambda joints: np.where(np.arange(50)[:, None, None] == 7, np.nan, joints), "frame 7"),
        (lambda joints: np.where(joints > 1, np.inf, joints), "NaN or infinity"),
        (lambda joints: np.full(joints.shape, "a"), "numbers"),
    ],
)
def test_bad_joints_are_refused(tmp_path: Path, walk: np.ndarray, change, match: str) -> None:
    with pytest.raises(UserError, match=match):
        write_bvh(tmp_path / "bad.bvh", change(walk), 20)
    assert not list(tmp_path.iterdir())


def test_other_bad_input_is_refused(tmp_path: Path, walk: np.ndarray) -> None:
    for options, match in [
        ({"fps": 0}, "fps"),
        ({"fps": "x"}, "fps"),
        ({"unit": "inch"}, "unit"),
        ({"form": get_format("kit")}, "kit needs"),
    ]:
        with pytest.raises(UserError, match=match):
            write_bvh(tmp_path / "bad.bvh", **{"joints": walk, "fps": 20, **options})
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        write_bvh(tmp_path / "file" / "walk.bvh", walk, 20)


def test_reader_refuses_what_is_not_bvh(tmp_path: Path, walk: np.ndarray) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_bvh(tmp_path / "none.bvh")
    path = write_bvh(tmp_path / "walk.bvh", walk, 20)
    for content in ["", "hello", path.read_text()[:2000], path.read_text()[:-500]]:
        (tmp_path / "broken.bvh").write_text(content)
        with pytest.raises(UserError, match="not a complete BVH"):
            read_bvh(tmp_path / "broken.bvh")
