"""Other frame rates: rigid bones stay exact, old frames stay as they are, smooth motion stays smooth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.data.prepare.bodies import SKELETON, walking_body, write_bvh
from utils.bvh import read_bvh
from utils.rig import Times, resample_joints


@pytest.mark.parametrize("source_fps", [24.0, 30.0, 60.0, 120.0, 29.97, 12.0])
def test_resampled_rotations(tmp_path: Path, source_fps: float) -> None:
    """Bones to a tenth of a millimetre, joints to a millimetre of the motion that was sampled."""
    motion = read_bvh(write_bvh(tmp_path / "a.bvh", walking_body(2.0, source_fps), source_fps)).resampled(20)
    joints = motion.positions() / 100
    truth = walking_body(2.0, 20).joints()[:, [SKELETON.joint_names.index(name) for name in motion.names]]
    assert abs(len(joints) - len(truth)) <= 1
    common = min(len(joints), len(truth))
    assert np.linalg.norm(joints[:common] - truth[:common], axis=-1).max() < (1e-3 if source_fps > 12 else 4e-3)
    bones = np.linalg.norm(joints[:, 1:] - joints[:, list(motion.parents[1:])], axis=-1)
    assert np.ptp(bones, axis=0).max() < 1e-4


@pytest.mark.parametrize("source_fps", [24.0, 30.0, 60.0, 120.0])
def test_resampled_joints(source_fps: float) -> None:
    """The same from positions alone."""
    joints = resample_joints(walking_body(2.0, source_fps).joints(), SKELETON.parents, source_fps, 20)
    truth = walking_body(2.0, 20).joints()
    assert joints.shape == truth.shape and np.linalg.norm(joints - truth, axis=-1).max() < 1e-3
    bones = np.linalg.norm(joints[:, 1:] - joints[:, list(SKELETON.parents[1:])], axis=-1)
    assert np.ptp(bones, axis=0).max() < 1e-4


def test_whole_ratios_take_old_frames_exactly() -> None:
    joints = walking_body(1.0, 60).joints()
    np.testing.assert_array_equal(resample_joints(joints, SKELETON.parents, 60, 20), joints[::3])
    np.testing.assert_array_equal(resample_joints(joints, SKELETON.parents, 20, 20), joints)


@pytest.mark.parametrize(
    "count, source_fps, fps, wanted",
    [(1, 30, 20, 1), (2, 30, 20, 1), (3, 20, 20, 3), (61, 30, 20, 41), (60, 30, 20, 40), (4, 10, 40, 13)],
)
def test_how_many_frames_fit(count: int, source_fps: float, fps: float, wanted: int) -> None:
    times = Times.between(count, source_fps, fps)
    assert len(times.first) == wanted and times.second.max() < count and (times.weight < 1).all()
    np.testing.assert_allclose(times.cubic(np.arange(count) * 1.0), np.arange(wanted) * source_fps / fps, atol=1e-9)


def test_a_quick_turn_does_not_swing_out(tmp_path: Path) -> None:
    """A joint that turns by more than 60 degrees between two frames goes the direct way."""
    body = walking_body(1.0, 20)
    body.turns[:] = 0
    body.turns[10:, 16] = [0, 0, 1.6]
    motion = read_bvh(write_bvh(tmp_path / "a.bvh", body, 20)).resampled(200)
    node = motion.names.index("left_shoulder")
    angle = 2 * np.arctan2(motion.rotations[:, node, 3], motion.rotations[:, node, 0])[90:101]
    assert angle.min() >= -1e-6 and angle.max() <= 1.6 + 1e-6 and (np.diff(angle) >= -1e-9).all()
