"""How the benchmarks take times and show numbers."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterable, Sequence


def spent(job: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock and of the processor, that of processes which ended within included, of one call."""
    clock, before = time.perf_counter(), _processor()
    job()
    return time.perf_counter() - clock, _processor() - before


def _processor() -> float:
    return time.process_time() + sum(os.times()[2:4])


def median_seconds(job: Callable[[], object], repeats: int) -> float:
    """Median time of calls that end with their result on the CPU, after one that warms up."""
    job()
    return statistics.median(spent(job)[0] for _ in range(repeats))


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
