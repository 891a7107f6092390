"""Rows of vectors that belong to motions, searched for the nearest motions, exactly.

Legend: B queries, R rows, M motions, K found, D embedding, C rows of the motion that has most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

SCORES_AT_ONCE = 1 << 24  # similarities held in memory by one chunk of a search
# Up to so many rows a query, the motions among the best rows are told apart by comparing each with each.
COMPARED_ROWS = 256


class SearchResult(NamedTuple):
    """The K motions nearest to each query, best first."""

    indices: Tensor  # (B, K) motion numbers
    scores: Tensor  # (B, K) cosine similarities


class MotionRows:
    """Rows that stand for motions: a motion is as near to a query as its nearest row.

    Args:
        vectors: (R, D).
        owners: (R,) the motion of each row; a motion's rows lie together, and every motion 0..M-1 has one.
    """

    def __init__(self, vectors: Tensor, owners: Tensor) -> None:
        self.vectors, self.owners = vectors, owners
        counts = torch.bincount(owners)
        self.n_motions, self.most = len(counts), int(counts.max()) if len(counts) else 0
        ends = counts.cumsum(0).tolist()
        self._spans = [slice(end - count, end) for end, count in zip(ends, counts.tolist(), strict=True)]

    def search(self, queries: Tensor, k: int, excluded: Sequence[Sequence[int]] = ()) -> SearchResult:
        """The exact top k motions of each query (B, D).

        Args:
            k: motions wanted; at most those that the query with most exclusions can have.
            excluded: for each query the motions that are not found.
        """
        indices = torch.empty(len(queries), k, dtype=torch.long)
        scores = torch.empty(len(queries), k)
        chunk = max(1, SCORES_AT_ONCE // max(1, len(self.vectors)))
        for start in range(0, len(queries), chunk):
            part = queries[start : start + chunk].to(self.vectors.device, self.vectors.dtype)
            similarity = part @ self.vectors.T
            for row, motions in enumerate(excluded[start : start + chunk]):
                for motion in motions:
                    similarity[row, self._spans[motion]] = float("-inf")
            found = self._best(similarity, k)
            scores[start : start + chunk], indices[start : start + chunk] = found.scores.cpu(), found.indices.cpu()
        return SearchResult(indices, scores)

    def _best(self, similarity: Tensor, k: int) -> SearchResult:
        """(b, R) -> the k best motions of each query."""
        needed = min(k * self.most, similarity.shape[1])  # among so many rows there are k motions
        if needed > COMPARED_ROWS:
            shape = (len(similarity), self.n_motions)
            motions = similarity.new_full(shape, float("-inf"))
            motions.scatter_reduce_(1, self.owners.expand(len(similarity), -1), similarity, "amax")
            best = motions.topk(k, dim=1)
            return SearchResult(best.indices, best.values)
        rows = similarity.topk(needed, dim=1)
        return distinct(self.owners[rows.indices], rows.values, k)


def distinct(motions: Tensor, scores: Tensor, k: int) -> SearchResult:
    """The first k different motions of (B, N) rows in descending order of score; -1 where there are not so many."""
    repeated = (motions[:, :, None] == motions[:, None, :]).tril(-1).any(dim=-1) | (motions < 0)
    places = repeated.long().argsort(dim=1, stable=True)[:, :k]
    lost = repeated.gather(1, places)
    found, best = motions.gather(1, places), scores.gather(1, places)
    return SearchResult(found.masked_fill(lost, -1), best.masked_fill(lost, float("-inf")))
