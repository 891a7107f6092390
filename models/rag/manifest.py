"""manifest.json of a RAG database: what it is, and who made it. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from storage.files import read_json
from storage.tensor_files import CHECKED_BYTES, checksum
from utils.errors import UserError
from utils.formats import format_of
from utils.motion_format import MotionFormat

MANIFEST = "manifest.json"
FORMATS = (1, 2)  # with entries as JSON, and in arrays


def read_manifest(folder: Path) -> dict[str, Any]:
    """What the database in a folder says of itself: retriever, tokenizer, dataset, command and counts.

    Raises:
        UserError: it is no database, or one of another version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(f"{folder} is no RAG database ({MANIFEST} is missing): make one with build_rag_database.py")
    manifest = read_json(path)
    version = manifest.get("format_version") if isinstance(manifest, dict) else None
    if type(version) is not int or version not in FORMATS:
        raise UserError(f"{path} has format {version}, not {FORMATS[0]} or {FORMATS[1]}: build the database again")
    return manifest


def checksums(folder: Path) -> dict[str, str]:
    """CRC-32 of each file in a folder, for its manifest."""
    return {path.name: checksum(path) for path in sorted(folder.iterdir())}


def check_files(folder: Path, manifest: Mapping[str, Any], largest: int | None = CHECKED_BYTES) -> None:
    """Compares the files of a database with what its manifest says of them. Former ones say nothing.

    Args:
        largest: bytes of a file that is looked at; larger ones are mapped, and reading all of one would be what opening
            it avoids. None: all are.

    Raises:
        UserError: a file is damaged or missing.
    """
    told = manifest.get("files", {})
    if not isinstance(told, dict):
        raise UserError(f"{folder / MANIFEST}: files must be an object: build the database again")
    for name, expected in told.items():
        path = folder / Path(name).name
        if not path.is_file():
            raise UserError(f"{path} is missing or truncated: build the database again")
        if (largest is None or path.stat().st_size <= largest) and checksum(path) != expected:
            raise UserError(f"{path} is truncated or damaged, it does not fit its checksum: build the database again")


def library_format(folder: Path, manifest: Mapping[str, Any]) -> MotionFormat | None:
    """What the motions of the database in a folder are; None: a former one, whose motions are its dataset's.

    Raises:
        UserError: the format contradicts itself.
    """
    told = manifest.get("format")
    return None if told is None else format_of(told, f"{folder / MANIFEST}: format")
