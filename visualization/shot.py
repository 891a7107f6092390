"""Where a camera stands and looks, and where the poses of a sequence do. NumPy alone: Blender's Python has no more."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FIELD_OF_VIEW = np.deg2rad(30.0)  # of the longer side of the picture: a long lens, little distortion
PITCH = np.deg2rad(14.0)
MARGIN = 0.86  # share of the picture that the motion may fill
SIDES = np.deg2rad([30.0, -30.0, 55.0, -55.0])  # off the front of the body
TRAVELS = 1.0  # metres on the floor from which a motion counts as one that goes somewhere
STRAIGHTNESS = 0.2  # a radian off the front must be worth so much of crossing the picture


@dataclass(frozen=True)
class Shot:
    """A camera.

    Attributes:
        position: (3,) metres, y up.
        basis: (3, 3) rows right, up, back.
    """

    position: np.ndarray
    basis: np.ndarray


def choose_azimuth(
    path: np.ndarray,
    front: float,
    sides: np.ndarray = SIDES,
    travels: float = TRAVELS,
    straightness: float = STRAIGHTNESS,
) -> float:
    """Radians about y: before the body, and where its path (T, 3) rather crosses the picture than comes at the eye.

    Args:
        front: radians about y that the body faces.
        sides, travels, straightness: see the constants of these names.
    """
    travel = path[-1, [0, 2]] - path[0, [0, 2]]
    if np.linalg.norm(travel) < travels:
        return front + float(sides[0])
    scores = np.abs(np.sin(front + sides - np.arctan2(*travel))) - straightness * np.abs(sides)
    return front + float(sides[scores.argmax()])


def basis_of(azimuth: float, pitch: float) -> np.ndarray:
    """Rows right, up, back of a camera that stands at `azimuth` (radians about y) and looks down by `pitch`."""
    back = np.array([np.sin(azimuth) * np.cos(pitch), np.sin(pitch), np.cos(azimuth) * np.cos(pitch)])
    right = np.array([np.cos(azimuth), 0.0, -np.sin(azimuth)])
    return np.stack([right, np.cross(back, right), back])


def frame_points(points: np.ndarray, azimuth: float, width: int, height: int) -> Shot:
    """The nearest camera at `azimuth` whose picture of `width` x `height` pixels holds all `points` (N, 3)."""
    basis = basis_of(azimuth, PITCH)
    across, up, near = basis @ points.T
    longest = max(width, height)
    # A point is inside when |x - centre| <= slope * (distance - near): two planes a direction, solved exactly.
    centre, distance = [], []
    for values, side in ((across, width), (up, height)):
        slope = MARGIN * np.tan(FIELD_OF_VIEW / 2) * side / longest
        high, low = (values + slope * near).max(), (-values + slope * near).max()
        centre.append((high - low) / 2)
        distance.append((high + low) / (2 * slope))
    return Shot(np.array([*centre, max(distance)]) @ basis, basis)


def sequence_times(frames: int, poses: int) -> np.ndarray:
    """Frame numbers of a sequence's poses, evenly in time, each once."""
    return np.unique(np.linspace(0, frames - 1, min(poses, frames)).round().astype(int))


def sequence_offsets(path: np.ndarray, width: float, azimuth: float) -> np.ndarray:
    """(N, 3) how far each pose of a sequence is moved aside, for the `path` (N, 3) of the poses.

    A body that travels stands where it was; one that stays is spread from left to right of the camera at `azimuth`, a
    body's `width` (metres) and a little apart.
    """
    count = len(path)
    right = basis_of(azimuth, PITCH)[0]
    travelled = np.linalg.norm(np.diff(path[:, [0, 2]], axis=0), axis=-1).sum()
    if count < 2 or travelled >= 0.6 * width * (count - 1):
        return np.zeros((count, 3))
    places = (np.arange(count) - (count - 1) / 2) * 1.1 * width
    return (places - path @ right)[:, None] * right
