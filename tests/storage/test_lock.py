"""One process at a time writes a folder: who holds it is told, and who is gone is found out."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.train import alone
from storage import lock
from storage.lock import LOCK, SILENCE, FolderLock
from storage.owner import MACHINE, birth
from utils.errors import UserError

ROOT = Path(__file__).parents[2]
HOLD = (
    "import sys, time; from storage.lock import FolderLock; FolderLock(sys.argv[1]).__enter__(); print(1, flush=True)"
)


@contextmanager
def another_process(folder: Path) -> Iterator[subprocess.Popen]:
    """A process that holds the lock of a folder, and does nothing."""
    command = [sys.executable, "-c", f"{HOLD}; time.sleep(60)", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.kill()


def held(folder: Path, age: float = 0.0, **other: Any) -> Path:
    """A lock as another process leaves it."""
    path = folder / LOCK
    known = {"process": 4321, "host": "node7", "since": "2026-01-02 03:04:05", "machine": "0" * 8, "birth": "1"}
    path.write_text(json.dumps(known | other))
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_a_second_process_is_refused_and_a_dead_one_makes_room(tmp_path: Path) -> None:
    with another_process(tmp_path) as process:
        words = rf"{tmp_path} is in use by process {process.pid} on {re.escape(socket.gethostname())} \(since 20.*name$"
        with pytest.raises(UserError, match=words), FolderLock(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
        while birth(process.pid) is not None:  # a zombie is gone too
            time.sleep(0.01)
        with FolderLock(tmp_path) as mine:
            assert f"process {process.pid} on" in mine.remark and "taken over" in mine.remark
            with pytest.raises(UserError, match=f"in use by process {os.getpid()} "), FolderLock(tmp_path):
                pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("other", "age"),
    [
        ({}, SILENCE + 5),
        ({"machine": MACHINE, "process": os.getpid(), "birth": "another one's"}, 0.0),
        ({"machine": MACHINE, "process": 2**22 + 5}, 0.0),
    ],
)
def test_a_holder_that_is_gone(other: dict[str, Any], age: float, tmp_path: Path) -> None:
    held(tmp_path, age, **other)
    with FolderLock(tmp_path) as mine:
        assert "on node7 (since 2026-01-02 03:04:05) left" in mine.remark


def test_another_machine_that_is_silent_for_a_short_time_is_waited_for(tmp_path: Path) -> None:
    path = held(tmp_path, SILENCE - 120)
    with pytest.raises(UserError, match=r"its lock ends in 2 min; .*lock.json can be removed before"):
        FolderLock(tmp_path).__enter__()
    assert path.exists()


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff\x00", b"[" * 100_000, b'{"process": "x"}'])
def test_a_damaged_lock_is_in_nobodys_way(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / LOCK).write_bytes(content)
    os.utime(tmp_path / LOCK, (time.time() - SILENCE - 60,) * 2)
    with FolderLock(tmp_path) as mine:
        assert mine.remark
    (tmp_path / LOCK).write_bytes(content)
    monkeypatch.setattr(lock, "ATTEMPTS", 2)
    with pytest.raises(UserError):  # somebody may be writing it now
        FolderLock(tmp_path).__enter__()


def test_an_elastic_launcher_moves_the_first_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held(tmp_path, job="train7")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "train8")
    with pytest.raises(UserError, match="in use by process 4321 on node7"):
        FolderLock(tmp_path).__enter__()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "train7")
    with FolderLock(tmp_path) as mine:
        assert "process 4321 on node7" in mine.remark


def test_who_lost_the_lock_stops_before_the_next_write(tmp_path: Path) -> None:
    with FolderLock(tmp_path) as mine:
        mine.check()
        (tmp_path / LOCK).unlink()
        mine.check()
        assert (tmp_path / LOCK).exists(), "what was removed by hand is made again"
        held(tmp_path)
        with pytest.raises(UserError, match=r"process 4321 on node7 \(since .*\) has taken over"):
            mine.check()
    assert (tmp_path / LOCK).exists(), "the other's lock stays"


def test_a_holder_shows_that_it_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT", 0.01)
    with FolderLock(tmp_path):
        os.utime(tmp_path / LOCK, (0, 0))
        deadline = time.monotonic() + 10
        while (tmp_path / LOCK).stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (tmp_path / LOCK).stat().st_mtime > 0


def test_a_training_has_its_folder_alone_and_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, gone = tmp_path / "logs" / "run", "4194309-" + MACHINE
    (run / "model").mkdir(parents=True)
    for name in (f"model/.latest.{gone}.tar", "model/.latest.77.tar", f".config.{gone}.json", "model/latest.tar"):
        (run / name).touch()
    with alone(run) as guard:
        guard()
        assert sorted(str(path.relative_to(run)) for path in run.rglob("*.*")) == [LOCK, "model/latest.tar"]
        with pytest.raises(UserError, match="is in use by process"), alone(run):
            pass
        monkeypatch.setenv("RANK", "1")
        with alone(run) as other:
            other()
        monkeypatch.delenv("RANK")
    with pytest.raises(UserError, match="refused"), alone(tmp_path / "new" / "run"):
        raise UserError("refused")
    assert not (tmp_path / "new").exists(), "a training that was refused leaves nothing"
