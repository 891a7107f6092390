"""Small file helpers, free of NumPy: every write is a temporary file that replaces the target only when complete."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import tempfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from utils.errors import UserError

MESH_SUFFIX, SMPL_SUFFIX = "_mesh.npy", "_smpl.npz"  # what fit.py makes of a motion


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yields a temporary path beside `path` (same suffix); it replaces `path` when the block ends without an error.

    Raises:
        UserError: the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        give_usual_mode(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True) if temporary.parent.is_dir() else None


def give_usual_mode(path: Path) -> None:
    """Lets others read a file as far as the umask allows; some libraries write for the owner alone.

    The umask can only be read by changing it, for all threads: a file that is made beside shows what it leaves.
    """
    if path.stat().st_mode & 0o077:
        return
    with tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as folder:
        usual = Path(folder) / "usual"
        usual.touch()
        path.chmod(usual.stat().st_mode & 0o777)


def write_json(path: Path | str, content: Any) -> None:
    """Writes `content` as indented JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_bytes(path: Path | str) -> bytes:
    """The content of a file.

    Raises:
        UserError: it is missing or cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def read_json(path: Path | str) -> Any:
    """Reads a JSON file.

    Raises:
        UserError: the file is missing, cannot be read or is not JSON.
    """
    content = read_bytes(path)
    try:
        return json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON: {error}") from error


@contextlib.contextmanager
def replaced_folder(folder: Path | str) -> Iterator[Path]:
    """Yields a temporary folder beside `folder`; it takes its place when the block ends without an error.

    Raises:
        UserError: it cannot be written.
    """
    folder = Path(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{folder.name}.", dir=folder.parent, ignore_cleanup_errors=True
        ) as holder:
            new, old = Path(holder) / "new", Path(holder) / "old"
            new.mkdir()
            yield new
            if folder.exists():
                os.replace(folder, old)
            try:
                os.replace(new, folder)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise  # else another process was quicker: its folder stays
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or error}") from error


def slugify(text: str, max_length: int = 60) -> str:
    """A file name made from free text: lower-case letters, digits, single underscores; never empty."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "_", ascii_text.lower()).strip("_")[:max_length].rstrip("_")
    return slug or "motion"


def file_hash(path: Path | str, whole: bool = False) -> str:
    """The first 16 hexadecimal digits of the file's SHA-256, or all 64."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()[: None if whole else 16]


@contextlib.contextmanager
def result_folder(path: Path | str) -> Iterator[Path]:
    """`writable_folder` for a block of work; when that fails, the folders that were made for it and are empty go again.

    Raises:
        UserError: as `writable_folder`.
    """
    path = Path(path)
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        yield writable_folder(path)
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def writable_folder(path: Path | str) -> Path:
    """Makes a folder and proves that it can be written, before anything expensive starts.

    Raises:
        UserError: it cannot be made or written.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UserError(f"cannot write into {path}: {error.strerror}") from error
    return path
