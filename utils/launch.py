"""Several processes of one script on this machine, for several GPUs: `python -m utils.launch 4 SCRIPT OPTIONS`.

What the first process says is shown. When one fails, all end, its exit code is that of all, and its last words are
shown unless the first process says the same. Signals reach every process once.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

GRACE = 20.0  # seconds that the others have to end by themselves when one failed, and again once they are told to
POLL = 0.1
LAST_WORDS = 30  # lines
TOLD_BY_ALL = (2, 130)  # exit codes of bad input and of an interruption: every process says the same


def launch(count: int, command: Sequence[str]) -> int:
    """Runs `command` in `count` processes that find each other by torch's variables (RANK, WORLD_SIZE, ...).

    Returns:
        0, or the exit code of the process that failed first.
    """
    port = str(_free_port())
    with tempfile.TemporaryDirectory(prefix="launch_") as folder:
        logs = [Path(folder) / f"{rank}.log" for rank in range(count)]
        processes: list[subprocess.Popen] = []

        def forward(number: int, _: object) -> None:
            for process in processes:
                process.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)

        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup leaves it
            numbers.append(signal.SIGHUP)
        former = {number: signal.signal(number, forward) for number in numbers}
        try:
            for rank, log in enumerate(logs):
                processes.append(_start(command, rank, count, port, log if rank else None))
            failed = _wait(processes)
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
            for number, handler in former.items():
                signal.signal(number, handler)
        if failed is None:
            return 0
        code = processes[failed].returncode
        if failed and not (code == processes[0].returncode and code in TOLD_BY_ALL):
            words = logs[failed].read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_WORDS:]
            print("\n".join([f"process {failed} of {count} failed:", *words]), file=sys.stderr)
        return code if code > 0 else 128 - code


def _start(command: Sequence[str], rank: int, count: int, port: str, log: Path | None) -> subprocess.Popen:
    """One process, in a session of its own: a Ctrl-C in the terminal comes through this process alone."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    environment = os.environ | place | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    if log is None:
        return subprocess.Popen(command, env=environment, start_new_session=True)
    with open(log, "wb") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)


def _wait(processes: Sequence[subprocess.Popen]) -> int | None:
    """Waits for all to end; returns the number of the one that failed first, or None."""
    failed, deadline, told = None, float("inf"), False
    while True:
        codes = [process.poll() for process in processes]
        if failed is None and (bad := [rank for rank, code in enumerate(codes) if code]):
            failed, deadline = bad[0], time.monotonic() + GRACE
        running = [process for process, code in zip(processes, codes, strict=True) if code is None]
        if not running:
            return failed
        if time.monotonic() > deadline:
            for process in running:
                process.kill() if told else process.terminate()
            deadline, told = time.monotonic() + GRACE, True
        time.sleep(POLL)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


if __name__ == "__main__":
    sys.exit(launch(int(sys.argv[1]), [sys.executable, *sys.argv[2:]]))
