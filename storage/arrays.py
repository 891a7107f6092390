"""NumPy files, read without ever unpickling, and written whole or not at all.

What a file holds is judged by its header and its own size, before any memory is taken for it.
"""

from __future__ import annotations

import math
import re
import struct
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO

import numpy as np

from storage.files import atomic_path, opened
from storage.limits import LARGEST_ARRAYS, LONGEST_HEADER, MOST_ARRAYS, UNPACKED, UNPACKED_TIMES
from utils.errors import UserError

MAGIC = b"\x93NUMPY"
BLOCK = 1 << 20  # bytes that are read at a time
_DESCR = re.compile(r"""['"]descr['"]\s*:\s*['"]([<>|=]?[biufUS]\d{1,9})['"]""")
_ORDER = re.compile(r"""['"]fortran_order['"]\s*:\s*(True|False)""")
_SHAPE = re.compile(r"""['"]shape['"]\s*:\s*\(((?:\s*\d{1,15}L?\s*,)*\s*(?:\d{1,15}L?)?\s*)\)""")


def read_array(path: Path | str) -> np.ndarray:
    """Reads a `.npy` file without ever unpickling.

    Raises:
        UserError: the file is missing, truncated, or holds something else than numbers.
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
        UserError: the file is missing or truncated, holds something else than numbers and words, or would unpack to far
            more than its own size.
    """
    with opened(path, LARGEST_ARRAYS) as file:
        size = file.seek(0, 2)
        file.seek(0)
        try:
            if file.peek(2)[:2] != b"PK":
                return {"": _read(file, size)}
            with zipfile.ZipFile(file) as archive:
                return _members(archive, wanted, max(UNPACKED, UNPACKED_TIMES * size))
        except Exception as error:  # damaged bytes raise whatever zipfile and zlib stumble over
            suffix = ".npz" if Path(path).suffix.lower() == ".npz" else ".npy"
            reason = str(error) or type(error).__name__
            raise UserError(f"{path} is not a readable {suffix} file: {reason}") from error


def _members(archive: zipfile.ZipFile, wanted: Collection[str], most: int) -> dict[str, np.ndarray]:
    """Raises ValueError, and what zipfile does."""
    named = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
    chosen = [name for name in named if name in wanted] or list(named)
    size = sum(named[name].file_size for name in chosen)
    if len(chosen) > MOST_ARRAYS or size > most:
        raise ValueError(f"its {len(chosen)} arrays would unpack to {size:,} bytes, at most {most:,} are read")
    arrays = {}
    for name in chosen:
        # Others of zipfile's ways to unpack take memory as the file says.
        if named[name].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name} is packed as NumPy never does")
        with archive.open(named[name]) as stream:
            arrays[name] = _read(stream, named[name].file_size)
    return arrays


def _read(stream: IO[bytes], size: int) -> np.ndarray:
    """The array in a stream of `size` bytes; raises ValueError where there is none."""
    dtype, shape, order = _header(stream)
    wanted, follow = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if wanted > follow:
        raise ValueError(f"its header promises {wanted:,} bytes, {follow:,} follow")
    data, filled = bytearray(wanted), 0
    while filled < wanted:
        block = stream.read(min(BLOCK, wanted - filled))
        if not block:
            raise ValueError(f"it ends after {filled:,} of {wanted:,} bytes")
        data[filled : filled + len(block)] = block
        filled += len(block)
    array = np.ndarray(shape, dtype, data, order=order)
    if dtype.kind == "U" and array.size and np.frombuffer(data, f"{dtype.byteorder}u4").max() > 0x10FFFF:
        raise ValueError("it holds words that are none")
    return array if dtype.isnative else array.astype(dtype.newbyteorder("="))


def _header(stream: IO[bytes]) -> tuple[np.dtype, tuple[int, ...], str]:
    """Type, shape and order of what follows; raises ValueError."""
    start = stream.read(8)
    if start[:6] != MAGIC or start[6:7] not in (b"\1", b"\2", b"\3"):
        raise ValueError("it holds something else than numbers")
    layout = "<H" if start[6] == 1 else "<I"
    length = stream.read(struct.calcsize(layout))
    if len(length) < struct.calcsize(layout) or struct.unpack(layout, length)[0] > LONGEST_HEADER:
        raise ValueError("its header is none")
    header = stream.read(struct.unpack(layout, length)[0]).decode("latin-1")
    descr, order, shape = (pattern.search(header) for pattern in (_DESCR, _ORDER, _SHAPE))
    if not (descr and order and shape):
        raise ValueError(f"it holds something else than numbers and words: {' '.join(header.split())[:80]}")
    dtype = np.dtype(descr[1])
    sizes = tuple(int(each.rstrip("L ")) for each in shape[1].replace(" ", "").split(",") if each)
    # Nothing is in the file of an array without elements, however many rows it claims.
    if len(sizes) > 8 or not dtype.itemsize or (0 in sizes and math.prod(filter(None, sizes)) > BLOCK):
        raise ValueError(f"its shape is {sizes}")
    return dtype, sizes, "F" if order[1] == "True" else "C"


def write_array(path: Path | str, array: np.ndarray) -> None:
    """Writes a `.npy` file, atomically."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, array, allow_pickle=False)
