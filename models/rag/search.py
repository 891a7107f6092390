"""Rows of vectors that belong to motions, searched for the nearest motions, exactly.

Legend: B queries, R rows, M motions, K found, D embedding, C rows of the motion that has most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.rag.codes import Codes, Read

SCORES_AT_ONCE = 1 << 24  # similarities held in memory by one chunk of a search
QUERIES_AT_ONCE = 64  # of a search by codes
READ_AT_ONCE = 1 << 14  # rows
# Up to so many rows a query, the motions among the best rows are told apart by comparing each with each.
COMPARED_ROWS = 256


class SearchResult(NamedTuple):
    """The K motions nearest to each query, best first."""

    indices: Tensor  # (B, K) motion numbers
    scores: Tensor  # (B, K)
    exact: Sequence[int] = ()  # (B,) so many of them come first since they have the very caption, whatever their score


class MotionRows:
    """Rows that stand for motions: a motion is as near to a query as its nearest row.

    Args:
        vectors: (R, D), or what reads rows in single precision, a slice or the numbers (n,) of them.
        owners: (R,) the motion of each row; a motion's rows lie together, and every motion 0..M-1 has one.
        ends: (M,) where the rows of each motion end.
        width: D.
        codes: of the rows, if the search should look through them first.
    """

    def __init__(
        self, vectors: Tensor | Read, owners: Tensor, ends: Tensor, width: int, codes: Codes | None = None
    ) -> None:
        self.owners, self.ends, self.codes = owners, ends, codes
        self.read: Read = vectors.__getitem__ if isinstance(vectors, Tensor) else vectors
        self._at_once = max(1, len(owners)) if isinstance(vectors, Tensor) else READ_AT_ONCE
        self.shape = (len(owners), width)
        counts = ends.diff(prepend=ends.new_zeros(1))
        self.n_motions, self.most = len(ends), int(counts.max()) if len(counts) else 0
        self._starts = ends - counts

    def search(self, queries: Tensor, k: int, excluded: Sequence[Sequence[int]] = ()) -> SearchResult:
        """The exact top k motions of each query (B, D).

        Args:
            k: motions wanted; at most those that the query with most exclusions can have.
            excluded: for each query the motions that are not found.
        """
        # So many rows are looked at closely, and those of as many groups are told apart by their codes.
        coded = self.codes is not None and 2 * k * self.most <= self.codes.groups
        chunk = QUERIES_AT_ONCE if coded else max(1, SCORES_AT_ONCE // max(1, len(self.owners)))
        indices = torch.empty(len(queries), k, dtype=torch.long)
        scores = torch.empty(len(queries), k)
        for start in range(0, len(queries), chunk):
            part = queries[start : start + chunk].to(self.owners.device, torch.float32)
            rows = self._rows_of(excluded[start : start + chunk])
            found = self._by_codes(part, k, rows) if coded else self._by_product(part, k, rows)
            scores[start : start + chunk], indices[start : start + chunk] = found.scores.cpu(), found.indices.cpu()
        return SearchResult(indices, scores)

    def first(self, query: Tensor, motions: np.ndarray, found: SearchResult) -> SearchResult:
        """What was found for one query (D,), (K,), with these motions (n,) before all others."""
        chosen = torch.from_numpy(motions)
        own = torch.isin(found.indices, chosen)
        count = min(len(motions), len(own))
        if not own[:count].all():
            starts, ends = self._starts[chosen], self.ends[chosen]
            near = torch.full((len(motions),), float("-inf"))
            rows = torch.cat([torch.arange(*span) for span in zip(starts.tolist(), ends.tolist(), strict=True)])
            of = torch.repeat_interleave(torch.arange(len(motions)), ends - starts)
            query = query.to(self.owners.device, torch.float32)
            for part, places in zip(rows.split(READ_AT_ONCE), of.split(READ_AT_ONCE), strict=True):
                similarity = (self.read(part.to(self.owners.device)) * query).sum(dim=1).cpu()
                near.scatter_reduce_(0, places, similarity, "amax")
            best = near.sort(descending=True, stable=True)
            indices = torch.cat([chosen[best.indices[:count]], found.indices[~own]])
            scores = torch.cat([best.values[:count], found.scores[~own]])
            found = SearchResult(indices[: len(own)], scores[: len(own)])
        return found

    def _rows_of(self, excluded: Sequence[Sequence[int]]) -> list[Tensor]:
        """The rows of the motions that each query does not find."""
        spans = [
            [torch.arange(int(self._starts[motion]), int(self.ends[motion])) for motion in motions]
            for motions in excluded
        ]
        return [torch.cat(each) if each else torch.empty(0, dtype=torch.long) for each in spans]

    def _by_product(self, queries: Tensor, k: int, excluded: Sequence[Tensor]) -> SearchResult:
        blocks = [
            queries @ self.read(slice(start, start + self._at_once)).T
            for start in range(0, len(self.owners), self._at_once)
        ]
        similarity = blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=1)
        for row, rows in enumerate(excluded):
            similarity[row, rows.to(similarity.device)] = float("-inf")
        return self._best(similarity, k)

    def _by_codes(self, queries: Tensor, k: int, excluded: Sequence[Tensor]) -> SearchResult:
        rows = torch.cat([torch.empty(0, dtype=torch.long), *excluded])
        query = torch.repeat_interleave(torch.arange(len(excluded)), torch.tensor([*map(len, excluded)]).long())
        rows, order = rows.sort()
        found = []
        for candidates, vector in zip(
            self.codes.candidates(queries, k * self.most, (rows, query[order])), queries, strict=True
        ):
            # Row for row, so that a query finds the same alone and in any company.
            exact = (self.read(candidates) * vector).sum(dim=1)
            near, places = exact.sort(descending=True, stable=True)
            motions = self.owners[candidates[places]].long()
            _, first = torch.unique(motions, return_inverse=True)
            seen = torch.full((int(first.max()) + 1,), len(motions)).scatter_reduce_(
                0, first, torch.arange(len(motions)), "amin"
            )
            best = seen.sort().values[:k]
            found.append((motions[best], near[best]))
        return SearchResult(*(torch.stack(each) for each in zip(*found, strict=True)))

    def _best(self, similarity: Tensor, k: int) -> SearchResult:
        """(b, R) -> the k best motions of each query."""
        needed = min(k * self.most, similarity.shape[1])  # among so many rows there are k motions
        if needed > COMPARED_ROWS:
            shape = (len(similarity), self.n_motions)
            motions = similarity.new_full(shape, float("-inf"))
            owners = self.owners.long().expand(len(similarity), -1)
            motions.scatter_reduce_(1, owners, similarity, "amax")
            best = motions.topk(k, dim=1)
            return SearchResult(best.indices, best.values)
        rows = similarity.topk(needed, dim=1)
        return distinct(self.owners[rows.indices].long(), rows.values, k)


def distinct(motions: Tensor, scores: Tensor, k: int) -> SearchResult:
    """The first k different motions of (B, N) rows in descending order of score; -1 where there are not so many."""
    repeated = (motions[:, :, None] == motions[:, None, :]).tril(-1).any(dim=-1) | (motions < 0)
    places = repeated.long().argsort(dim=1, stable=True)[:, :k]
    lost = repeated.gather(1, places)
    found, best = motions.gather(1, places), scores.gather(1, places)
    return SearchResult(found.masked_fill(lost, -1), best.masked_fill(lost, float("-inf")))
