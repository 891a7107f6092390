"""Chooses the score of a library by validation: how much the meaning of captions counts beside the retriever's word.

Captions of motions that are known ask the library, and what they find should be like their own motions. Whatever share
of the meaning is not measurably worse than the best will do, and the largest of these is taken: only the meaning knows
the words of clips that are added later.

Legend: Q queries, G shares, D the retriever's embedding, R rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.rag.database import RAGDatabase
from models.rag.queries import Queries, Score
from models.rag.search import READ_AT_ONCE, MotionRows

SHARES = tuple(tenth / 10 for tenth in range(10))
MOST_QUERIES = 512
USUAL = 0.1  # of what a retriever says best of captions, the quantile from which on it is usual
NOTHING = -9.0  # a similarity that nothing has
WITHIN = 2.0  # standard errors of a difference that is none
DEFAULT = Score(captions=0.4, usual=0.8)  # of mini, where there is nothing to ask


class Weighed(NamedTuple):
    """What validation says.

    Attributes:
        score: the chosen one.
        likeness: (G, Q) similarity of what each share finds to each query's own motion, by the retriever.
    """

    score: Score
    likeness: Tensor

    def table(self) -> list[dict[str, float]]:
        """A row a share: mean likeness, what the best has more, and the standard error of that."""
        best = self.likeness[self.likeness.mean(dim=1).argmax()]
        return [
            {"captions": share, "likeness": float(row.mean()), "less": float(less.mean()), "error": float(_error(less))}
            for share, row, less in zip(SHARES, self.likeness, best - self.likeness, strict=True)
        ]


def weigh(database: RAGDatabase, asked: Queries, motions: Tensor, takes: Sequence[str]) -> Weighed | None:
    """Chooses; None where all captions are in the library themselves.

    Args:
        database: the library; without sentence vectors there is nothing to choose.
        asked: captions of validation, with texts and sentence vectors; some of very many are asked.
        motions: (Q, D) the motion of each.
        takes: of each, which is not found.
    """
    library, entries = database.embedded, database.entries
    own = [database.takes_motions(take) for take in takes]
    new = [
        number
        for number, text in enumerate(asked.texts)
        if len(own[number]) < len(database) and not set(entries.with_caption(text).tolist()) - set(own[number])
    ]
    if not new or library.sentences is None:
        return None
    new = [new[place] for place in np.linspace(0, len(new) - 1, min(len(new), MOST_QUERIES)).astype(int)]
    asked, motions = asked.chosen(new), motions[new].to(database.device)
    of_take = torch.from_numpy(entries.arrays["take"]).to(database.device)
    take = [of_take[own[number][0]] if own[number] else torch.tensor(-1) for number in new]
    asked_take = torch.stack([each.to(database.device) for each in take])[:, None]

    def similarities(rows: MotionRows, *vectors: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """The motions of some rows, and the similarities (Q, n) of all queries to these rows."""
        for start in range(0, len(rows.owners), READ_AT_ONCE):
            here = slice(start, start + READ_AT_ONCE)
            block, owners = rows.read(here), rows.owners[here].long()
            hidden = asked_take == of_take[owners]
            yield owners, *((each.to(block) @ block.T).masked_fill_(hidden, NOTHING) for each in vectors)

    said = [each.amax(dim=1) for _, each in similarities(database.rows("both"), asked.learned)]
    usual = float(torch.stack(said).amax(dim=0).quantile(USUAL).clamp(0, 1))
    rows = database.with_score(half := Score(0.5, usual)).rows("score")
    vectors = asked.vectors(half)
    meant = torch.zeros_like(vectors)
    meant[:, database.dimension : -1] = vectors[:, database.dimension : -1]
    best = torch.full((len(SHARES), len(new)), NOTHING, device=database.device)
    found = torch.zeros_like(best, dtype=torch.long)
    for owners, learned, meaning in similarities(rows, vectors - meant, meant):
        for place, share in enumerate(SHARES):
            top = ((1 - share) * learned + share * meaning).max(dim=1)
            better = top.values > best[place]
            best[place] = torch.where(better, top.values, best[place])
            found[place] = torch.where(better, owners[top.indices], found[place])
    likeness = (library.motion[found].float() * motions).sum(dim=-1).cpu()
    less = likeness[likeness.mean(dim=1).argmax()] - likeness
    good = [share for share, each in zip(SHARES, less, strict=True) if share and each.mean() <= WITHIN * _error(each)]
    return Weighed(Score(max(good, default=SHARES[1]), round(usual, 4)), likeness)


def _error(values: Tensor) -> Tensor:
    return values.std(correction=0) / len(values) ** 0.5
