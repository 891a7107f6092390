"""Small file helpers, free of NumPy: every write is a temporary file that replaces the target only when complete."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from storage import faults
from storage.limits import JSON_DEPTH, JSON_DIGITS, LARGEST_JSON, LARGEST_TEXT
from storage.owner import MACHINE, birth, own_mark
from utils.errors import UserError

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


@contextlib.contextmanager
def opened(path: Path | str, largest: int) -> Iterator[BinaryIO]:
    """A plain file of at most `largest` bytes, open for reading.

    Raises:
        UserError: it is missing, too large, a folder, a device or a pipe, or cannot be read.
    """
    try:
        # A pipe would be waited for.
        file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except (OSError, ValueError) as error:  # a ValueError is about zeros or half characters in the name
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    with file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path} cannot be read: it is no plain file")
        if status.st_size > largest:
            raise UserError(f"{path} has {status.st_size:,} bytes, at most {largest:,} are read")
        yield file


def read_bytes(path: Path | str, largest: int = LARGEST_TEXT) -> bytes:
    """The content of a file.

    Raises:
        UserError: it is missing, too large, or cannot be read.
    """
    with opened(path, largest) as file:
        return file.read()


def is_text(text: str) -> bool:
    """Whether a text can be written: what is no UTF-8 on a command line arrives as halves of characters."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def read_text(path: Path | str) -> str:
    """A UTF-8 text file, with or without a byte order mark; its lines end in `\\n`.

    Raises:
        UserError: the file is missing, too large, or not UTF-8; names it.
    """
    content = read_bytes(path)
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error}") from error
    if "\0" in text:  # UTF-16 without its mark is UTF-8 too
        raise UserError(f"{path} is not UTF-8 text: it holds zeros")
    return text


def read_json(path: Path | str, largest: int = LARGEST_JSON) -> Any:
    """Reads a JSON file, see `parse_json`.

    Raises:
        UserError: the file is missing, too large, cannot be read or is not JSON.
    """
    return parse_json(read_bytes(path, largest), path)


def parse_json(content: bytes, where: Path | str) -> Any:
    """The value of a JSON text. Every number in it is finite, every text can be written, every name is there once.

    Args:
        content: UTF-8.
        where: what is named in errors.

    Raises:
        UserError: it is not JSON, is nested too deep, or holds an endless number, half a character or a name twice.
    """
    try:
        text = content.decode("utf-8-sig")
        found = json.loads(
            text, parse_int=_whole, parse_float=_finite, parse_constant=_finite, object_pairs_hook=_named_once
        )
        _check_depth(found)
        if "\\u" in text and not is_text(json.dumps(found, ensure_ascii=False)):
            raise ValueError("half a character")
        return found
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is not valid JSON: {error}") from error


def _whole(digits: str) -> int:
    if (count := len(digits.lstrip("-"))) > JSON_DIGITS:
        raise ValueError(f"a number of {count} digits")
    return int(digits)


def _finite(word: str) -> float:
    if not math.isfinite(value := float(word)):
        raise ValueError(f"{word[:40]} is no finite number")
    return value


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"{twice[:40]!r} stands twice in one object")
    return found


def _check_depth(value: Any) -> None:
    holders: list[Any] = [[value]]
    for _ in range(JSON_DEPTH + 1):
        values = (each.values() if isinstance(each, dict) else each for each in holders)
        if not (holders := [each for group in values for each in group if isinstance(each, (dict, list))]):
            return
    raise ValueError(f"lists and objects are nested more than {JSON_DEPTH} deep")


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


def file_hash(path: Path | str, whole: bool = False) -> str:
    """The first 16 hexadecimal digits of the file's SHA-256, or all 64.

    Raises:
        UserError: it cannot be read.
    """
    digest = hashlib.sha256()
    with opened(path, sys.maxsize) as file:
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
