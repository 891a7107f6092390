"""What the renderer shows, as moving meshes: the capsule mannequin of joints, or a fitted SMPL body.

Needs NumPy alone, since it also runs in Blender's Python. Letters: T frames, V vertices, F faces, J joints.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from storage.arrays import read_array, read_arrays
from storage.files import MESH_SUFFIX, SMPL_SUFFIX
from utils import quaternion
from utils.errors import UserError
from utils.facing import heading
from utils.motion_format import MotionFormat
from utils.rig import Times
from visualization.body import COLOURS, get_body

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
        moments = Times.at(times, len(self.path))
        return replace(self, vertices=moments.linear(self.vertices), path=moments.linear(self.path))


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
    faces = ring_faces(2 * RINGS, SEGMENTS)
    names = list(COLOURS)
    return Figure(
        _on_floor(np.concatenate(parts, axis=1)),
        np.concatenate([faces + number * parts[0].shape[1] for number in range(len(parts))]),
        np.repeat([names.index(capsule.group) for capsule in body.capsules], len(faces)),
        tuple(COLOURS.values()),
        joints[:, 0].copy(),
        float(heading(joints[0], form)),
    )


def read_mesh(path: Path | str) -> tuple[Figure, float]:
    """The body that fit.py fitted, from `NAME_mesh.npy` and, for the faces, `NAME_smpl.npz` beside it.

    Returns:
        the figure, and its frames a second.

    Raises:
        UserError: a file is missing, unreadable, of the wrong shape, or holds NaN.
    """
    path = Path(path)
    vertices = read_array(path)
    if vertices.dtype.kind not in "fiu" or vertices.ndim != 3 or vertices.shape[-1] != 3 or 0 in vertices.shape:
        raise UserError(f"{path}: a mesh must have the shape (frames, vertices, 3), not {vertices.shape}")
    if not np.isfinite(vertices).all():
        bad = int((~np.isfinite(vertices).all(axis=(1, 2))).argmax())
        raise UserError(f"{path} holds NaN or infinity, first in frame {bad}")
    beside = path.with_name(path.name.removesuffix(MESH_SUFFIX) + SMPL_SUFFIX)
    if not beside.is_file():
        raise UserError(f"{beside} is missing: it holds the faces of {path.name}; fit.py writes both")
    told = read_arrays(beside, ("faces", "poses", "fps"))
    faces, poses, fps = (told.get(name, np.empty(0)) for name in ("faces", "poses", "fps"))
    if poses.ndim != 2 or 0 in poses.shape or poses.shape[1] < 3 or poses.dtype.kind != "f" or fps.size != 1:
        raise UserError(f"{beside} is not what fit.py writes: poses {poses.shape} at fps {fps.shape}")
    if faces.ndim != 2 or faces.shape[1] != 3 or not len(faces) or faces.dtype.kind not in "iu":
        raise UserError(f"{beside}: its faces are {faces.shape} {faces.dtype}, not numbers of three vertices each")
    if faces.min() < 0 or faces.max() >= vertices.shape[1]:
        raise UserError(f"{beside}: its faces do not fit the {vertices.shape[1]} vertices of {path.name}")
    if not np.isfinite(poses[0, :3]).all() or fps.dtype.kind not in "fiu" or not 0.1 <= fps.item() <= 10000:
        raise UserError(f"{beside} is not what fit.py writes: NaN, or {fps.item()} frames a second")
    turn = quaternion.from_rotation_vector(poses[0, :3].astype(np.float64))
    ahead = quaternion.rotate(turn, np.array([0.0, 0.0, 1.0]))
    vertices, groups = _on_floor(vertices.astype(np.float64)), np.zeros(len(faces), dtype=np.int64)
    front = float(np.arctan2(ahead[0], ahead[2]))
    path_of = vertices.mean(axis=1)
    return Figure(vertices, faces.astype(np.int64), groups, (SMPL_COLOUR,), path_of, front), float(fps.item())


def capsule_rings(start: np.ndarray, end: np.ndarray, start_radius: float, end_radius: float) -> np.ndarray:
    """Vertices (T, 2 * RINGS * SEGMENTS, 3) of tapered capsules from `start` (T, 3) to `end` (T, 3), ring by ring.

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


def ring_faces(rings: int, corners: int) -> np.ndarray:
    """Faces (F, 4) between rings of vertices, each of so many corners; outsides are counter-clockwise."""
    ring, corner = np.meshgrid(np.arange(rings - 1), np.arange(corners), indexing="ij")
    here, right = ring * corners + corner, ring * corners + (corner + 1) % corners
    return np.stack([here, right, right + corners, here + corners], axis=-1).reshape(-1, 4)


def _on_floor(vertices: np.ndarray) -> np.ndarray:
    """Moved so that the lowest vertex mostly is at height 0: single frames below it do not lift the whole motion."""
    floor = np.percentile(vertices[..., 1].min(axis=1), 5)
    return vertices - np.array([0.0, floor, 0.0])
