"""What a library costs as it grows: synthetic motions of one caption each, written, opened in a process of its own, and
searched: with its files not in memory, alone, 64 queries at once, and through an index. What is found is compared with
all similarities.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as functional

from benchmarks.curves import Cost, in_own_process, median_cost, memory
from benchmarks.figures import spent
from models.rag.captions import SENTENCE_SPACE, as_bytes
from models.rag.database import Embedded, Entry, RAGDatabase
from models.rag.entries import ARRAYS, WHOLE, Entries
from models.rag.queries import Queries
from models.rag.scoring import DEFAULT
from models.rag.writing import write

FACTS = {
    "retriever": {"name": "tmr", "hash": "synthetic"},
    "dataset": "humanml3d",
    "tokenizer": {"name": "vq", "hash": "synthetic"},
}
THEORY = {
    "writing, s": 1.0,
    "opening, s": 1.0,
    "opening and one query of cold files, s": 1.0,
    "one query, s": 1.0,
    "64 queries, s": 1.0,
    "index, building, s": 1.5,
    "index, one query, s": 1.0,
    "index, 64 queries, s": 1.0,
    "files, MB": 1.0,
    "own memory, MB": 1.0,
}
PARTS, STEPS, TOP, TOGETHER = 6, 49, 10, 64
SENTENCE_WIDTH, APART = 384, 0.35  # of MiniLM; how far a caption of such a library lies from its motion
PART_WIDTH = {128: 96, 512: 512}  # of the mini retriever, and of the paper's
COMPLETE_ROWS = 1_000_000  # larger libraries have neither parts nor tokens, which are most of the bytes
FEWEST_INDEXED, MOST_INDEXED = 10_000, 1_000_000
AT_ONCE = 1 << 14
REPEATS = 7
COMPARED = 4  # queries that are compared with all similarities, one after the other
WORDS = ["a", "person", "walks", "turns", "left", "right", "jumps", "kicks", "waves", "slowly", "then", "sits", "up"]
DIGITS = 8


class Rows:
    """Random unit vectors that lie like those of the shipped retriever: a quarter of their squared length is common to
    all, the rest in axes of which each sixteenth of the width has 1 / e of the one before; or in no direction more than
    in any other, the worst case.

    Args:
        width: D.
        even: no direction more than another.
        seed: of the rows, not of their directions.
    """

    def __init__(self, width: int, even: bool, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(1)
        self.axes, _ = torch.linalg.qr(torch.randn(width, width, generator=generator))
        spread = torch.exp(-torch.arange(width) / (width / 16) / 2)
        self.spread = torch.ones(width) if even else spread / spread.norm()
        self.common = 0.0 if even else 1 / 3**0.5
        self.generator = torch.Generator().manual_seed(seed)

    def draw(self, count: int) -> torch.Tensor:
        """(count, D)."""
        rows = torch.randn(count, len(self.spread), generator=self.generator) * self.spread
        rows[:, -1] += self.common
        return functional.normalize(rows @ self.axes, dim=-1)


def motions(count: int) -> Entries:
    """Motions of two a take and of one caption, made as arrays: so many objects would take longer than the library."""
    words = np.random.default_rng(0).integers(0, len(WORDS), (AT_ONCE, 10)).tolist()
    texts = [" ".join(WORDS[word] for word in chosen).encode() for chosen in words]
    chosen = np.arange(count) % AT_ONCE
    captions = b"".join(texts) * (count // AT_ONCE) + b"".join(texts[: count % AT_ONCE])
    letters = {"id": _numbers(count), "take": _numbers(-(-count // 2)), "caption": np.frombuffer(captions, np.uint8)}
    ends = {name: DIGITS * np.arange(1, len(letters[name]) // DIGITS + 1) for name in ("id", "take")}
    ends["caption"] = np.array([*map(len, texts)])[chosen].cumsum()
    arrays = {f"{name}_bytes": value for name, value in letters.items()}
    arrays |= {f"{name}_ends": value for name, value in ends.items()}
    arrays |= {"take": np.arange(count) // 2, "frames": np.full((count, 2), WHOLE)}
    return Entries(
        {name: arrays[name].astype(kind, copy=False) for name, kind in ARRAYS.items()}, np.arange(count, dtype=np.int32)
    )


def _numbers(count: int) -> np.ndarray:
    """The letters of 00000000, 00000001, ..."""
    return (np.arange(count)[:, None] // 10 ** np.arange(DIGITS - 1, -1, -1) % 10 + ord("0")).astype(np.uint8).ravel()


def make(folder: Path, count: int, width: int, even: bool, sentences: bool = False) -> None:
    """Writes a library; with sentence vectors its captions lie near their motions, so that most motions are known."""
    draw, complete = Rows(width, even).draw, count <= COMPLETE_ROWS and not sentences
    meaning = Rows(SENTENCE_WIDTH, even, seed=3).draw
    parts = torch.randn(AT_ONCE, PARTS, PART_WIDTH.get(width, width) if complete else 1).half()
    tokens = torch.randint(0, 256, (AT_ONCE, STEPS, PARTS, 1), dtype=torch.int16)

    def blocks() -> Iterator[Embedded]:
        for start in range(0, count, AT_ONCE):
            n = min(AT_ONCE, count - start)
            coded = (tokens[:n], torch.full((n,), STEPS, dtype=torch.int16)) if complete else ()
            motion, text = draw(n), draw(n)
            if sentences:
                text, coded = functional.normalize(motion + APART * text, dim=-1), (None, None, as_bytes(meaning(n)))
            yield Embedded((Entry("", "", ("",)),) * n, text, motion, parts[:n], *coded)

    facts = FACTS if complete else {name: value for name, value in FACTS.items() if name != "tokenizer"}
    if sentences:
        facts = facts | {"sentences": SENTENCE_SPACE, "score": DEFAULT.to_dict()}
    write(folder, facts, motions(count), blocks())


def measure(folder: Path, count: int, width: int, even: bool, index: str, sentences: bool = False) -> dict[str, Cost]:
    """The costs of a library, which is written into a folder that is not there yet.

    Args:
        index: kind of the index that is built and searched too; `none`: none.
        sentences: the library has sentence vectors, and so have the queries.
    """
    clock, processor = spent(lambda: make(folder, count, width, even, sentences))
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    costs = {"writing, s": Cost(processor, clock), "files, MB": Cost(size)}
    queries = Queries(Rows(width, even, seed=2).draw(TOGETHER))
    if sentences:
        meaning = Rows(SENTENCE_WIDTH, even, seed=4).draw(TOGETHER)
        queries = replace(queries, texts=["nobody said so"] * TOGETHER, sentences=meaning)
    costs |= in_own_process(_cold, folder, queries)
    kind = index if FEWEST_INDEXED <= count <= MOST_INDEXED else "none"
    return costs | in_own_process(_ask, folder, queries, kind)


def _first(queries: Queries, count: int) -> Queries:
    rest = None if queries.sentences is None else queries.sentences[:count]
    return Queries(queries.learned[:count], queries.texts[:count], rest)


def _cold(folder: Path, queries: Queries) -> dict[str, Cost]:
    """Opens a library whose files the system has to read from the disk, and searches once."""
    for path in folder.iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    clock, processor = spent(lambda: RAGDatabase.load(folder, "synthetic").search(_first(queries, 1), TOP))
    return {"opening and one query of cold files, s": Cost(processor, clock)}


def _ask(folder: Path, queries: Queries, index: str) -> dict[str, Cost]:
    """Opens a library and searches it."""
    before, opened = memory()[0], []
    clock, processor = spent(lambda: opened.append(RAGDatabase.load(folder, "synthetic")))
    (library,) = opened
    costs = {"opening, s": Cost(processor, clock), "own memory, MB": Cost(max(memory()[0] - before, 0.1))}
    found = library.search(queries, TOP)
    read, starts = library.rows(library.kinds[-1]).read, range(0, len(library), AT_ONCE)
    vectors = queries.learned if library.score is None else queries.vectors(library.score)
    best = torch.full((COMPARED, TOP), -torch.inf)
    for start in starts:
        near = vectors[:COMPARED] @ read(slice(start, start + AT_ONCE)).T
        best = torch.cat([best, near], dim=1).topk(TOP, dim=1).values
    if (best - found.scores[:COMPARED]).abs().max() > 1e-6:
        raise SystemExit(f"{folder}: a search does not find what all similarities say")

    def searched(library: RAGDatabase, name: str) -> dict[str, Cost]:
        parts = {
            "one query": partial(library.search, _first(queries, 1), TOP),
            "64 queries": partial(library.search, queries, TOP),
        }
        return {f"{name}{label}, s": median_cost([spent(job) for _ in range(REPEATS)]) for label, job in parts.items()}

    costs |= searched(library, "")
    if index != "none":
        built = []
        clock, processor = spent(lambda: built.append(library.with_index(index)))
        costs["index, building, s"] = Cost(processor, clock)
        costs |= searched(built[0], "index, ")
        print(f"{len(library):,} rows, {index}: recall of the first {TOP} {built[0].index.recall(vectors, TOP):.3f}")
    return costs
