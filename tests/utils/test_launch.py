"""torchrun as users of ours see it: one line for a mistake, signals once, another try for what may pass."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from utils.slurm import adopt_slurm, first_host

ROOT = Path(__file__).parents[2]
IMPATIENT = "import sys, utils.launch as launch\nlaunch.GRACE = 1.0\nsys.exit(launch.launch(sys.argv[1:]))"


def command(folder: Path, code: str, count: int, *options: str) -> list[str]:
    """The launcher, short of patience, with `count` processes of a script that knows its `rank`."""
    path = folder / "script.py"
    path.write_text(f"import os, signal, sys, time\nrank = int(os.environ['RANK'])\n{code}")
    return [sys.executable, "-c", IMPATIENT, "--nproc_per_node", str(count), *options, str(path)]


def run(folder: Path, code: str, count: int, *options: str) -> tuple[int, str, str]:
    """Exit code, and what was said on stdout and on stderr."""
    words = command(folder, code, count, *options)
    result = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    return result.returncode, result.stdout, result.stderr


def test_processes_know_their_places(tmp_path: Path) -> None:
    names = "RANK LOCAL_RANK WORLD_SIZE MASTER_ADDR MASTER_PORT"
    code = "print('it is', rank)\n"
    code += f"open(f'{tmp_path}/{{rank}}', 'w').write(' '.join(map(os.environ.get, '{names}'.split())))"
    assert run(tmp_path, code, 3) == (0, "it is 0\n", ""), "every process talks"
    places = [(tmp_path / str(rank)).read_text().split() for rank in range(3)]
    assert [place[:4] for place in places] == [[str(rank), str(rank), "3", "127.0.0.1"] for rank in range(3)]
    assert len({place[4] for place in places}) == 1


def test_one_mistake_of_all_is_told_once_and_not_tried_again(tmp_path: Path) -> None:
    code = f"open('{tmp_path}/tries', 'a').write('x')\ntime.sleep(0.3 * rank)\n"
    code += "sys.stderr.write('error: no data\\n')\nsys.exit(2)"
    assert run(tmp_path, code, 3, "--max_restarts", "2") == (2, "", "error: no data\n")
    assert (tmp_path / "tries").read_text() == "xxx"


def test_the_cause_is_shown_beside_what_followed_from_it(tmp_path: Path) -> None:
    code = "if rank == 0:\n    time.sleep(0.6)\nsys.exit(f'{rank} broke')"
    assert run(tmp_path, code, 2) == (1, "", "0 broke\nprocess 1 of 2 failed:\n1 broke\n")


def test_one_that_fails_alone_ends_all_and_is_heard(tmp_path: Path) -> None:
    code = "if rank == 1:\n    print('my last words')\n    sys.exit(3)\n"
    code += "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)"
    started = time.monotonic()
    assert run(tmp_path, code, 2) == (3, "", "process 1 of 2 failed:\nmy last words\n")
    assert time.monotonic() - started < 30


def test_what_a_kill_ended_is_started_again(tmp_path: Path) -> None:
    code = "if rank == 1 and os.environ['TORCHELASTIC_RESTART_COUNT'] == '0':\n    os.kill(os.getpid(), 9)\n"
    code += "print(rank, 'is there')\nif os.environ['TORCHELASTIC_RESTART_COUNT'] == '0':\n    time.sleep(60)"
    code, said, complaints = run(tmp_path, code, 2, "--max_restarts", "1")
    assert code == 0 and said.endswith("0 is there\n")
    assert complaints == "process 1 of 2 failed:\n\nstarting again from the last saved state (exit code -9)\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_reaches_every_process_once(number: signal.Signals, tmp_path: Path) -> None:
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
    words = command(tmp_path, code, 2, "--max_restarts", "3")
    # Under nohup the tests themselves ignore SIGHUP, and children would inherit that.
    restore = partial(signal.signal, signal.SIGHUP, signal.SIG_DFL)
    process = subprocess.Popen(words, cwd=ROOT, start_new_session=True, preexec_fn=restore)
    try:
        for _ in range(600):
            if all((tmp_path / f"ready{rank}").exists() for rank in range(2)):
                break
            time.sleep(0.05)
        os.killpg(process.pid, number)  # as a terminal does
        assert process.wait(timeout=30) == 130
    finally:
        process.kill()
    told = signal.SIGINT if number == signal.SIGINT else signal.SIGTERM
    assert [(tmp_path / f"heard{rank}").read_text() for rank in range(2)] == [str(int(told))] * 2


def test_tasks_of_slurm_know_their_places() -> None:
    task = {"SLURM_STEP_NUM_TASKS": "32", "SLURM_PROCID": "9", "SLURM_LOCALID": "1", "SLURM_STEP_NODELIST": "gpu[3-6]"}
    told = dict(task)
    adopt_slurm(told)
    assert (told["RANK"], told["WORLD_SIZE"], told["LOCAL_RANK"], told["MASTER_ADDR"]) == ("9", "32", "1", "gpu3")
    assert 20_000 <= int(told["MASTER_PORT"]) < 30_000
    for others in ({"RANK": "0"}, {"SLURM_STEP_NUM_TASKS": "1"}):  # torchrun in a task; the only task
        told = task | others
        adopt_slurm(told)
        assert told == task | others
    batch_script = {"SLURM_PROCID": "0", "SLURM_NTASKS": "32"}
    adopt_slurm(batch_script)
    assert "RANK" not in batch_script


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("gpu[03-05,9],x1", "gpu03"), ("a,b", "a"), ("one", "one"), ("r1-[7,9]-n", "r1-7-n"), ("a1,b[2-3]", "a1")],
)
def test_first_host(nodes: str, first: str) -> None:
    assert first_host(nodes) == first
