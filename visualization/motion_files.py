"""What fit.py writes and render.py shows: meshes (T, V, 3) with their faces.

Needs NumPy alone, since it also runs in Blender's Python.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.arrays import read_array
from utils.errors import UserError
from utils.files import MESH_SUFFIX, SMPL_SUFFIX, atomic_path


@dataclass(frozen=True)
class MeshMotion:
    """A moving mesh.

    Attributes:
        vertices: (T, V, 3) metres, y up.
        faces: (F, 3) vertex numbers.
        front: radians about y that the body faces in the first frame, 0 for +z.
        fps: frames a second.
    """

    vertices: np.ndarray
    faces: np.ndarray
    front: float
    fps: float


def read_mesh(path: Path | str) -> MeshMotion:
    """A mesh that fit.py wrote, `NAME_mesh.npy`, with the faces from `NAME_smpl.npz` beside it.

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
    try:
        with np.load(beside, allow_pickle=False) as file:
            faces, poses, fps = file["faces"], file["poses"], float(file["fps"])
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{beside} is not what fit.py writes: {error}") from error
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.min() < 0 or faces.max() >= vertices.shape[1]:
        raise UserError(f"{beside}: its faces do not fit the {vertices.shape[1]} vertices of {path.name}")
    front = _front(poses.reshape(-1, 72)[0, :3])
    return MeshMotion(vertices.astype(np.float64), faces.astype(np.int64), front, fps)


def write_arrays(path: Path | str, **arrays: np.ndarray | float | str) -> None:
    """Writes a compressed `.npz`, atomically."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def _front(turn: np.ndarray) -> float:
    """Where the axis-angle `turn` (3,) brings +z, in radians about y."""
    angle = float(np.linalg.norm(turn))
    axis = turn / max(angle, 1e-9)
    forward = np.array([0.0, 0.0, 1.0])
    turned = forward * np.cos(angle) + np.cross(axis, forward) * np.sin(angle) + axis * axis[2] * (1 - np.cos(angle))
    return float(np.arctan2(turned[0], turned[2]))
