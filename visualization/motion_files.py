"""Which motion files a folder holds, and reading them: joints (T, J, 3), or meshes (T, V, 3) with their faces.

Needs NumPy alone, since it also runs in Blender's Python.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.errors import UserError
from utils.files import atomic_path, read_array
from visualization.checks import check_joints

MESH_SUFFIX, SMPL_SUFFIX = "_mesh.npy", "_smpl.npz"
NOT_MOTIONS = ("features.npy", "Mean.npy", "Std.npy")  # lie beside joints in our own and in published folders


@dataclass(frozen=True)
class MeshMotion:
    """A moving mesh.

    Attributes:
        vertices: (T, V, 3) metres, y up.
        faces: (F, 3) vertex numbers.
        front: radians about y that the body faces in the first frame, 0 for +z.
    """

    vertices: np.ndarray
    faces: np.ndarray
    front: float


def motion_paths(folder: Path | str, meshes: bool = False) -> dict[str, Path]:
    """The motion files of a folder by a name of their own: every .npy in it, and every joints.npy below it.

    Args:
        meshes: also the meshes that fit.py wrote, `NAME_mesh.npy`.

    Raises:
        UserError: no such folder, nothing in it, or two files would be called the same.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(
            f"{folder} is {'not a folder' if folder.exists() else 'missing'}: give a folder of .npy motions"
        )
    direct = [path for path in folder.glob("*.npy") if path.name not in NOT_MOTIONS and not path.name.startswith(".")]
    if not meshes:
        direct = [path for path in direct if not path.name.endswith(MESH_SUFFIX)]
    below = [path for path in folder.rglob("joints.npy") if path.parent != folder]
    named: dict[str, Path] = {}
    for path in sorted(direct) + sorted(below):
        name = path.stem if path.parent == folder else "_".join(path.relative_to(folder).parts[:-1])
        if name in named:
            raise UserError(f"{named[name]} and {path} would both be called {name}: rename one")
        named[name] = path
    if not named:
        raise UserError(f"{folder} holds no motion: put .npy files of joints (frames, joints, 3) there")
    return named


def read_joints(path: Path | str, dataset: str) -> np.ndarray:
    """Joints (T, J, 3) float64.

    Raises:
        UserError: unreadable file, wrong shape, no frames, NaN; names the file.
    """
    try:
        return check_joints(read_array(path), dataset)
    except UserError as error:
        raise UserError(str(error) if str(path) in str(error) else f"{path}: {error}") from error


def read_joint_folder(folder: Path | str, dataset: str) -> dict[str, np.ndarray]:
    """All joints of a folder by name; see `motion_paths`. Every file is checked before any is used.

    Raises:
        UserError: as `motion_paths` and `read_joints`.
    """
    return {name: read_joints(path, dataset) for name, path in motion_paths(folder).items()}


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
            faces, poses = file["faces"], file["poses"]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{beside} is not what fit.py writes: {error}") from error
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.min() < 0 or faces.max() >= vertices.shape[1]:
        raise UserError(f"{beside}: its faces do not fit the {vertices.shape[1]} vertices of {path.name}")
    return MeshMotion(vertices.astype(np.float64), faces.astype(np.int64), _front(poses.reshape(-1, 72)[0, :3]))


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
