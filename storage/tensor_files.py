"""Files of named tensors (safetensors), with or without torch: read within limits, and compared with a checksum.

The format itself knows none. Ours is a CRC-32 of the whole file, header included, in which its own digits count as 0.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from safetensors import safe_open

from storage.files import atomic_path, parse_json
from storage.pickles import INT64, MOST_NAME, reason_of
from utils.errors import UserError

CHECKSUM = "crc32"
NO_CHECKSUM = "0" * 8
CHECKED_BYTES = 1 << 28  # larger files are mapped, not read, where only a part of them is wanted: reading checks them
MOST_HEADER = 1 << 25
MOST_DIMENSIONS = 8
BLOCK = 1 << 22
KINDS = ("BOOL", "U8", "I8", "I16", "I32", "I64", "F16", "BF16", "F32", "F64", "U32")


class Header(NamedTuple):
    """What a file says of itself.

    Attributes:
        shapes: of each tensor.
        metadata: text by name, without the checksum.
        checksum: eight hexadecimal digits, or None; `place` is where they stand in the file.
    """

    shapes: dict[str, tuple[int, ...]]
    metadata: dict[str, str]
    checksum: str | None
    place: int


def read_header(path: Path | str) -> Header:
    """The header of a file, read without the library and without its tensors.

    Raises:
        ValueError, TypeError, KeyError, OSError, UserError: it is no such file, or beyond the limits.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(MOST_HEADER, Path(path).stat().st_size - 8):
            raise ValueError("its header is longer than the file, or than any header is")
        text = file.read(length)
    content = parse_json(text, f"the header of {path}")
    if not isinstance(content, dict):
        raise ValueError("its header is no object")
    metadata = content.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata is no text")
    for name, entry in content.items():
        kind, shape = entry["dtype"], entry["shape"]
        if len(name) > MOST_NAME or kind not in KINDS or len(shape) > MOST_DIMENSIONS:
            raise ValueError(f"{name[:60]!r} is no tensor of a kind that is read")
        if any(type(size) is not int or not 0 <= size < INT64 for size in shape):
            raise ValueError(f"{name[:60]!r} has an impossible shape")
    told = metadata.pop(CHECKSUM, None)
    found = re.search(rb'"%s":"([0-9a-f]{8})"' % CHECKSUM.encode(), text)
    if told is not None and (found is None or found[1].decode() != told):
        raise ValueError("its checksum is none")
    return Header(
        {name: tuple(entry["shape"]) for name, entry in content.items()},
        metadata,
        told,
        8 + found.start(1) if found else 0,
    )


def checksum(path: Path | str, hole: int | None = None) -> str:
    """CRC-32 of a file, eight hexadecimal digits.

    Args:
        hole: where its own checksum stands in it.
    """
    total = 0
    with open(path, "rb") as file:
        if hole is not None:
            total = zlib.crc32(NO_CHECKSUM.encode(), zlib.crc32(file.read(hole)))
            file.seek(hole + len(NO_CHECKSUM))
        while block := file.read(BLOCK):
            total = zlib.crc32(block, total)
    return f"{total:08x}"


def verify(path: Path | str, header: Header) -> None:
    """Compares a file with its checksum, if it has one.

    Raises:
        ValueError: they differ.
    """
    if header.checksum is not None and checksum(path, header.place) != header.checksum:
        raise ValueError("its content is damaged: it does not fit its checksum")


def read_tensors(path: Path | str, framework: Literal["pt", "np"]) -> tuple[dict[str, Any], dict[str, str]]:
    """The tensors of a file, mapped, and its metadata.

    Args:
        framework: `pt` for tensors of torch, `np` for arrays.

    Raises:
        UserError: missing, damaged, or beyond the limits.
    """
    if not Path(path).is_file():
        raise UserError(f"{path} does not exist")
    try:
        header = read_header(path)
        verify(path, header)
        with safe_open(path, framework=framework) as file:
            return {name: file.get_tensor(name) for name in file.keys()}, header.metadata  # noqa: SIM118 - no mapping
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # damaged bytes raise whatever the reader stumbles over
        raise UserError(f"{path} is truncated or damaged: {reason_of(error)}") from error


def count_numbers(header: Header) -> int:
    """How many numbers the tensors of a file hold."""
    return sum(map(math.prod, header.shapes.values()))


def write_tensors(
    path: Path | str,
    tensors: Mapping[str, Any],
    save_file: Callable[[dict[str, Any], Path, dict[str, str]], None],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes tensors, atomically, with their checksum.

    Args:
        save_file: of `safetensors.torch` or `safetensors.numpy`.

    Raises:
        UserError: the file cannot be written.
    """
    with atomic_path(path) as temporary:
        save_file(dict(tensors), temporary, {**(metadata or {}), CHECKSUM: NO_CHECKSUM})
        header = read_header(temporary)
        told = checksum(temporary, header.place)
        with open(temporary, "r+b") as file:
            file.seek(header.place)
            file.write(told.encode())
