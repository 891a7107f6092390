"""What is kept stays bit by bit, what is new joins it without a jump."""

from __future__ import annotations

import numpy as np
import pytest

from tests.visualization.motions import make_walk
from utils import quaternion
from utils.facing import yaw_quaternion
from utils.formats import HUMANML3D
from utils.metrics import seam_ratio
from utils.series import runs
from utils.splicing import Articulation, _spliced, led_along, looped, splice

ARMS = [joint for name, joints in HUMANML3D.parts if name.endswith("arm") for joint in joints]


def acceleration(joints: np.ndarray) -> np.ndarray:
    """(T - 2,) the largest of a joint, metres a frame a frame."""
    return np.linalg.norm(np.diff(joints, 2, axis=0), axis=-1).max(axis=-1)


def turned(joints: np.ndarray, angle: float, to: tuple[float, float]) -> np.ndarray:
    moved = quaternion.rotate(yaw_quaternion(np.array(angle)), joints.astype(np.float64))
    return (moved + [to[0], 0, to[1]]).astype(joints.dtype)


@pytest.fixture(scope="module")
def walk() -> np.ndarray:
    return make_walk(frames=100).astype(np.float32)


@pytest.fixture(scope="module")
def other() -> np.ndarray:
    """Slower, with a longer stride, elsewhere and looking elsewhere."""
    return turned(make_walk(frames=100, speed=0.4), 2.0, (5.0, -3.0)).astype(np.float32)


def test_a_motion_comes_together_again(walk: np.ndarray) -> None:
    assert np.abs(Articulation.of(walk, HUMANML3D).joints(HUMANML3D) - walk).max() < 1e-6


@pytest.mark.parametrize("section", [(0, 30), (40, 70), (70, 100), (0, 100), (50, 51)])
def test_frames_that_are_kept_stay_bit_by_bit_and_seams_do_not_jump(
    walk: np.ndarray, other: np.ndarray, section: tuple[int, int]
) -> None:
    drawn = np.zeros(walk.shape[:2], bool)
    drawn[slice(*section)] = True
    made = splice(walk, other, drawn, HUMANML3D)
    assert made.dtype == walk.dtype and np.isfinite(made).all()
    np.testing.assert_array_equal(made[~drawn.any(axis=1)], walk[~drawn.any(axis=1)])
    assert not np.allclose(made[drawn], walk[drawn])
    most = max(acceleration(walk).max(), acceleration(other).max())
    assert acceleration(made).max() < 1.5 * most
    lengths = [np.linalg.norm(Articulation.of(each, HUMANML3D).bones, axis=-1) for each in (walk, made)]
    assert np.abs(lengths[1] / lengths[0].mean(axis=0).clip(1e-6) - 1)[:, 1:].max() < 0.1


def test_without_fading_the_seam_would_jump(walk: np.ndarray, other: np.ndarray) -> None:
    cut = np.where((np.arange(100) >= 40)[:, None, None], other, walk)
    assert acceleration(cut).max() > 3 * acceleration(walk).max()


def test_a_seam_that_would_jump_is_given_longer(walk: np.ndarray) -> None:
    """A body that hardly moves goes over to one that strides off, turning, with its feet below the floor."""
    still = walk[:1] + 0.05 * (walk[:40] - walk[:1])
    still = np.concatenate([still, np.repeat(still[-1:], 60, axis=0)]).astype(np.float32)
    angle = np.linspace(0, 2.5, 100)[:, None]
    lively = quaternion.rotate(yaw_quaternion(angle), 1.5 * walk.astype(np.float64))
    lively[..., 1] -= 0.1
    drawn = np.zeros(walk.shape[:2], bool)
    drawn[40:] = True
    made, hasty = splice(still, lively, drawn, HUMANML3D), _spliced(still, lively, drawn, HUMANML3D, 10)
    assert seam_ratio(made, 40, still) < 0.8 * seam_ratio(hasty, 40, still)
    feet = list(HUMANML3D.feet)
    assert made[60:, feet, 1].min() > still[:, feet, 1].min() - 0.01


