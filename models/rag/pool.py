"""What every training caption may retrieve: searched once, kept on disk.

Letters: C captions, P motions of a caption's pool, E retriever dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.rag.database import RAGDatabase
from models.rag.queries import Queries
from storage.row_store import RowStore, digest

QUERIES_AT_ONCE = 1024
RULE = "exact captions first"  # what was kept by another rule is not taken


def training_pool(
    database: RAGDatabase,
    embed: Callable[[Tensor], Tensor | Queries],
    captions: Sequence[str],
    takes: Sequence[str],
    count: int,
    cache_dir: Path,
) -> Tensor:
    """The nearest motions (C, P) of training captions, best first.

    The caption's own take, its mirror included, is excluded: otherwise the retrieved motion would be the answer. A
    library of one take leaves nothing, P is 0 then.

    Args:
        database: the library; what it found is kept in a folder of `cache_dir` for exactly these embeddings.
        embed: caption numbers (B,) -> queries, by the library's retriever; (B, E) are queries without texts.
        captions, takes: of C captions.
        count: motions of a caption's pool; fewer if there are not so many.
    """
    name = digest(database.retriever_hash, database.fingerprint, str(count), RULE).hex()
    store = RowStore(cache_dir / f"retrieved_{name}", (), np.int32)
    keys = [digest(caption, take) for caption, take in zip(captions, takes, strict=True)]

    def search(missing: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        for start in range(0, len(missing), QUERIES_AT_ONCE):
            rows = missing[start : start + QUERIES_AT_ONCE]
            found = database.search(embed(torch.tensor(rows)), count, exclude_takes=[takes[row] for row in rows])
            yield from zip(rows, found.indices.numpy(), strict=True)

    store.complete(keys, search, "retrieving for the captions", "caption")
    rows = [store.read(key) for key in keys]
    # In a small library the takes that are left out decide how many are left.
    size = min(map(len, rows))
    return torch.from_numpy(np.stack([row[:size] for row in rows])).long()
