"""A perspective camera that keeps the whole figure in the picture and follows it smoothly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from utils.facing import heading
from visualization import shot
from visualization.body import Body

FIELD_OF_VIEW = np.deg2rad(28.0)  # vertical, of the full picture: a long lens, little distortion
PITCH = np.deg2rad(13.0)
FOLLOW_SECONDS = 0.6  # width of the Gaussian that smooths the camera's path
AZIMUTHS = np.deg2rad([32.0, -32.0, 50.0, -50.0])  # off the front of the figure
TRAVELS, STRAIGHTNESS = 0.8, 0.15  # see `visualization.shot`


@dataclass(frozen=True)
class Camera:
    """Looks along one direction for the whole clip; only its position moves.

    Attributes:
        basis: (3, 3) rows right, up, forward (unit vectors, world).
        positions: (T, 3) of the eye.
        distance: from the eye to what it looks at, metres.
        focal: focal length in pixels.
        centre: principal point (x, y) in pixels.
    """

    basis: np.ndarray
    positions: np.ndarray
    distance: float
    focal: float
    centre: tuple[float, float]

    def project(self, points: np.ndarray, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """World points (..., 3) -> pixels (..., 2) and depth (...) in metres. Past the end the last frame stays."""
        local = (points - self.positions[min(frame, len(self.positions) - 1)]) @ self.basis.T
        depth = np.maximum(local[..., 2], 1e-3)
        x = self.centre[0] + self.focal * local[..., 0] / depth
        y = self.centre[1] - self.focal * local[..., 1] / depth
        return np.stack([x, y], axis=-1), depth


def choose_azimuth(joints: np.ndarray, body: Body) -> float:
    """Where to stand: before the figure, and where it travels rather across the picture than straight at the eye."""
    return shot.choose_azimuth(joints[:, 0], float(heading(joints[0], body.form)), AZIMUTHS, TRAVELS, STRAIGHTNESS)


def plan_camera(
    points: np.ndarray,
    body: Body,
    size: tuple[int, int],
    safe: tuple[float, float, float, float],
    fps: float,
    azimuth: float,
    follow: bool = True,
    tallest: float = 0.0,
) -> Camera:
    """Camera whose picture holds every display point of every frame inside the safe rectangle.

    Args:
        points: (T, P, 3) display points.
        size: picture (width, height) in pixels.
        safe: left, top, right, bottom of the rectangle that the figure may fill, in pixels.
        azimuth: radians about y at which it stands.
        follow: False keeps the camera still however far the figure goes.
        tallest: metres from its lowest point that the picture has room for at least, filled or not.
    """
    frames, height = len(points), size[1]
    scale = body.scale(points)
    focal = height / (2 * np.tan(FIELD_OF_VIEW / 2))
    left, top, right, bottom = safe
    half_width, half_height = (right - left) / 2, (bottom - top) / 2
    basis = shot.basis_of(azimuth, PITCH)
    basis[2] *= -1  # forward

    low = points[..., 1].min()
    high = max(points[..., 1].max(), low + 1.3 * scale, low + tallest)
    flat = points[..., [0, 2]]
    middle = (flat.min(axis=(0, 1)) + flat.max(axis=(0, 1))) / 2
    still = np.tile(np.array([middle[0], (low + high) / 2, middle[1]]), (frames, 1))
    moving = still.copy()
    body_centre = (flat.min(axis=1) + flat.max(axis=1)) / 2
    moving[:, [0, 2]] = gaussian_filter1d(body_centre, FOLLOW_SECONDS * fps, axis=0, mode="nearest")

    margin = 0.07 * scale  # limbs are thicker than the lines between joints

    def distance_for(target: np.ndarray) -> float:
        local = (points - target[:, None]) @ basis.T
        needed = focal * (np.abs(local[..., 0]) + margin) / half_width - local[..., 2]
        needed = max(needed.max(), (focal * (np.abs(local[..., 1]) + margin) / half_height - local[..., 2]).max())
        return float(max(needed, focal * 0.8 * scale / half_height))

    distance = distance_for(still)
    target = still
    if follow:
        near = distance_for(moving)
        if distance > 1.1 * near:
            target, distance = moving, near
    positions = target - distance * basis[2]
    return Camera(basis, positions, distance, focal, ((left + right) / 2, (top + bottom) / 2))


def share_camera(cameras: Sequence[Camera]) -> list[Camera]:
    """The same distance for several panels, so that figures compare in size: everybody moves back to the farthest."""
    farthest = max(camera.distance for camera in cameras)
    return [
        replace(camera, distance=farthest, positions=camera.positions - (farthest - camera.distance) * camera.basis[2])
        for camera in cameras
    ]
