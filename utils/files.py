"""Small file helpers, free of NumPy: every write is a temporary file that replaces the target only when complete."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from utils import faults
from utils.errors import UserError
from utils.owner import MACHINE, birth, own_mark

MESH_SUFFIX, SMPL_SUFFIX = "_mesh.npy", "_smpl.npz"  # what fit.py makes of a motion


DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<number>\d+)-(?P<machine>[0-9a-f]{8})(\.\w+)?")
ABANDONED_SECONDS = 86400.0  # what another machine's process has not touched for so long


@contextlib.contextmanager
def atomic_path(path: Path | str, former: Path | None = None) -> Iterator[Path]:
    """Yields a temporary path beside `path` (same suffix); it replaces `path` when the block ends without an error.

    Args:
        path: what is written.
        former: where the file goes that stood there before, if that is to be kept.

    Raises:
        UserError: the folder cannot be written, or the disk is full, whatever the library that writes makes of that.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{own_mark()}{path.suffix}")
    reached = faults.next_write()
    try:
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            reached("before", temporary)
            yield temporary
            reached("half", temporary)
            give_usual_mode(temporary)
            reached("whole", temporary)
            if former is not None and path.exists():
                os.replace(path, former)
                reached("between", temporary)
            os.replace(temporary, path)
            reached("after", temporary)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Raises a `UserError` that names `path` for what the disk refuses in the block."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if (reason := _refusal(error, path.parent)) is None:
            raise
        raise UserError(f"cannot write {path}: {reason}") from error


def _refusal(error: BaseException, folder: Path) -> str | None:
    """What the disk said, if an error goes back to that. Libraries hide it: it may have to be asked again."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    cause: BaseException | None = error
    while cause is not None:
        for refusal in map(os.strerror, DISK_ERRORS):
            if refusal in str(cause):
                return refusal
        cause = cause.__context__
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 16))
    except OSError as asked:
        return asked.strerror
    return str(error) if isinstance(error, OSError) else None


def remove_abandoned(folder: Path) -> None:
    """Removes what processes that are gone left unfinished in `folder`. What one had only set aside comes back."""
    for left in folder.glob(".*"):
        if (match := TEMPORARY.fullmatch(left.name)) is None:
            continue
        with contextlib.suppress(OSError):  # another process does the same
            if match["machine"] == MACHINE:
                if birth(int(match["number"])) is not None:
                    continue
            elif time.time() - left.stat().st_mtime < ABANDONED_SECONDS:
                continue
            if not left.is_dir():
                left.unlink()
                continue
            target = folder / match["name"].rpartition(".")[0]
            if (left / "old").exists() and not target.exists():
                os.replace(left / "old", target)
            shutil.rmtree(left, ignore_errors=True)


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
    reached = faults.next_write()
    beside = {"prefix": f".{folder.name}.", "suffix": f".{own_mark()}", "dir": folder.parent}
    with _told(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(folder.parent)
        with tempfile.TemporaryDirectory(**beside, ignore_cleanup_errors=True) as holder, _told(folder):
            new, old = Path(holder) / "new", Path(holder) / "old"
            new.mkdir()
            reached("before", new)
            yield new
            reached("whole", new)
            if folder.exists():
                os.replace(folder, old)
                reached("between", new)
            try:
                os.replace(new, folder)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise  # else another process was quicker: its folder stays
            reached("after", new)


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