def test_a_part_is_taken_and_the_rest_stays(walk: np.ndarray) -> None:
    other = walk.copy()
    other[:, ARMS] += np.linspace(0, 0.3, 100)[:, None, None].astype(np.float32)
    drawn = np.zeros(walk.shape[:2], bool)
    drawn[:, ARMS] = True
    made = splice(walk, turned(other, 1.0, (2, 2)), drawn, HUMANML3D)
    rest = [joint for joint in range(22) if joint not in ARMS]
    np.testing.assert_array_equal(made[:, rest], walk[:, rest])
    assert np.abs(made[:, ARMS] - walk[:, ARMS]).max() > 0.05


def test_where_the_root_is_drawn_kept_parts_move_with_it(walk: np.ndarray, other: np.ndarray) -> None:
    drawn = np.ones(walk.shape[:2], bool)
    drawn[:, ARMS] = False
    drawn[:20] = False
    made = splice(walk, other, drawn, HUMANML3D)
    bones = [Articulation.of(each, HUMANML3D).bones[:, ARMS] for each in (walk, made)]
    assert np.abs(bones[0] - bones[1]).max() < 0.05  # in the frame of the heading, which the hips and shoulders make
    np.testing.assert_array_equal(made[:20], walk[:20])


def test_a_section_in_between_comes_back_to_the_old_way(walk: np.ndarray, other: np.ndarray) -> None:
    drawn = np.zeros(walk.shape[:2], bool)
    drawn[40:70] = True
    made = splice(walk, other, drawn, HUMANML3D)
    steps = np.linalg.norm(np.diff(made[:, 0], axis=0), axis=-1)
    assert steps.max() < 3 * np.linalg.norm(np.diff(walk[:, 0], axis=0), axis=-1).max()


def test_the_root_passes_over_the_waypoints(walk: np.ndarray) -> None:
    aims = [(0, 0.0, 0.0), (40, 1.0, 1.0), (99, 2.0, 0.0)]
    made = led_along(walk, aims, HUMANML3D)
    for frame, x, z in aims:
        np.testing.assert_allclose(made[frame, 0, [0, 2]], [x, z], atol=1e-5)
    np.testing.assert_allclose(made[..., 1], walk[..., 1], atol=1e-5)
    assert acceleration(made).max() < 3 * acceleration(walk).max()
    way, look = np.diff(made[:, 0], axis=0), Articulation.of(made, HUMANML3D).yaw
    ahead = np.arctan2(way[:, 0], way[:, 2])
    off = np.abs((ahead - look[:-1] + np.pi) % (2 * np.pi) - np.pi)
    assert np.median(off) < 0.5, "it walks sideways"


@pytest.mark.parametrize("aims", [[(50, 3.0, -2.0)], [(99, 0.5, 0.5)], [(10, 1.0, 0.0), (11, 1.1, 0.0)]])
def test_waypoints_of_every_number(walk: np.ndarray, aims: list[tuple[int, float, float]]) -> None:
    made = led_along(walk, aims, HUMANML3D)
    for frame, x, z in aims:
        np.testing.assert_allclose(made[frame, 0, [0, 2]], [x, z], atol=1e-5)


def test_a_loop_ends_in_the_pose_that_it_starts_with(walk: np.ndarray) -> None:
    cut = walk[:67]
    made = Articulation.of(looped(cut, HUMANML3D), HUMANML3D)
    steps = np.abs(np.diff(made.bones, axis=0)).max()
    assert np.abs(made.bones[0] - made.bones[-1]).max() <= 1.5 * steps
    assert (
        np.abs(Articulation.of(cut, HUMANML3D).bones[0] - Articulation.of(cut, HUMANML3D).bones[-1]).max() > 1.5 * steps
    )


def test_runs() -> None:
    assert runs(np.array([True, True, False, True])) == [(0, 2), (3, 4)]
    assert runs(np.zeros(3, bool)) == [] and runs(np.ones(2, bool)) == [(0, 2)]
