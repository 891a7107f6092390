"""Locks of open files, and Windows' way to them with a stand-in for what only Windows has."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from storage import file_lock
from storage.file_lock import hold

ROOT = Path(__file__).parents[2]
WINDOWS = """
import os, signal, sys
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for name in ("SIGHUP", "SIGUSR1"):
    delattr(signal, name)
for name in ("geteuid", "sched_getaffinity", "O_DIRECTORY", "O_NOFOLLOW"):
    delattr(os, name)
"""


class Msvcrt(types.ModuleType):
    """As far as it is used: one holder of a byte at the file's place."""

    LK_NBLCK = 2

    def __init__(self) -> None:
        super().__init__("msvcrt")
        self.held: dict[tuple[int, int], int] = {}

    def locking(self, number: int, mode: int, count: int) -> None:
        assert (mode, count) == (self.LK_NBLCK, 1)
        place = os.fstat(number).st_ino, os.lseek(number, 0, os.SEEK_CUR)
        if self.held.setdefault(place, number) != number:
            raise OSError("another process has the byte")


@pytest.mark.parametrize("system", ["posix", "windows"])
def test_one_holder_at_a_time_and_the_content_stays_readable(
    system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if system == "windows":
        monkeypatch.setattr(file_lock, "fcntl", None)
        monkeypatch.setitem(sys.modules, "msvcrt", Msvcrt())
    path = tmp_path / "lock"
    path.write_bytes(b"content")
    with open(path, "r+b") as one, open(path, "r+b") as other:
        one.seek(3)
        hold(one)
        hold(one)
        assert one.read() == b"tent" and path.read_bytes() == b"content"
        with pytest.raises(BlockingIOError):
            hold(other, wait=False)


def test_a_motion_is_made_and_saved_without_what_windows_lacks(tmp_path: Path) -> None:
    """The modules that POSIX alone has, its signals and its calls are taken away; nothing else of Windows is tried."""
    code = f"""{WINDOWS}
sys.path.insert(0, {str(ROOT)!r})
sys.argv = ["demo.py", "--text_prompt", "a person waves", "--formats", "bvh", "npy", "--compare"]
import storage.file_lock
assert storage.file_lock.fcntl is None
storage.file_lock._held_on_windows = lambda number: True
import demo, torch
import data.prepare.run, engine.harness, engine.progress, pipeline.train
from engine.interruption import Interruption
from pipeline.app.results import ResultStore
demo.main()
with Interruption(1, torch.device("cpu")).watched(), ResultStore(60, 2) as store:
    assert store.folder.exists()
assert not store.folder.exists()
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "outputs/demo").glob("*/motion.bvh"))) == 1
