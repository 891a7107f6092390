"""Locks on open files that end with the process however that ends: POSIX's, or Windows' own."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Protocol

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

FAR = 1 << 40  # the byte that is locked on Windows, where others could not read it
PAUSE = 0.1


class Opened(Protocol):
    """An open file."""

    def fileno(self) -> int:
        """Its number."""


def hold(file: Opened | int, wait: bool = True, shared: bool = False) -> None:
    """Takes the lock of a file until it is closed.

    Args:
        wait: for another process that holds it.
        shared: others may share it, but nobody hold it alone. On Windows it hinders nobody.

    Raises:
        BlockingIOError: another process holds it, and `wait` is not set.
        OSError: the file system has no locks.
    """
    number = file if isinstance(file, int) else file.fileno()
    if fcntl is not None:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(number, kind if wait else kind | fcntl.LOCK_NB)
        return
    while not shared and not _held_on_windows(number):
        if not wait:
            raise BlockingIOError("another process holds the lock")
        time.sleep(PAUSE)


def open_folder(folder: Path) -> int:
    """An open folder, no link; on Windows, where there are none, an open file in it.

    Raises:
        OSError: it is none, or cannot be read.
    """
    if fcntl is None:
        return os.open(folder / ".held", os.O_RDWR | os.O_CREAT)
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def _held_on_windows(number: int) -> bool:
    import msvcrt

    place = os.lseek(number, 0, os.SEEK_CUR)
    os.lseek(number, FAR, os.SEEK_SET)
    try:
        msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
    except OSError:
        return False
    finally:
        os.lseek(number, place, os.SEEK_SET)
    return True
