"""Trainings on two nodes: two launchers on this machine that meet each other, and what happens to them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from storage.checkpoint import read_checkpoint
from tests.engine.test_harness import SETTINGS, same_state

ROOT = Path(__file__).parents[2]
# What this process is told to do apart from the other: "NODE STEP ACTION", e.g. "1 6 kill", or other data or settings.
TRAINING = """
import os, signal, sys, time
from dataclasses import replace
from pathlib import Path
from tests.engine.test_harness import SETTINGS, Fit, Harness, Points
from utils.errors import run_script
folder, trouble = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""
first_try = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and not (folder / "model").exists()
(folder / f"pid_{os.getpid()}").touch()
task, data, settings = Fit(), Points(), SETTINGS
def in_step(step):
    if trouble == "kill" and step == 6 and first_try:
        os.kill(os.getpid(), signal.SIGKILL)
    if trouble == "wait" and step == 6 and first_try:
        (folder / "waiting").touch()
        time.sleep(300)
    if trouble == "stop" and step == 6 and first_try:
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(1)
task.in_step = in_step
if trouble == "fewer":
    data, settings = Points(21), replace(SETTINGS, lr=2 * SETTINGS.lr)
if trouble == "content":
    Points.digest = lambda self: "b"
elif trouble == "same":
    Points.digest = lambda self: "a"
run_script(lambda: Harness(folder, task, data, Points(9), settings, device="cpu").fit())
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def meet(port: int) -> int:
    """The port, once the first node is there: the others are to find it."""
    while True:
        with socket.socket() as caller:
            if caller.connect_ex(("127.0.0.1", port)) == 0:
                return port
        time.sleep(0.1)


def agent(folder: Path, port: int, *arguments: str, max_restarts: int = 2) -> subprocess.Popen[str]:
    """A node's launcher with one process."""
    script = folder.parent / "script.py"
    script.write_text(TRAINING)
    meeting = f"--nnodes 2 --nproc_per_node 1 --rdzv_backend c10d --rdzv_endpoint 127.0.0.1:{port} --rdzv_id {port}"
    meeting += " --local_addr 127.0.0.1 --rdzv_conf keep_alive_interval=1,keep_alive_max_attempt=2"
    words = [sys.executable, "-m", "utils.launch", *meeting.split(), "--max_restarts", str(max_restarts)]
    return subprocess.Popen(
        [*words, str(script), str(folder), *arguments],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(*agents: subprocess.Popen[str]) -> list[tuple[int, str]]:
    """Exit code and complaints of each."""
    try:
        said = [each.communicate(timeout=180)[1] for each in agents]
    finally:
        for each in agents:
            each.kill()
    return [(each.returncode, words) for each, words in zip(agents, said, strict=True)]


def two(folder: Path, first: str = "", second: str = "") -> list[tuple[int, str]]:
    """Two nodes, each with its trouble."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    one = agent(folder, port, first)
    return ended(one, agent(folder, meet(port), second))


def refusals(result: list[tuple[int, str]]) -> list[str]:
    """The one line that each node says."""
    assert [code for code, _ in result] == [2, 2], result
    for _, words in result:
        assert words.startswith("error: ") and words.count("\n") == 1, words
    return [words for _, words in result]


@pytest.mark.slow
def test_a_killed_process_is_started_again_and_the_end_is_the_same(tmp_path: Path) -> None:
    assert [code for code, _ in two(tmp_path / "whole")] == [0, 0]
    killed = two(tmp_path / "killed", second="kill")
    assert [code for code, _ in killed] == [0, 0], killed
    assert len(list((tmp_path / "killed").glob("pid_*"))) == 4
    for name in ("latest.tar", "net_best_mse.tar"):
        one, other = (read_checkpoint(tmp_path / run / "model" / name) for run in ("whole", "killed"))
        assert same_state(one["model"], other["model"]) and one["step"] == other["step"]


@pytest.mark.slow
def test_nodes_that_differ_are_refused_in_one_line_each(tmp_path: Path) -> None:
    for line in refusals(two(tmp_path / "run", second="fewer")):
        assert "the number of training samples is 22 in process 0 (" in line or " is 21 in process 0 (" in line
        assert f"train.lr is {SETTINGS.lr} in process" in line or f"train.lr is {2 * SETTINGS.lr} in process" in line
        assert "in process 1 (" in line and not (tmp_path / "run" / "model").exists()


def same_end(folder: Path, others: Path) -> None:
    """Both trainings came to the same weights."""
    one, other = (read_checkpoint(each / "model" / "latest.tar") for each in (folder, others))
    assert one["step"] == other["step"] == 15 and same_state(one["model"], other["model"])


def replaced_agent(folder: Path) -> list[tuple[int, str]]:
    """Two nodes, of which the second is lost in the middle of a step, and another one takes its place."""
    folder.mkdir()
    port = free_port()
    first = agent(folder, port)
    lost = agent(folder, meet(port), "wait")
    while not (folder / "waiting").exists():
        assert first.poll() is None and lost.poll() is None
    lost.send_signal(signal.SIGKILL)
    lost.communicate(timeout=60)
    return ended(first, agent(folder, port))
