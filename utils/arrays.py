"""NumPy files, read without ever unpickling and written whole or not at all."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path

import numpy as np

from utils.errors import UserError
from utils.files import atomic_path

# What NumPy raises over damaged, encrypted, pickled or boundless arrays; its headers are Python text.
UNREADABLE_ARRAY = (ValueError, TypeError, EOFError, OSError, KeyError, MemoryError, OverflowError, RuntimeError)
UNREADABLE_ARRAY += (SyntaxError, tokenize.TokenError, struct.error, zipfile.BadZipFile, zlib.error)


def read_array(path: Path | str) -> np.ndarray:
    """Reads a `.npy` file without ever unpickling.

    Raises:
        UserError: the file is missing, truncated, or holds Python objects.
    """
    arrays = read_arrays(path)
    if set(arrays) != {""}:
        raise UserError(f"{path} is not a readable .npy file: it is an archive of {', '.join(arrays) or 'nothing'}")
    return arrays[""]


def read_arrays(path: Path | str, wanted: Collection[str] = ()) -> dict[str, np.ndarray]:
    """The arrays of a `.npz` file by name, or that of a `.npy` file under the name ""; nothing is unpickled.

    Args:
        path: of the file.
        wanted: names; where any of them is there, the others are not read.

    Raises:
        UserError: the file is missing, truncated, or holds Python objects.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"": loaded}
        with loaded as file:
            return {name: file[name] for name in [each for each in file.files if each in wanted] or file.files}
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except UNREADABLE_ARRAY as error:
        # NumPy takes everything without its mark for a pickle, and says how to load that.
        reason = "it holds something else than numbers" if "pickle" in str(error) else error
        suffix = Path(path).suffix.lower() if Path(path).suffix.lower() == ".npz" else ".npy"
        raise UserError(f"{path} is not a readable {suffix} file: {reason}") from error


def write_array(path: Path | str, array: np.ndarray) -> None:
    """Writes a `.npy` file, atomically."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, array, allow_pickle=False)
