"""Approximate search by FAISS, for libraries of more rows than an exact search likes. An optional extra.

Legend: B queries, R rows, K found, D embedding.
"""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from models.rag.search import READ_AT_ONCE, MotionRows, SearchResult, distinct
from storage.files import atomic_path
from utils.errors import UserError

IndexKind = Literal["hnsw", "ivfpq"]

HNSW_LINKS, HNSW_BUILD, HNSW_SEARCH = 32, 200, 128
ROWS_PER_LIST = 64  # IVF: rows of one inverted list, on average, of up to 65,536 rows
LISTS_PER_ROOT = 4  # of more rows the lists grow as their root, and learning the lists as the rows
TRAINING_ROWS_PER_LIST = 64
LISTS_PROBED = 0.1  # share of the lists that a search looks into
BYTES_PER_ROW = 64  # PQ: what is left of a row
PQ_ROWS = 64  # that each of a byte's 256 values is learned from, at most
MOST_GROWTH = 16  # times that a part of an index, or a table made of it, may be as large as its file
OVERFETCH = 4  # rows asked for, times those needed: the best of them are ranked exactly


def _faiss() -> ModuleType:
    try:
        import faiss
    except ImportError as error:
        raise UserError("an approximate index needs FAISS: pip install faiss-cpu") from error
    return faiss


def lists_of(count: int) -> int:
    """Inverted lists of an index of so many rows; each is learned from `TRAINING_ROWS_PER_LIST` of them."""
    return max(1, min(count // ROWS_PER_LIST, round(LISTS_PER_ROOT * math.sqrt(count))))


def _coded_width(width: int) -> int:
    """The least width from a row's on that can be cut into its bytes."""
    return width if width <= BYTES_PER_ROW else -(-width // BYTES_PER_ROW) * BYTES_PER_ROW


def _widened(rows: Tensor, width: int) -> np.ndarray:
    """(n, D) -> (n, width): zeros behind a row change no inner product."""
    return torch.nn.functional.pad(rows.float(), (0, width - rows.shape[1])).cpu().numpy()


class ApproximateRows:
    """A FAISS index over the rows of motions; what it finds is ranked anew by the exact similarities.

    Args:
        rows: the rows that the index was built from.
        index: a FAISS index of inner products.
    """

    def __init__(self, rows: MotionRows, index: Any) -> None:
        count, width = rows.shape
        if index.ntotal != count or index.d not in (width, _coded_width(width)):
            raise UserError(
                f"the index holds {index.ntotal} rows of width {index.d}, the database others: build it again"
            )
        self.rows, self.index = rows, index

    @classmethod
    def build(cls, rows: MotionRows, kind: IndexKind) -> ApproximateRows:
        """Builds an index: `hnsw` (a graph, all of every row kept) or `ivfpq` (inverted lists, rows of 64 bytes).

        Raises:
            UserError: FAISS is not installed, or too few rows for `ivfpq`.
        """
        faiss = _faiss()
        count, width = rows.shape
        if kind == "hnsw":
            index = faiss.IndexHNSWFlat(width, HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = HNSW_BUILD
        else:
            lists = lists_of(count)
            if count < 256 * 39:
                raise UserError(
                    f"ivfpq learns its codes from at least {256 * 39:,} rows, the database has {count:,}: hnsw"
                )
            # np: without the search for codes that can be compared as they are: nine tenths of the time, and not used.
            layout = f"IVF{lists},PQ{min(width, BYTES_PER_ROW)}np"
            index = faiss.index_factory(_coded_width(width), layout, faiss.METRIC_INNER_PRODUCT)
            index.pq.cp.max_points_per_centroid = PQ_ROWS
            sample = np.random.default_rng(0).permutation(count)[: TRAINING_ROWS_PER_LIST * max(lists, 256)]
            index.train(_widened(rows.read(torch.from_numpy(np.sort(sample))), index.d))
        for start in range(0, count, READ_AT_ONCE):
            index.add(_widened(rows.read(slice(start, start + READ_AT_ONCE)), index.d))
        return cls(rows, index)

    @classmethod
    def load(cls, rows: MotionRows, path: Path) -> ApproximateRows:
        """Reads what `save` wrote.

        Raises:
            UserError: FAISS is not installed, the file is broken, or it is the index of other rows.
        """
        faiss = _faiss()
        if path.is_file():
            faiss.set_deserialization_vector_byte_limit(MOST_GROWTH * path.stat().st_size)
        try:
            index = faiss.read_index(str(path))
        except Exception as error:  # of its C++ code: RuntimeError, MemoryError
            raise UserError(f"{path} is missing or truncated: build the database again") from error
        return cls(rows, index)

    def save(self, path: Path) -> None:
        """Writes the index."""
        with atomic_path(path) as temporary:
            _faiss().write_index(self.index, str(temporary))

    def search(self, queries: Tensor, k: int) -> SearchResult:
        """About the top k motions of each query (B, D); fewer where the index finds fewer, filled with motion -1."""
        needed = min(max(k * self.rows.most * OVERFETCH, k), self.rows.shape[0])
        self._widen(needed)
        _, found = self.index.search(_widened(queries, self.index.d), needed)
        places = torch.from_numpy(found)
        here = places >= 0
        rows = self.rows.read(places.clamp(min=0).to(self.rows.owners.device)).cpu()
        exact = torch.einsum("bd,bnd->bn", queries.float().cpu(), rows).masked_fill(~here, -math.inf)
        order = exact.argsort(dim=1, descending=True)
        motions = torch.where(here, self.rows.owners.cpu()[places.clamp(min=0)].long(), -1).gather(1, order)
        return distinct(motions, exact.gather(1, order), k)

    def recall(self, queries: Tensor, k: int) -> float:
        """Share of the exact top k motions of queries (B, D) that the index finds."""
        exact, found = self.rows.search(queries, k).indices, self.search(queries, k).indices
        return float((exact[:, :, None] == found[:, None, :]).any(dim=-1).float().mean())

    def _widen(self, needed: int) -> None:
        """A search looks at more of the index the more rows it wants."""
        if hasattr(self.index, "hnsw"):
            self.index.hnsw.efSearch = max(HNSW_SEARCH, needed)
        else:
            self.index.nprobe = max(1, round(LISTS_PROBED * self.index.nlist))
