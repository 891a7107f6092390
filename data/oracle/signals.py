"""What the semantic oracle sees: signals of a clip, and the helpers that find stretches and beats in them.

T frames; metres, seconds, degrees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_closing, find_objects, gaussian_filter1d, label

from utils.facing import facing
from utils.formats import HUMANML3D

LEFT, RIGHT = 0, 1


@dataclass(frozen=True)
class Signals:
    """What the rules look at, all of one clip.

    Attributes:
        ahead, aside: (T,) pelvis speed along the heading and to the left, m/s, smoothed over strides.
        yaw, yaw_rate: (T,) unwrapped heading in degrees and its rate in degrees/s.
        pelvis: (T, 3); path (T,) distance travelled on the floor.
        lean: (T,) forward angle of the trunk.
        wrist: (T, 2, 3) left, up, ahead of the own shoulder in the heading frame; `elbow` the same.
        wrist_speed: (T, 2) m/s against the pelvis.
        hands: (T,) distance of the wrists.
        ankle: (T, 2, 3) left, up (above the floor), ahead of the pelvis in the heading frame; `knee_height` (T, 2).
        floor_gap: (T, 2) height of the lower of ankle - 6 cm and toe of each foot.
        head: (T, 3) left, up, ahead of the skull against the middle of the shoulders, heading frame of the pelvis.
        chest_yaw: (T,) degrees of the shoulders against the hips.
    """

    fps: float
    ahead: np.ndarray
    aside: np.ndarray
    yaw: np.ndarray
    yaw_rate: np.ndarray
    pelvis: np.ndarray
    path: np.ndarray
    lean: np.ndarray
    wrist: np.ndarray
    elbow: np.ndarray
    wrist_speed: np.ndarray
    hands: np.ndarray
    ankle: np.ndarray
    knee_height: np.ndarray
    floor_gap: np.ndarray
    head: np.ndarray
    chest_yaw: np.ndarray

    @property
    def n_frames(self) -> int:
        """T."""
        return len(self.yaw)


def read_signals(joints: np.ndarray, fps: float) -> Signals:
    """The signals of joints (T, 22, 3)."""

    def heading(forward: np.ndarray) -> np.ndarray:
        return np.unwrap(np.arctan2(forward[:, 0], forward[:, 2]))

    pelvis = joints[:, 0]
    hip_yaw, chest_yaw = (heading(np.cross(joints[:, left] - joints[:, left + 1], [0.0, 1.0, 0.0])) for left in (1, 16))
    yaw = smoothed(heading(facing(joints, HUMANML3D)), 0.25 * fps)
    # The travelled direction is judged against the hips: arms may turn the chest.
    travel_yaw = smoothed(hip_yaw, 0.35 * fps)
    velocity = np.gradient(smoothed(pelvis, 0.22 * fps), axis=0) * fps
    ahead = velocity[:, 0] * np.sin(travel_yaw) + velocity[:, 2] * np.cos(travel_yaw)
    aside = velocity[:, 0] * np.cos(travel_yaw) - velocity[:, 2] * np.sin(travel_yaw)
    step = np.linalg.norm(np.diff(smoothed(pelvis, 0.1 * fps)[:, [0, 2]], axis=0), axis=-1)

    def local(points: np.ndarray, origin: np.ndarray, angle: np.ndarray = yaw) -> np.ndarray:
        offset = points - origin
        left = offset[..., 0] * np.cos(angle) - offset[..., 2] * np.sin(angle)
        front = offset[..., 0] * np.sin(angle) + offset[..., 2] * np.cos(angle)
        return np.stack([left, offset[..., 1], front], axis=-1)

    wrist, elbow = (
        np.stack([local(joints[:, joint + side], joints[:, 16 + side]) for side in (LEFT, RIGHT)], axis=1)
        for joint in (20, 18)
    )
    floor_point = pelvis * [1.0, 0.0, 1.0]
    ankle = np.stack([local(joints[:, 7 + side], floor_point) for side in (LEFT, RIGHT)], axis=1)
    trunk = local(joints[:, 12], pelvis)
    moved = np.gradient(joints[:, 20:22] - pelvis[:, None], axis=0) * fps
    skull = local(joints[:, 15], 0.5 * (joints[:, 16] + joints[:, 17]), smoothed(hip_yaw, 0.15 * fps))
    gap = np.stack(
        [np.minimum(joints[:, 7 + side, 1] - 0.06, joints[:, 10 + side, 1]) for side in (LEFT, RIGHT)], axis=1
    )
    return Signals(
        fps=fps,
        ahead=ahead,
        aside=aside,
        yaw=np.degrees(yaw),
        yaw_rate=np.degrees(np.gradient(yaw)) * fps,
        pelvis=pelvis,
        path=np.concatenate([[0.0], np.cumsum(step)]),
        lean=np.degrees(np.arctan2(trunk[:, 2], trunk[:, 1])),
        wrist=wrist,
        elbow=elbow,
        wrist_speed=np.linalg.norm(moved, axis=-1),
        hands=np.linalg.norm(joints[:, 20] - joints[:, 21], axis=-1),
        ankle=ankle,
        knee_height=joints[:, 4:6, 1],
        floor_gap=gap,
        head=skull,
        chest_yaw=np.degrees(chest_yaw - hip_yaw),
    )


def is_body(joints: np.ndarray, fps: float) -> bool:
    """Whether joints (T, 22, 3) move like one body: bones keep their length, nothing trembles."""
    parents = np.array(HUMANML3D.parents)
    bones = np.linalg.norm(joints[:, 1:] - joints[:, parents[1:]], axis=-1)
    steady = np.median(bones.std(axis=0) / np.maximum(bones.mean(axis=0), 1e-6)) < 0.12
    trembling = np.linalg.norm(np.diff(joints, n=2, axis=0), axis=-1) * fps**2
    return bool(steady and np.median(trembling) < 45.0)


def smoothed(values: np.ndarray, sigma: float) -> np.ndarray:
    """Values (T, ...) after a Gaussian of `sigma` frames along time."""
    return gaussian_filter1d(values, sigma, axis=0, mode="nearest")


def runs(mask: np.ndarray, shortest: float, gap: int = 2) -> list[slice]:
    """Stretches of True of at least `shortest` frames; holes of up to `gap` frames are closed."""
    mask = np.asarray(mask, dtype=bool)
    if gap:
        # A closing: what is False for no more than `gap` frames becomes True.
        size = 2 * ((gap + 1) // 2) + 1
        mask = binary_closing(np.pad(mask, size), np.ones(size))[size:-size]
    stretches = (stretch for (stretch,) in find_objects(label(mask)[0]))
    return [stretch for stretch in stretches if stretch.stop - stretch.start >= shortest]


def beats(values: np.ndarray, size: float) -> int:
    """How many times values (T,) swing to and fro by at least `size`: the turning points of a hysteresis."""
    count, direction, extreme = 0, 0, values[0]
    for value in values[1:]:
        if direction >= 0 and value > extreme or direction <= 0 and value < extreme:
            if direction == 0 and abs(value - extreme) >= size:
                direction, extreme, count = (1 if value > extreme else -1), value, count + 1
            elif direction != 0:
                extreme = value
        elif abs(value - extreme) >= size:
            direction, extreme, count = (
                (-1 if direction > 0 else 1 if direction < 0 else int(np.sign(value - extreme))),
                value,
                count + 1,
            )
    return count
