"""What a library costs as it grows: `python -m benchmarks.retrieval --rows 1000 10000 100000 1000000 [--width 512]`.

Synthetic motions of one caption each, with parts and base tokens, are written to a folder, opened in a process of its
own and searched: alone, 64 queries at once, with takes left out. What is found is compared with all similarities.
Times are the best of some, a query, on the clock and (in brackets) of the processor: other programs may be busy.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as functional

from models.rag.database import Embedded, Entry, RAGDatabase
from models.rag.entries import Entries
from models.rag.writing import write

FACTS = {
    "retriever": {"name": "tmr", "hash": "synthetic"},
    "dataset": "humanml3d",
    "tokenizer": {"name": "vq", "hash": "synthetic"},
}
PARTS, STEPS, TOP, TOGETHER = 6, 49, 10, 64
PART_WIDTH = {128: 96, 512: 512}  # of the mini retriever, and of the paper's
AT_ONCE = 1 << 14
REPEATS = 7
COMPARED = 4  # queries that are compared with all similarities, one after the other
WORDS = [
    "a",
    "person",
    "walks",
    "turns",
    "left",
    "right",
    "jumps",
    "kicks",
    "waves",
    "slowly",
    "quickly",
    "forward",
    "then",
    "sits",
    "down",
    "and",
    "up",
]


class Rows:
    """Random unit vectors that lie like those of the shipped retriever: a quarter of their squared length is common to
    all, the rest in axes of which each sixteenth of the width has 1 / e of the one before; or in no direction more than
    in any other, the worst case.

    Args:
        width: D.
        even: no direction more than another.
    """

    def __init__(self, width: int, even: bool) -> None:
        generator = torch.Generator().manual_seed(1)
        self.axes, _ = torch.linalg.qr(torch.randn(width, width, generator=generator))
        spread = torch.exp(-torch.arange(width) / (width / 16) / 2)
        self.spread = torch.ones(width) if even else spread / spread.norm()
        self.common = 0.0 if even else 1 / 3**0.5
        self.generator = torch.Generator().manual_seed(0)

    def draw(self, count: int) -> torch.Tensor:
        """(count, D)."""
        rows = torch.randn(count, len(self.spread), generator=self.generator) * self.spread
        rows[:, -1] += self.common
        return functional.normalize(rows @ self.axes, dim=-1)


def motions(count: int) -> Iterator[Entry]:
    """Motions of two a take and of one caption."""
    rng = np.random.default_rng(0)
    for start in range(0, count, AT_ONCE):
        words = rng.integers(0, len(WORDS), (min(AT_ONCE, count - start), 10)).tolist()
        for number, chosen in enumerate(words, start=start):
            yield Entry(f"{number:08d}", f"take{number // 2:08d}", (" ".join(WORDS[word] for word in chosen),))


def make(folder: Path, count: int, width: int, even: bool) -> None:
    """Writes a library."""
    draw, entries = Rows(width, even).draw, Entries.of(motions(count))
    parts = torch.randn(AT_ONCE, PARTS, PART_WIDTH.get(width, width)).half()
    tokens = torch.randint(0, 256, (AT_ONCE, STEPS, PARTS), dtype=torch.int16)

    def blocks() -> Iterator[Embedded]:
        for start in range(0, count, AT_ONCE):
            n = min(AT_ONCE, count - start)
            block = tuple(Entry("", "", ("",)) for _ in range(n))
            steps = torch.full((n,), STEPS, dtype=torch.int16)
            yield Embedded(block, draw(n), draw(n), parts[:n], tokens[:n], steps)

    write(folder, FACTS, entries, blocks())


def memory() -> tuple[float, float]:
    """Megabytes of this process: its own, and pages of files, which the system takes back when it needs them."""
    told = Path("/proc/self/status").read_text()
    value = {line.split(":")[0]: line.split()[1] for line in told.splitlines() if line.startswith("Rss")}
    return int(value["RssAnon"]) / 1024, int(value["RssFile"]) / 1024


def best(job: Callable[[], object], queries: int = 1) -> str:
    """The best of some calls, milliseconds a query on the clock and of the processor."""
    clock, processor = [], []
    for _ in range(REPEATS):
        started, used = time.perf_counter(), time.process_time()
        job()
        clock.append(time.perf_counter() - started)
        processor.append(time.process_time() - used)
    return f"{1000 * min(clock) / queries:.2f} ({1000 * min(processor) / queries:.2f}) ms"


def ask(folder: Path, width: int, even: bool) -> dict[str, str]:
    """Opens a library and searches it."""
    before = memory()
    started = time.perf_counter()
    library = RAGDatabase.load(folder, "synthetic")
    figures = {"opened in": f"{time.perf_counter() - started:.2f} s", "memory": grown(before)}
    rows = Rows(width, even)
    rows.generator.manual_seed(2)
    queries = rows.draw(TOGETHER)
    started = time.perf_counter()
    library.search(queries[:1], TOP)
    figures["first search"] = f"{1000 * (time.perf_counter() - started):.0f} ms"
    for by in ("both", "motion", "text"):
        library.search(queries[:1], TOP, by=by)
        figures[f"alone, by {by}"] = best(lambda by=by: library.search(queries[:1], TOP, by=by))
    found = library.search(queries, TOP)
    figures["in 64"] = best(lambda: library.search(queries, TOP), TOGETHER)
    takes = [library.entries[row].take for row in found.indices[:, 0].tolist()]
    figures["in 64, best takes left out"] = best(lambda: library.search(queries, TOP, takes), TOGETHER)
    figures["gather of 10"] = best(lambda: library.gather(found.indices[:1]))
    figures["memory then"] = grown(before)
    read = library.rows("both").read
    starts = range(0, len(library), AT_ONCE)
    scores = torch.cat([read(slice(start, start + AT_ONCE)) @ queries[:COMPARED].T for start in starts]).T.topk(TOP)
    equal = (scores.values - found.scores[:COMPARED]).abs().max() < 1e-6
    figures["as all similarities say"] = "yes" if equal else "NO"
    return figures


def grown(before: tuple[float, float]) -> str:
    """What memory has grown by."""
    own, mapped = (now - then for now, then in zip(memory(), before, strict=True))
    return f"{own:.0f} MB own, {mapped:.0f} MB of files"


def main() -> None:
    """One row of the table a size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--even", action="store_true", help="rows without any structure: the worst case")
    parser.add_argument("--folder", help="where the libraries are written; none: a temporary folder")
    parser.add_argument("--ask", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        print(json.dumps(ask(Path(options.folder), options.width, options.even)))
        return
    print(f"{options.width} wide, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}")
    for count in options.rows:
        with tempfile.TemporaryDirectory(dir=options.folder) as place:
            folder = Path(place) / "library"
            started = time.perf_counter()
            make(folder, count, options.width, options.even)
            built = time.perf_counter() - started
            size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
            command = [sys.executable, "-m", "benchmarks.library_size", "--ask", "--folder", str(folder)]
            command += ["--width", str(options.width), *(["--even"] if options.even else [])]
            figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{count:,} rows: {size:,.0f} MB written in {built:.1f} s, the process took {peak:,.0f} MB at most")
        print("".join(f"    {name}: {value}\n" for name, value in figures.items()), end="", flush=True)


if __name__ == "__main__":
    main()
