"""The user's SMPL body model file: found, read without running anything in it, and made into a `smplx` module.

The published `.pkl` files are pickles of arrays, sparse matrices and `chumpy` objects. Unpickling may run any code, so
`_ArrayUnpickler` builds nothing but those three and refuses every other name; `chumpy` itself is not needed.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.errors import UserError

if TYPE_CHECKING:
    import smplx

N_JOINTS = 24  # of SMPL; the first 22 are the HumanML3D joints
KEYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "kintree_table", "weights", "f")


def require_smplx() -> None:
    """Raises `UserError` when the optional package `smplx` is not installed."""
    try:
        import smplx  # noqa: F401, PLC0415
    except ImportError as error:
        raise UserError("fitting needs the package smplx: pip install -r requirements-smpl.txt") from error


def find_body_model(path: Path | str, gender: str = "neutral") -> Path:
    """The body model file: `path` itself, or `SMPL_<GENDER>.npz` or `.pkl` in the folder `path` or its `smpl` folder.

    Raises:
        UserError: there is none; says where it belongs.
    """
    path = Path(path)
    if path.is_file():
        if path.suffix.lower() not in (".npz", ".pkl"):
            raise UserError(f"{path}: a body model file must end in .npz or .pkl")
        return path
    name = f"SMPL_{gender.upper()}"
    for folder in (path, path / "smpl"):
        for suffix in (".npz", ".pkl"):
            if (folder / f"{name}{suffix}").is_file():
                return folder / f"{name}{suffix}"
    folder = path.parent if path.suffix else path
    raise UserError(
        f"no SMPL body model: put {folder / name}.npz or .pkl in place (free for research at smpl.is.tue.mpg.de, "
        f"which names it basicmodel_{gender}_lbs_10_207_0_v1.1.0.pkl), or name it with --body_model"
    )


def load_body_model(path: Path | str, num_betas: int = 10) -> smplx.SMPL:
    """The model as a `smplx` module on the CPU that keeps no parameters of its own.

    Raises:
        UserError: the file is truncated, foreign, holds code, or is not an SMPL body.
    """
    import smplx  # noqa: PLC0415 - optional, and slow to import
    from smplx.utils import Struct  # noqa: PLC0415

    arrays = read_body_model(path)
    # smplx also reports landmarks on the face, by vertex numbers that only the published mesh has. They are not used
    # here, so that a mesh of any size loads.
    landmarks = dict.fromkeys(("nose", "reye", "leye", "rear", "lear"), 0)
    with contextlib.redirect_stdout(io.StringIO()):  # it remarks that the model has only ten shape coefficients
        model = smplx.SMPL(
            "",
            data_struct=Struct(**arrays),
            num_betas=num_betas,
            vertex_ids=landmarks,
            use_hands=False,
            use_feet_keypoints=False,
            **dict.fromkeys(("create_betas", "create_global_orient", "create_body_pose", "create_transl"), False),
        )
    return model.eval()


def read_body_model(path: Path | str) -> dict[str, np.ndarray]:
    """The arrays of an SMPL file: V vertices, F faces, S shape coefficients.

    Returns:
        v_template (V, 3), shapedirs (V, 3, S), posedirs (V, 3, 207), J_regressor (24, V), kintree_table (2, 24),
        weights (V, 24), f (F, 3).

    Raises:
        UserError: the file is truncated, foreign, holds code, or is not an SMPL body.
    """
    path = Path(path)
    content = _read_npz(path) if path.suffix.lower() == ".npz" else _read_pickle(path)
    if missing := [key for key in KEYS if key not in content]:
        raise UserError(f"{path} is no SMPL body model: it lacks {', '.join(missing)}")
    try:
        arrays = {key: _dense(content[key]) for key in KEYS}
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise UserError(f"{path} is no SMPL body model: {error}") from error
    vertices = len(arrays["v_template"])
    expected = {
        "v_template": (vertices, 3),
        "posedirs": (vertices, 3, 9 * (N_JOINTS - 1)),
        "weights": (vertices, N_JOINTS),
        "J_regressor": (N_JOINTS, vertices),
        "kintree_table": (2, N_JOINTS),
    }
    for key, shape in expected.items():
        if arrays[key].shape != shape:
            raise UserError(f"{path} is no SMPL body model: {key} has shape {arrays[key].shape}, not {shape}")
    shape, faces = arrays["shapedirs"].shape, arrays["f"]
    if len(shape) != 3 or shape[:2] != (vertices, 3) or shape[2] < 1:
        raise UserError(f"{path} is no SMPL body model: shapedirs has shape {shape}, not ({vertices}, 3, coefficients)")
    if faces.ndim != 2 or faces.shape[1] != 3 or not len(faces) or int(faces.max()) >= vertices:
        raise UserError(f"{path} is no SMPL body model: its faces do not fit its {vertices} vertices")
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise UserError(f"{path} holds NaN or infinity: it is damaged")
    # The root's parent is written as 2**32 - 1 in the published files; smplx puts -1 there itself.
    arrays["kintree_table"] = np.where(arrays["kintree_table"] < N_JOINTS, arrays["kintree_table"], 0).astype(np.int64)
    return arrays


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files if key in KEYS}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a readable body model (plain arrays in an .npz): {error}") from error


def _read_pickle(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            content = _ArrayUnpickler(file, encoding="latin1").load()
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:  # noqa: BLE001 - a damaged pickle raises nearly anything
        raise UserError(f"{path} is not a readable body model: {type(error).__name__}: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is no SMPL body model: it holds a {type(content).__name__}")
    return content


class _Chumpy:
    """Stands for an object of the package chumpy: keeps its attributes, has none of its code."""

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


class _Sparse(_Chumpy):
    """Stands for a SciPy sparse matrix."""


_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_ALLOWED = {(module, name) for module in _ARRAY_MODULES for name in ("_reconstruct", "scalar")}
_ALLOWED |= {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}


class _ArrayUnpickler(pickle.Unpickler):
    """Builds arrays, and inert stand-ins for sparse matrices and chumpy objects; refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "chumpy":
            return _Chumpy
        if module.startswith("scipy.sparse") and name in ("csc_matrix", "csr_matrix", "csc_array", "csr_array"):
            return type(name, (_Sparse,), {})
        if (module, name) in {("copy_reg", "_reconstructor"), ("copyreg", "_reconstructor")}:
            return _reconstruct_stand_in
        if (module, name) in {("__builtin__", "object"), ("builtins", "object")}:
            return object
        if (module, name) in _ALLOWED:
            return super().find_class("_codecs" if module == "_codecs" else module, name)
        raise UserError(f"it is not an SMPL body model: it asks for {module}.{name}, which is not loaded")


