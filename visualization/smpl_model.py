"""The user's SMPL body model file: found, read without running anything in it, and made into a `smplx` module.

The published `.pkl` files are pickles of arrays, sparse matrices and `chumpy` objects. Only stand-ins of these three
are made: `chumpy` itself is not needed.
"""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from storage.arrays import read_arrays
from storage.files import read_bytes
from storage.pickles import MOST_BYTES, Built, read_pickle, reason_of
from utils.errors import UserError

if TYPE_CHECKING:
    import smplx

N_JOINTS = 24  # of SMPL; the first 22 are the HumanML3D joints
MOST_CELLS = 1 << 24  # of a sparse matrix when it is dense
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
    if path.suffix.lower() == ".npz":
        content = read_arrays(path, KEYS)
    else:
        content = read_pickle(read_bytes(path, MOST_BYTES), path, _find)
    if not isinstance(content, dict):
        raise UserError(f"{path} is no SMPL body model: it holds a {type(content).__name__}")
    if missing := [key for key in KEYS if key not in content]:
        raise UserError(f"{path} is no SMPL body model: it lacks {', '.join(missing)}")
    try:
        arrays = {key: _dense(content[key]) for key in KEYS}
        arrays = {key: array.astype(array.dtype.newbyteorder("="), copy=False) for key, array in arrays.items()}
    except Exception as error:  # what is in a file may contradict itself in any way
        raise UserError(f"{path} is no SMPL body model: {reason_of(error)}") from error
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise UserError(f"{path} holds NaN or infinity: it is damaged")
    vertices = arrays["v_template"].size // 3
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
    if faces.ndim != 2 or faces.shape[1] != 3 or not len(faces) or not 0 <= faces.min() <= faces.max() < vertices:
        raise UserError(f"{path} is no SMPL body model: its faces do not fit its {vertices} vertices")
    # The root's parent is written as 2**32 - 1 in the published files; smplx puts -1 there itself.
    tree = np.where(arrays["kintree_table"] < N_JOINTS, arrays["kintree_table"], 0).astype(np.int64)
    if (tree[0] < 0).any() or (tree[0, 1:] >= np.arange(1, N_JOINTS)).any():
        raise UserError(f"{path} is no SMPL body model: its joints do not hang on joints before them")
    arrays["kintree_table"] = tree
    return arrays


def _find(module: str, name: str) -> Any:
    """What stands for the arrays, sparse matrices and chumpy objects of a file; there is nothing else in a body."""
    if (module.split(".")[0], name) in _STAND_INS:
        return _STAND_INS[module.split(".")[0], name]
    if module.split(".")[0] == "chumpy":
        return _Chumpy
    if module.startswith("scipy.sparse") and name in ("csc_matrix", "csr_matrix", "csc_array", "csr_array"):
        return type(name, (_Sparse,), {})
    raise ValueError(f"it is not an SMPL body model: it asks for {module}.{name}, which is not loaded")


class _Chumpy(Built):
    """Stands for an object of the package chumpy: keeps its attributes, has none of its code."""


class _Sparse(Built):
    """Stands for a SciPy sparse matrix."""


class _Kind(Built):
    """Stands for a NumPy dtype; its state says the order of bytes."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code = code

    @property
    def dtype(self) -> np.dtype:
        """The dtype, of plain numbers."""
        if not isinstance(self.code, str) or not re.fullmatch(r"[fiu][1248]|b1", self.code):
            raise ValueError(f"an array of {str(self.code)[:20]} stands where numbers are meant")
        order = self.state[1] if self.state is not None else "="
        return np.dtype(self.code).newbyteorder({">": ">", "<": "<"}.get(order, "="))


class _Array(Built):
    """Stands for a NumPy array; its state says what it is."""

    def array(self) -> np.ndarray:
        """The array, of plain numbers."""
        _, shape, kind, by_column, content = self.state
        content = content.encode("latin1") if isinstance(content, str) else content
        return np.frombuffer(content, kind.dtype).reshape(shape, order="F" if by_column else "C")


def _scalar(kind: _Kind, content: str | bytes) -> _Array:
    """Stands for a NumPy number."""
    number = _Array()
    number.state = (1, (), kind, False, content)
    return number


def _made(kind: type, *_: Any) -> Built:
    """What pickles call to make an object before its attributes are set; only stand-ins are made."""
    if not (isinstance(kind, type) and issubclass(kind, Built)):
        raise ValueError(f"it is not an SMPL body model: it makes an object of {str(kind)[:60]}")
    return kind()


_STAND_INS = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Kind,
    ("numpy", "_reconstruct"): _made,
    ("numpy", "scalar"): _scalar,
    ("_codecs", "encode"): lambda text, *_: text.encode("latin1"),
    **dict.fromkeys([("copy_reg", "_reconstructor"), ("copyreg", "_reconstructor")], _made),
    **dict.fromkeys([("__builtin__", "object"), ("builtins", "object")], None),
}


def _dense(value: Any) -> np.ndarray:
    """A numeric array from an array, a sparse stand-in or a chumpy stand-in.

    Raises:
        ValueError: none of these.
    """
    if isinstance(value, _Sparse):
        return _dense_matrix(value)
    if isinstance(value, _Array):
        return value.array()
    if isinstance(value, _Chumpy):
        content = value.state
        if "x" in content:
            return _dense(content["x"])
        if {"a", "idxs"} <= content.keys():  # chumpy's selection of some entries of another array
            chosen = _dense(content["a"]).ravel()[_dense(content["idxs"])]
            return chosen.reshape(_sizes(content.get("preferred_shape", chosen.shape)))
        raise ValueError("it holds a chumpy object of an unknown kind")
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"an array of {array.dtype} stands where numbers are meant")
    return array


def _sizes(shape: Any) -> list[int]:
    return [int(_dense(size)) for size in shape]


def _dense_matrix(matrix: _Sparse) -> np.ndarray:
    content = matrix.state
    rows, columns = _sizes(content.get("_shape") or content["shape"])
    by_column = type(matrix).__name__.startswith("csc")
    pointers, inner, values = (_dense(content[name]) for name in ("indptr", "indices", "data"))
    counts = np.diff(pointers)
    if not 0 < rows * columns <= MOST_CELLS or (counts < 0).any() or pointers[-1] - pointers[0] != len(inner):
        raise ValueError(f"its sparse matrix contradicts itself or is larger than {MOST_CELLS:,} cells")
    outer = np.repeat(np.arange(len(counts)), counts)
    dense = np.zeros((rows, columns))
    np.add.at(dense, (inner, outer) if by_column else (outer, inner), values)
    return dense
