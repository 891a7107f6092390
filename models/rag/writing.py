"""Writes a RAG database block by block.

Legend: M motions, R captions (rows), D embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.rag import codes, storage
from models.rag.embedded import Embedded, counts_of, row_reader, searched_rows
from models.rag.entries import Entries
from models.rag.queries import Score, unknown_row

LARGE = 1 << 16  # captions of a library that stays in its files
COPIED_AT_ONCE = 1 << 14  # rows


def write(
    folder: Path,
    facts: Mapping[str, Any],
    entries: Entries,
    blocks: Iterable[Embedded],
    longest: int | None = None,
    write_index: Callable[[Path], None] | None = None,
) -> None:
    """Writes a library block by block, of which only one is held.

    Args:
        entries: the motions of all blocks.
        blocks: their embeddings, in order.
        longest: token steps of the longest motion; none: the first block's.

    Raises:
        UserError: the folder cannot be written, or holds something else than a database.
    """
    blocks = iter(blocks)
    first = next(blocks)
    if first.tokens is not None:
        longest = longest or first.tokens.shape[1]
    counts = counts_of(entries, first)
    if first.tokens is not None:
        counts["tokens"][0] = longest
    motions, rows = len(entries), len(entries.row_motion)
    shapes = {
        "text": ((rows, *first.text.shape[1:]), np.float16),
        "motion": ((motions, *first.motion.shape[1:]), np.float16),
        "parts": ((motions, *first.parts.shape[1:]), np.float16),
    }
    if first.tokens is not None:
        shapes |= {"tokens": ((motions, *counts["tokens"]), np.int16), "steps": ((motions,), np.int16)}
    if first.sentences is not None:
        shapes["sentences"] = ((rows, *first.sentences.shape[1:]), np.int8)

    def fill(arrays: dict[str, np.ndarray]) -> None:
        start = dict.fromkeys(shapes, 0)
        for block in chain([first], blocks):
            for name in shapes:
                values = getattr(block, name)
                for place in range(0, len(values), COPIED_AT_ONCE):
                    part = values[place : place + COPIED_AT_ONCE].cpu()
                    here = arrays[name][start[name] : start[name] + len(part)]
                    if name == "tokens":
                        here[:, part.shape[1] :] = 0
                        here = here[:, : part.shape[1]]
                    here[...] = (part.half() if part.is_floating_point() else part).numpy()
                    start[name] += len(part)

    def encode(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        made = {}
        text, motion, owners = (torch.from_numpy(arrays[name]) for name in ("text", "motion", "row_motion"))
        sentences = torch.from_numpy(arrays["sentences"]) if "sentences" in arrays else None
        score = Score(**facts["score"]) if "score" in facts else None
        for kind in searched_rows(score is not None):
            read = row_reader(text, motion, owners, kind, sentences, score)
            width = read(slice(1)).shape[1]
            always = unknown_row(width, score) if kind == "score" else None
            coded = codes.encode(read, motions if kind == "motion" else rows, width, always)
            made |= {f"{kind}_{name}": value for name, value in coded.items()}
        return made

    # What lacks its score yet is written again when it is chosen.
    complete = "shard" not in facts and ("score" in facts) == ("sentences" in facts)
    searched = encode if rows > LARGE and complete else None
    storage.write(folder, {**facts, **counts}, entries, shapes, fill, searched, rows > LARGE, write_index)