def _reconstruct_stand_in(kind: type, base: type, state: Any) -> Any:
    """What old pickles call to make an object before its attributes are set; only stand-ins are made."""
    if not (isinstance(kind, type) and issubclass(kind, _Chumpy)):
        raise UserError(f"it is not an SMPL body model: it makes an object of {kind!r}")
    return kind()


def _dense(value: Any) -> np.ndarray:
    """A numeric array from an array, a sparse stand-in or a chumpy stand-in.

    Raises:
        ValueError: none of these.
    """
    if isinstance(value, _Sparse):
        return _dense_matrix(value)
    if isinstance(value, _Chumpy):
        content = value.__dict__
        if "x" in content:
            return _dense(content["x"])
        if {"a", "idxs"} <= content.keys():  # chumpy's selection of some entries of another array
            chosen = _dense(content["a"]).ravel()[np.asarray(content["idxs"])]
            return chosen.reshape(content.get("preferred_shape", chosen.shape))
        raise ValueError("it holds a chumpy object of an unknown kind")
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"an array of {array.dtype} stands where numbers are meant")
    return array


def _dense_matrix(matrix: _Sparse) -> np.ndarray:
    content = matrix.__dict__
    rows, columns = content.get("_shape") or content["shape"]
    by_column = type(matrix).__name__.startswith("csc")
    pointers = np.asarray(content["indptr"])
    outer = np.repeat(np.arange(len(pointers) - 1), np.diff(pointers))
    inner = np.asarray(content["indices"])
    dense = np.zeros((rows, columns))
    np.add.at(dense, (inner, outer) if by_column else (outer, inner), np.asarray(content["data"]))
    return dense
