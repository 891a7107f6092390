"""The files of generated motions: a private folder that forgets. No name in it ever comes from a client."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from options.app import MOST_MOTIONS
from storage.file_lock import hold, open_folder

PREFIX = "remomask_app_"
EACH = {  # of every motion of a result
    "motion.bvh": "text/plain; charset=utf-8",
    "motion.glb": "model/gltf-binary",
    "joints.npy": "application/octet-stream",
    "features.npy": "application/octet-stream",
}


def numbered(name: str, number: int) -> str:
    """The name of a file of motion `number` of a result, from 0."""
    stem, _, suffix = name.partition(".")
    return f"{stem}_{number + 1}.{suffix}" if number else name


FILES = {
    "motion.mp4": "video/mp4",
    "viewer.html": "text/html; charset=utf-8",
    "picture.png": "image/png",
} | {numbered(name, number): kind for number in range(MOST_MOTIONS) for name, kind in EACH.items()}


class ResultStore:
    """Folders of results by token, in a temporary folder that only its owner can read and that goes at exit; that of a
    process which was killed goes when the next store is made.

    A token is 128 random bits: who does not know it cannot see the motion. Results leave when they are older than
    `keep_seconds`, and the oldest when there are more than `keep_results`.
    """

    def __init__(self, keep_seconds: float, keep_results: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.keep_seconds, self.keep_results, self._clock = keep_seconds, keep_results, clock
        _remove_abandoned(Path(tempfile.gettempdir()))
        while True:
            self._temporary = tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True)
            with contextlib.suppress(FileNotFoundError):
                self._held = open_folder(self.folder)
                hold(self._held)  # as long as this process lives
                if self.folder.exists():  # a store that was made at the same moment may have taken it for abandoned
                    break
        self._made: dict[str, float] = {}  # token -> time, oldest first
        self._lock = threading.Lock()

    @property
    def folder(self) -> Path:
        """The temporary folder."""
        return Path(self._temporary.name)

    def __enter__(self) -> ResultStore:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._held)  # first: Windows removes nothing that is open
        self._temporary.cleanup()

    @contextmanager
    def new(self) -> Iterator[tuple[str, Path]]:
        """A token and its empty folder, to be filled in the block; it can be read once the block has ended well."""
        token = secrets.token_urlsafe(16)
        folder = self.folder / secrets.token_hex(8)
        folder.mkdir()
        try:
            yield token, folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        folder.rename(self._place(token))
        with self._lock:
            self._made[token] = self._clock()
        self.sweep()

    def holds(self, token: str) -> bool:
        """Whether the files of a result are still there."""
        self.sweep()
        return token in self._made

    def remove(self, tokens: Collection[str]) -> None:
        """Forgets results before their time."""
        with self._lock:
            gone = [token for token in tokens if self._made.pop(token, None) is not None]
        for token in gone:
            shutil.rmtree(self._place(token), ignore_errors=True)

    def path(self, token: str, name: str) -> Path | None:
        """The file of a result that is still kept; None for everything else, whatever the two words say."""
        self.sweep()
        if name not in FILES or token not in self._made:
            return None
        path = self._place(token) / name
        return path if path.is_file() else None

    def sweep(self) -> None:
        """Removes what is too old or too much."""
        with self._lock:
            limit = self._clock() - self.keep_seconds
            surplus = len(self._made) - self.keep_results
            gone = [token for n, (token, made) in enumerate(self._made.items()) if made < limit or n < surplus]
        self.remove(gone)

    def _place(self, token: str) -> Path:
        return self.folder / f"result_{token}"


def _remove_abandoned(parent: Path) -> None:
    """Removes the folders of stores whose process was killed: nobody holds them."""
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another user's, a link, or held
            descriptor = open_folder(folder)
            try:
                hold(descriptor, wait=False)
                if os.fstat(descriptor).st_uid == getattr(os, "geteuid", int)():
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)
