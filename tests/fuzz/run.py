"""Starts workers, goes on after one that died, and adds up what they say."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

from tests.fuzz.kinds import SECONDS

SILENCE = 6 * SECONDS + 120  # after so many seconds without a word a worker hangs where no signal reaches it


def run(module: str, cases: int, seed: int = 0) -> list[dict[str, Any]]:
    """The results of a module's first `cases` cases, see `tests.fuzz.worker`.

    A worker that dies fails the case that it was at, and another one goes on behind it.
    """
    results: list[dict[str, Any]] = []
    while len(results) < cases:
        words = ["--first", str(len(results)), "--cases", str(cases - len(results)), "--seed", str(seed)]
        command = [sys.executable, "-m", "tests.fuzz.worker", module, *words]
        before = len(results)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            for line in iter(lambda: _read(process), ""):
                results.append(json.loads(line))
            code, said = process.wait(), process.stderr.read()
        if code == 0:
            break
        if len(results) == before and code > 0:
            raise RuntimeError(f"the worker of {module} does not start: {said[-2000:]}")
        died = signal.Signals(-code).name if code < 0 else f"exit code {code}: {said[-300:]}"
        problem = f"the process died ({died}) at case {len(results)} of {module}"
        told = {"kind": "died", "case": len(results), "file": "", "outcome": "failed", "problem": problem}
        results.append(told | {"seconds": 0.0, "megabytes": 0})
    return results


def _read(process: subprocess.Popen[str]) -> str:
    timer = threading.Timer(SILENCE, process.kill)
    timer.start()
    try:
        return process.stdout.readline()
    finally:
        timer.cancel()


def failures(results: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each case that went wrong."""
    return [f"{each['kind']} case {each['case']}: {each['problem']}" for each in results if each["outcome"] == "failed"]


def table(results: Sequence[dict[str, Any]]) -> str:
    """A line a kind: cases, accepted, refused, failed, the slowest and the largest one."""
    rows = ["| kind | cases | accepted | refused | failed | worst s | worst MB |", "|---|--:|--:|--:|--:|--:|--:|"]
    names = [*dict.fromkeys(sorted(each["kind"] for each in results))]
    for name in [*names, "all"]:
        own = [each for each in results if name in (each["kind"], "all")]
        counts = [sum(each["outcome"] == outcome for each in own) for outcome in ("accepted", "refused", "failed")]
        worst = f"{max(each['seconds'] for each in own):.2f} | {max(each['megabytes'] for each in own)}"
        rows.append(f"| {name} | {len(own)} | {' | '.join(map(str, counts))} | {worst} |")
    return "\n".join(rows)
