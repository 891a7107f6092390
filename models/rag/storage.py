"""The files of a RAG database: manifest.json (what it is), entries.json (whose rows), embeddings.safetensors. A large
one has its entries in arrays instead, and codes.safetensors, a short form of the rows to search in.

Arrays are written where they belong and read where they lie: neither side holds a library in memory.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from models.rag.entries import ARRAYS, Entries, Entry
from models.rag.manifest import FORMATS, MANIFEST, check_files, checksums, read_manifest
from storage.checkpoint import is_finite
from storage.files import read_json, replaced_folder, write_json
from storage.tensor_files import CHECKED_BYTES, read_tensors
from utils.errors import UserError

ENTRIES, LARGE_ENTRIES = "entries.json", "entries.safetensors"
EMBEDDINGS, CODES, INDEX = "embeddings.safetensors", "codes.safetensors", "index.faiss"
KINDS = {  # of each embedding: dimensions, and whether it holds real numbers
    **{"text": (2, True), "motion": (2, True), "parts": (3, True)},
    **{"row_motion": (1, False), "tokens": (4, False), "steps": (1, False), "sentences": (2, False)},
}
TENSORS = ("text", "motion", "parts", "row_motion")
TYPES = {np.dtype(kind): name for kind, name in {
    "u1": "U8", "i1": "I8", "i2": "I16", "i4": "I32", "i8": "I64", "f2": "F16", "f4": "F32",
}.items()}  # fmt: skip
ALIGNED = 64  # bytes

Shape = tuple[tuple[int, ...], Any]  # of an array, and the type of its numbers


class Stored(NamedTuple):
    """What a folder holds, each file checked on its own. Tensors stay in their files until they are looked at."""

    manifest: dict[str, Any]
    entries: Entries
    tensors: dict[str, Tensor]
    codes: dict[str, Tensor] | None


@contextlib.contextmanager
def new_arrays(path: Path, shapes: Mapping[str, Shape]) -> Iterator[dict[str, np.ndarray]]:
    """Makes a safetensors file whose arrays are filled where they lie in it.

    Raises:
        OSError: there is no room for it, which is known before anything is filled.
    """
    header, end = {}, 0
    for name, (shape, kind) in shapes.items():
        size = math.prod(shape) * np.dtype(kind).itemsize
        header[name] = {"dtype": TYPES[np.dtype(kind)], "shape": shape, "data_offsets": (end, end + size)}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % ALIGNED)
    start = 8 + len(text)
    with open(path, "wb+") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.flush()
        if end:
            os.posix_fallocate(file.fileno(), start, end)
        content = np.memmap(file, np.uint8, "r+")
    yield {
        name: content[slice(*(start + place for place in header[name]["data_offsets"]))].view(kind).reshape(shape)
        for name, (shape, kind) in shapes.items()
    }
    content.flush()


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays that are in memory, or in other files."""
    with new_arrays(path, {name: (value.shape, value.dtype) for name, value in arrays.items()}) as places:
        for name, value in arrays.items():
            places[name][...] = value


def write(
    folder: Path,
    manifest: Mapping[str, Any],
    entries: Entries,
    shapes: Mapping[str, Shape],
    fill: Callable[[dict[str, np.ndarray]], None],
    encode: Callable[[dict[str, np.ndarray]], Mapping[str, np.ndarray]] | None,
    large: bool,
    write_index: Callable[[Path], None] | None = None,
) -> None:
    """Writes the folder. A database that was there stays until the new one is complete.

    Args:
        shapes: of the embeddings.
        fill: fills them.
        encode: makes their codes.
        large: whether the entries are arrays.
        write_index: writes the index file, if there is one.

    Raises:
        UserError: the folder cannot be written, or holds something else than a database.
    """
    if folder.exists() and not (folder / MANIFEST).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is no RAG database: give another folder")
    with replaced_folder(folder) as temporary:
        with new_arrays(temporary / EMBEDDINGS, {**shapes, "row_motion": (entries.row_motion.shape, np.int32)}) as rows:
            rows["row_motion"][:] = entries.row_motion
            fill(rows)
            if encode is not None:
                write_arrays(temporary / CODES, encode(rows))
        if large:
            write_arrays(temporary / LARGE_ENTRIES, entries.arrays | entries.keys)
        else:
            write_json(temporary / ENTRIES, [entry.to_dict() for entry in entries])
        if write_index is not None:
            write_index(temporary / INDEX)
        told = {"format_version": FORMATS[large], **manifest, "files": checksums(temporary)}
        write_json(temporary / MANIFEST, told)


