"""Runs a script of ours and writes what its start cost: `python -m benchmarks.start_probe RESULT SCRIPT ARGUMENTS`.

A script ends in `.py`, or is the name of a module. The start ends with the first batch that is asked for; of what
follows, the time that training waits for its loader is told apart from the time of its steps.
"""

from __future__ import annotations

import os
import resource
import runpy
import sys
import time
from collections.abc import Iterator
from typing import Any

from engine.loading import DeviceLoader
from storage.files import write_json

STARTS_ONLY = "REMOMASK_STARTS_ONLY"  # set: the script ends when a second loader is asked for a batch


def processor_seconds() -> float:
    """Of this process and those that it has ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def main() -> None:
    """Watches the loaders, runs the script, writes the figures however it ends."""
    path, script, *arguments = sys.argv[1:]
    batches_of = DeviceLoader.__iter__
    loaders: list[dict[str, float]] = []
    ready: dict[str, float] = {}

    def watched(loader: DeviceLoader) -> Iterator[Any]:
        if loaders and os.environ.get(STARTS_ONLY):
            raise SystemExit(0)  # the second loader is that of validation
        if not ready:
            ready.update(time=time.time(), processor=processor_seconds())
        spent = {"batches": 0, "waiting": 0.0, "working": 0.0}
        loaders.append(spent)
        asked = time.perf_counter()
        for batch in batches_of(loader):
            given = time.perf_counter()
            spent["waiting"] += given - asked
            spent["batches"] += 1
            yield batch
            asked = time.perf_counter()
            spent["working"] += asked - given

    DeviceLoader.__iter__ = watched
    sys.argv = [script, *arguments]
    try:
        run = runpy.run_path if script.endswith(".py") else runpy.run_module
        run(script, run_name="__main__")
    finally:
        peaks = [resource.getrusage(who).ru_maxrss / 1e6 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        write_json(path, {"ready": ready, "loaders": loaders, "processor": processor_seconds(), "peak_gb": max(peaks)})


if __name__ == "__main__":
    main()
