"""The files of a RAG database: manifest.json (what it is), entries.json (whose rows), embeddings.safetensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from models.rag.manifest import FORMAT_VERSION, MANIFEST, check_files, checksums, read_manifest
from utils.checkpoint import is_finite
from utils.errors import UserError
from utils.files import give_usual_mode, read_json, replaced_folder, write_json
from utils.tensor_files import CHECKED_BYTES, read_tensors

ENTRIES, EMBEDDINGS, INDEX = "entries.json", "embeddings.safetensors", "index.faiss"
KINDS = {  # of each tensor: dimensions, and whether it holds real numbers
    **{"text": (2, True), "motion": (2, True), "parts": (3, True)},
    **{"row_motion": (1, False), "tokens": (3, False), "steps": (1, False)},
}
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
            told = {"format_version": FORMAT_VERSION, **manifest, "files": checksums(temporary)}
            write_json(temporary / MANIFEST, told)
    except SafetensorError as error:
        raise UserError(f"cannot write {folder}: {error}") from error


def read(folder: Path) -> Stored:
    """Reads the folder.

    Raises:
        UserError: a file is missing, truncated or of another format; says which.
    """
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    return Stored(manifest, _read_entries(folder / ENTRIES), _read_tensors(folder / EMBEDDINGS))


def _read_entries(path: Path) -> list[dict[str, Any]]:
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
    return entries


def _is_span(frames: Any) -> bool:
    return isinstance(frames, list) and [type(each) for each in frames] == [int, int] and 0 <= frames[0] < frames[1]


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors, _ = read_tensors(path, "pt")
    except UserError as error:
        raise UserError(f"{error}: build the database again") from error
    if missing := [name for name in TENSORS if name not in tensors]:
        raise UserError(f"{path} lacks {', '.join(missing)}: build the database again")
    for name, tensor in tensors.items():
        dimensions, real = KINDS.get(name, (tensor.ndim, tensor.is_floating_point()))
        if tensor.ndim != dimensions or tensor.is_floating_point() != real:
            raise UserError(f"{path} is damaged: {name} is of another kind: build the database again")
        small = tensor.nbytes <= CHECKED_BYTES
        if small and not (is_finite(tensor) if real else bool((tensor >= 0).all())):
            raise UserError(
                f"{path} is damaged: {name} holds NaN, infinity or negative counts: build the database again"
            )
    if "tokens" in tensors and "steps" in tensors and (tensors["steps"] > tensors["tokens"].shape[1]).any():
        raise UserError(f"{path} is damaged: a motion has more steps than tokens: build the database again")
    return tensors
