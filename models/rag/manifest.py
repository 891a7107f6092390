"""manifest.json of a RAG database: what it is, and who made it. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files import read_json
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


def library_format(folder: Path, manifest: Mapping[str, Any]) -> MotionFormat | None:
    """What the motions of the database in a folder are; None: a former one, whose motions are its dataset's.

    Raises:
        UserError: the format contradicts itself.
    """
    told = manifest.get("format")
    return None if told is None else format_of(told, f"{folder / MANIFEST}: format")
