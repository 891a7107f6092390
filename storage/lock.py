"""One process at a time writes a folder; reading is never hindered. Torch-free."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from storage.owner import MACHINE, birth
from utils.errors import UserError

LOCK = "lock.json"
BEAT = 60.0  # seconds between two signs of life
SILENCE = 600.0  # without a sign for so long a holder on another machine is gone
MOMENT = 5.0  # within which a new lock has its content
ATTEMPTS = 100


class FolderLock:
    """A file that names who holds it, made only where there is none: that works on any disk, shared ones too.

    A holder that is gone is known at once on its own machine, elsewhere by its silence: it touches the file every
    minute. A worker that an elastic launcher replaces on another machine takes over from its predecessor.

    Attributes:
        remark: a line about a former holder that was found gone; "" if there was none.
    """

    def __init__(self, folder: Path | str) -> None:
        self.path, self.remark = Path(folder) / LOCK, ""
        self._content = b""
        self._end = threading.Event()

    def __enter__(self) -> FolderLock:
        """Takes the lock.

        Raises:
            UserError: another process holds it (number, machine and since when are told), or the folder cannot be
                written.
        """
        job = os.environ.get("TORCHELASTIC_RUN_ID", "none")
        mine = {"process": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        mine |= {"machine": MACHINE, "birth": birth(os.getpid()), "job": None if job == "none" else job}
        self._content = json.dumps(mine).encode()
        for _ in range(ATTEMPTS):
            if self._make():
                threading.Thread(target=self._beat, daemon=True).start()
                return self
            self._clear(mine)
        raise UserError(f"{self.path} cannot be had: other processes start here at the same time")

    def __exit__(self, *_: object) -> None:
        self._end.set()
        with contextlib.suppress(OSError, UserError):
            if self._read() == self._content:
                self.path.unlink()

    def check(self) -> None:
        """To be called before a write.

        Raises:
            UserError: another process has taken the lock, as it may after a silence of minutes; it is named.
        """
        found = self._read()
        if found is None:
            self._make()  # somebody removed it by hand
        elif found != self._content:
            raise UserError(f"{_told(_parsed(found))} has taken over {self.path.parent}: this process stops")

    def _make(self) -> bool:
        try:
            with open(self.path, "xb", buffering=0) as file:
                try:
                    file.write(self._content)
                except OSError:
                    self.path.unlink()
                    raise
        except FileExistsError:
            return False
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror}") from error
        return True

    def _clear(self, mine: dict[str, Any]) -> None:
        """Takes away a lock whose holder is gone; returns without a remark where it went by itself.

        Raises:
            UserError: the holder lives.
        """
        found = self._read()
        try:
            silent = self._now() - self.path.stat().st_mtime
        except FileNotFoundError:
            return
        holder = _parsed(found)
        if not holder and silent < MOMENT:
            time.sleep(0.1)  # it is being written
            return
        if holder.get("machine") == MACHINE and isinstance(holder.get("process"), int):
            gone = birth(holder["process"]) != holder.get("birth")
        else:
            gone = not holder or silent > SILENCE
        if not gone and (holder.get("job") is None or holder.get("job") != mine["job"]):
            remedy = "wait for it, stop it, or use another --name"
            if holder.get("machine") != MACHINE:
                left = max(1, round((SILENCE - silent) / 60))
                remedy += f" (if it is gone, its lock ends in {left} min; {self.path} can be removed before)"
            raise UserError(f"{self.path.parent} is in use by {_told(holder)}: {remedy}")
        aside = self.path.with_name(f".{LOCK}.{os.getpid()}-{MACHINE}")
        with contextlib.suppress(FileNotFoundError):  # another process was quicker
            os.replace(self.path, aside)
            if aside.read_bytes() != found:  # and holds it already
                with contextlib.suppress(OSError):
                    os.link(aside, self.path)
            else:
                self.remark = f"{_told(holder)} left {self.path.parent} without a word: its lock is taken over"
            aside.unlink()

    def _now(self) -> float:
        """By the clock that the file's times are of, which is the disk's."""
        with tempfile.TemporaryFile(dir=self.path.parent) as file:
            return os.fstat(file.fileno()).st_mtime

    def _read(self) -> bytes | None:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"cannot read {self.path}: {error.strerror}") from error

    def _beat(self) -> None:
        while not self._end.wait(BEAT):
            with contextlib.suppress(OSError, UserError):
                if self._read() == self._content:
                    os.utime(self.path)


def _parsed(content: bytes | None) -> dict[str, Any]:
    """What a lock says; nothing where it is unfinished or damaged."""
    try:
        holder = json.loads(content or b"")
    except (ValueError, RecursionError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _told(holder: dict[str, Any]) -> str:
    if not holder:
        return "an unknown process"
    number, host, since = (str(holder.get(name))[:60] for name in ("process", "host", "since"))
    return f"process {number} on {host} (since {since})"
