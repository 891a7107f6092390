"""Several processes of one script: they know their places, fail together and get every signal once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from utils import launch as launching
from utils.launch import launch

ROOT = Path(__file__).parents[2]


def script(folder: Path, code: str) -> list[str]:
    path = folder / "script.py"
    path.write_text(f"import os, signal, sys, time\nrank = int(os.environ['RANK'])\n{code}")
    return [sys.executable, str(path)]


def test_processes_know_their_places(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    names = "RANK LOCAL_RANK WORLD_SIZE MASTER_ADDR MASTER_PORT"
    code = "print('it is', rank)\n"
    code += f"open(f'{tmp_path}/{{rank}}', 'w').write(' '.join(map(os.environ.get, '{names}'.split())))"
    assert launch(3, script(tmp_path, code)) == 0
    assert capfd.readouterr().out == "it is 0\n", "every process talks"
    places = [(tmp_path / str(rank)).read_text().split() for rank in range(3)]
    assert [place[:4] for place in places] == [[str(rank), str(rank), "3", "127.0.0.1"] for rank in range(3)]
    assert len({place[4] for place in places}) == 1


def test_one_mistake_of_all_is_told_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert launch(3, script(tmp_path, "sys.stderr.write('error: no data\\n')\nsys.exit(2)")) == 2
    assert capfd.readouterr().err == "error: no data\n"


def test_the_cause_is_shown_beside_what_followed_from_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = "if rank == 0:\n    time.sleep(1)\nsys.exit(f'{rank} broke')"
    assert launch(2, script(tmp_path, code)) == 1
    assert capfd.readouterr().err == "0 broke\nprocess 1 of 2 failed:\n1 broke\n"


@pytest.mark.parametrize("deaf", [False, True])
def test_one_that_fails_alone_ends_all_and_is_heard(
    deaf: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "GRACE", 1.0)
    code = "if rank == 1:\n    print('my last words')\n    sys.exit(3)\n"
    code += f"signal.signal(signal.SIGTERM, {'signal.SIG_IGN' if deaf else 'signal.SIG_DFL'})\ntime.sleep(60)"
    started = time.monotonic()
    assert launch(2, script(tmp_path, code)) == 3
    assert time.monotonic() - started < 20
    assert "process 1 of 2 failed:\nmy last words" in capfd.readouterr().err


@pytest.mark.parametrize(
    "number, expected",
    [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGTERM), (signal.SIGHUP, signal.SIGTERM)],
)
def test_a_signal_reaches_every_process_once(number: signal.Signals, expected: signal.Signals, tmp_path: Path) -> None:
    code = f"""
heard = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: heard.append(number))
open('{tmp_path}/ready' + str(rank), 'w').close()
while not heard:
    time.sleep(0.05)
time.sleep(0.3)
open('{tmp_path}/heard' + str(rank), 'w').write(' '.join(map(str, heard)))
sys.exit(130)
"""
    command = [sys.executable, "-m", "utils.launch", "2", script(tmp_path, code)[1]]
    # Under nohup the tests themselves ignore SIGHUP, and children would inherit that.
    restore = partial(signal.signal, signal.SIGHUP, signal.SIG_DFL)
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, preexec_fn=restore)
    try:
        for _ in range(600):
            if all((tmp_path / f"ready{rank}").exists() for rank in range(2)):
                break
            time.sleep(0.05)
        os.killpg(process.pid, number)  # as a terminal does
        assert process.wait(timeout=30) == 130
    finally:
        process.kill()
    assert [(tmp_path / f"heard{rank}").read_text() for rank in range(2)] == [str(int(expected))] * 2