def read(folder: Path) -> Stored:
    """Opens the folder.

    Raises:
        UserError: a file is missing, truncated or of another format; says which.
    """
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    tensors = _read_embeddings(folder / EMBEDDINGS)
    rows = tensors["row_motion"].numpy()
    try:
        if manifest["format_version"] == FORMATS[False]:
            entries = Entries.of(_read_entries(folder / ENTRIES))
            if not np.array_equal(entries.row_motion, rows):
                raise ValueError("other rows")
        else:
            arrays = _read_tensors(folder / LARGE_ENTRIES, ARRAYS)
            entries = Entries({name: value.numpy() for name, value in arrays.items()}, rows)
    except (ValueError, IndexError, TypeError) as error:
        raise UserError(f"{folder}: the files do not belong together: build the database again") from error
    codes = _read_tensors(folder / CODES, ()) if (folder / CODES).is_file() else None
    return Stored(manifest, entries, tensors, codes)


def _read_entries(path: Path) -> list[Entry]:
    entries = read_json(path)
    fields = {"id": str, "take": str, "captions": list}
    for entry in entries if isinstance(entries, list) else [None]:
        if (
            not isinstance(entry, dict)
            or any(not isinstance(entry.get(name), kind) for name, kind in fields.items())
            or not all(isinstance(caption, str) for caption in entry["captions"])
            or not _is_span(entry.get("frames", [0, 1]))
        ):
            raise UserError(f"{path} is not a list of motions with id, take and captions: build the database again")
    return [
        Entry(each["id"], each["take"], tuple(each["captions"]), tuple(each["frames"]) if "frames" in each else None)
        for each in entries
    ]


def _is_span(frames: Any) -> bool:
    return isinstance(frames, list) and [type(each) for each in frames] == [int, int] and 0 <= frames[0] < frames[1]


def _read_tensors(path: Path, needed: tuple[str, ...]) -> dict[str, Tensor]:
    """The tensors of a file, mapped into memory."""
    try:
        tensors, _ = read_tensors(path, "pt")
    except UserError as error:
        raise UserError(f"{error}: build the database again") from error
    if missing := [name for name in needed if name not in tensors]:
        raise UserError(f"{path} lacks {', '.join(missing)}: build the database again")
    return tensors


def _read_embeddings(path: Path) -> dict[str, Tensor]:
    """The embeddings, and the tokens if there are any; their numbers are looked at as far as that is quick."""
    tensors = _read_tensors(path, TENSORS)
    if "tokens" in tensors and tensors["tokens"].ndim == 3:  # from before upper levels were kept
        tensors["tokens"] = tensors["tokens"][..., None]
    for name, tensor in tensors.items():
        dimensions, real = KINDS.get(name, (tensor.ndim, tensor.is_floating_point()))
        if tensor.ndim != dimensions or tensor.is_floating_point() != real:
            raise UserError(f"{path} is damaged: {name} is of another kind: build the database again")
        small = tensor.nbytes <= CHECKED_BYTES
        if small and name != "sentences" and not (is_finite(tensor) if real else bool((tensor >= 0).all())):
            raise UserError(
                f"{path} is damaged: {name} holds NaN, infinity or negative counts: build the database again"
            )
    if "tokens" in tensors and "steps" in tensors and (tensors["steps"] > tensors["tokens"].shape[1]).any():
        raise UserError(f"{path} is damaged: a motion has more steps than tokens: build the database again")
    return tensors
