"""What the renderer shows, as moving meshes: the capsule mannequin of joints, or a fitted SMPL body.

Needs NumPy alone, since it also runs in Blender's Python. Letters: T frames, V vertices, F faces, J joints.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from utils.facing import heading
from utils.motion_format import MotionFormat
from visualization.body import COLOURS, get_body
from visualization.motion_files import MeshMotion

SEGMENTS = 20  # corners around a capsule
RINGS = 6  # rings of each of its two round ends
SMPL_COLOUR = (142, 174, 214)


@dataclass(frozen=True)
class Figure:
    """A moving mesh that stands on height 0.

    Attributes:
        vertices: (T, V, 3) metres, y up.
        faces: (F, 4) or (F, 3) vertex numbers.
        groups: (F,) which of `colours` a face has.
        colours: (R, G, B) 0-255 each.
        path: (T, 3) where the body is.
        front: radians about y that it faces at the start, 0 for +z.
    """

    vertices: np.ndarray
    faces: np.ndarray
    groups: np.ndarray
    colours: tuple[tuple[int, int, int], ...]
    path: np.ndarray
    front: float

    def at(self, times: np.ndarray) -> Figure:
        """The figure at fractional frame numbers `times` (N,), interpolated."""
        return replace(self, vertices=_at(self.vertices, times), path=_at(self.path, times))


def frame_times(frames: int, fps: float, frame_rate: float, seconds: float) -> np.ndarray:
    """Fractional frame numbers (N,) of a video at `frame_rate` of a motion of `frames` at `fps`; 0 seconds: all."""
    times = np.arange(0, frames - 1 + 1e-6, fps / frame_rate)
    return times[: max(1, round(seconds * frame_rate))] if seconds else times


def figure_of_joints(joints: np.ndarray, form: MotionFormat) -> Figure:
    """The mannequin of joints (T, J, 3)."""
    body = get_body(form)
    points, scale = body.display_points(joints), body.scale(joints)
    parts = [
        capsule_rings(points[:, capsule.start], points[:, capsule.end], *radii)
        for capsule in body.capsules
        for radii in [(scale * capsule.start_radius, scale * capsule.end_radius)]
    ]
    faces = _capsule_faces()
    names = list(COLOURS)
    return Figure(
        _on_floor(np.concatenate(parts, axis=1)),
        np.concatenate([faces + number * parts[0].shape[1] for number in range(len(parts))]),
        np.repeat([names.index(capsule.group) for capsule in body.capsules], len(faces)),
        tuple(COLOURS.values()),
        joints[:, 0].copy(),
        float(heading(joints[0], form)),
    )


def figure_of_mesh(motion: MeshMotion) -> Figure:
    """The body that fit.py fitted."""
    groups = np.zeros(len(motion.faces), dtype=np.int64)
    vertices = _on_floor(motion.vertices)
    return Figure(vertices, motion.faces, groups, (SMPL_COLOUR,), vertices.mean(axis=1), motion.front)


def capsule_rings(start: np.ndarray, end: np.ndarray, start_radius: float, end_radius: float) -> np.ndarray:
    """Vertices (T, 2 * RINGS * SEGMENTS, 3) of tapered capsules from `start` (T, 3) to `end` (T, 3).

    The side is the cone that touches both spheres, so that no crease shows where it meets them.
    """
    along = end - start
    length = np.linalg.norm(along, axis=-1, keepdims=True)
    along = np.where(length > 1e-9, along / np.maximum(length, 1e-9), np.array([0.0, 1.0, 0.0]))
    # Any direction across will do; the one of the axis that `along` is farthest from is never parallel to it.
    helper = np.eye(3)[np.abs(along).argmin(axis=-1)]
    across = np.cross(along, helper)
    across /= np.linalg.norm(across, axis=-1, keepdims=True)
    third = np.cross(along, across)
    around = np.linspace(0, 2 * np.pi, SEGMENTS, endpoint=False)
    circle = np.cos(around)[:, None] * across[:, None] + np.sin(around)[:, None] * third[:, None]  # (T, SEGMENTS, 3)

    touch = np.arcsin(np.clip((start_radius - end_radius) / np.maximum(length[:, 0], 1e-9), -0.95, 0.95))
    share = np.linspace(0, 1, RINGS)
    # Latitudes; the poles are tiny circles, so that every face has four corners.
    pole = np.pi / 2 - 1e-3
    first = -pole + share * (touch[:, None] + pole)
    second = touch[:, None] + share * (pole - touch[:, None])
    rings = []
    for centre, radius, latitude in ((start, start_radius, first), (end, end_radius, second)):
        side = np.cos(latitude)[..., None, None] * circle[:, None]
        forward = np.sin(latitude)[..., None, None] * along[:, None, None]
        rings.append(centre[:, None, None] + radius * (side + forward))
    return np.concatenate(rings, axis=1).reshape(len(start), -1, 3)


def _capsule_faces() -> np.ndarray:
    """Faces (F, 4) of `capsule_rings`, outsides counter-clockwise; the tiny holes at the poles stay open."""
    ring, corner = np.meshgrid(np.arange(2 * RINGS - 1), np.arange(SEGMENTS), indexing="ij")
    here, right = ring * SEGMENTS + corner, ring * SEGMENTS + (corner + 1) % SEGMENTS
    return np.stack([here, right, right + SEGMENTS, here + SEGMENTS], axis=-1).reshape(-1, 4)


def _on_floor(vertices: np.ndarray) -> np.ndarray:
    """Moved so that the lowest vertex mostly is at height 0: single frames below it do not lift the whole motion."""
    floor = np.percentile(vertices[..., 1].min(axis=1), 5)
    return vertices - np.array([0.0, floor, 0.0])


def _at(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    low = np.floor(times).astype(int)
    high = np.minimum(low + 1, len(values) - 1)
    weight = (times - low).reshape(-1, *(1,) * (values.ndim - 1))
    return values[low] * (1 - weight) + values[high] * weight
