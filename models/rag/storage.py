"""The files of a RAG database: manifest.json (what it is), entries.json (whose rows), embeddings.safetensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from models.rag.manifest import FORMAT_VERSION, MANIFEST, read_manifest
from utils.errors import UserError
from utils.files import give_usual_mode, read_json, replaced_folder, write_json

ENTRIES, EMBEDDINGS, INDEX = "entries.json", "embeddings.safetensors", "index.faiss"
TENSORS = ("text", "motion", "parts", "row_motion")


class Stored(NamedTuple):
    """What a folder holds, each file checked on its own."""

    manifest: dict[str, Any]
    entries: list[dict[str, Any]]  # id, take, captions, frames of the parts of a file
    tensors: dict[str, Tensor]


def write(
    folder: Path,
    manifest: Mapping[str, Any],
    entries: Sequence[Mapping[str, Any]],
    tensors: Mapping[str, Tensor],
    write_index: Callable[[Path], None] | None = None,
) -> None:
    """Writes the folder. A database that was there stays until the new one is complete.

    Args:
        write_index: writes the index file, if there is one.

    Raises:
        UserError: the folder cannot be written, or holds something else than a database.
    """
    if folder.exists() and not (folder / MANIFEST).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is no RAG database: give another folder")
    try:
        with replaced_folder(folder) as temporary:
            save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, temporary / EMBEDDINGS)
            give_usual_mode(temporary / EMBEDDINGS)
            write_json(temporary / ENTRIES, list(entries))
            if write_index is not None:
                write_index(temporary / INDEX)
            write_json(temporary / MANIFEST, {"format_version": FORMAT_VERSION, **manifest})
    except SafetensorError as error:
        raise UserError(f"cannot write {folder}: {error}") from error


def read(folder: Path) -> Stored:
    """Reads the folder.

    Raises:
        UserError: a file is missing, truncated or of another format; says which.
    """
    return Stored(read_manifest(folder), _read_entries(folder / ENTRIES), _read_tensors(folder / EMBEDDINGS))


def _read_entries(path: Path) -> list[dict[str, Any]]:
    entries = read_json(path)
    fields = {"id": str, "take": str, "captions": list}
    for entry in entries if isinstance(entries, list) else [None]:
        if (
            not isinstance(entry, dict)
            or any(not isinstance(entry.get(name), kind) for name, kind in fields.items())
            or not _is_span(entry.get("frames", [0, 1]))
        ):
            raise UserError(f"{path} is not a list of motions with id, take and captions: build the database again")
    return entries


def _is_span(frames: Any) -> bool:
    return isinstance(frames, list) and [type(each) for each in frames] == [int, int] and 0 <= frames[0] < frames[1]


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is missing or truncated: build the database again") from error
    if missing := [name for name in TENSORS if name not in tensors]:
        raise UserError(f"{path} lacks {', '.join(missing)}: build the database again")
    return tensors
