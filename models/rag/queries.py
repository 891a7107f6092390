"""What is looked for in a library, and the score that says how near a motion is.

    score = (1 - c) * learned + c * meaning

`learned` is the retriever's word: the mean of its similarities to the motion and to the caption. `meaning` is the
similarity of the sentences in a frozen space, which knows words that no retriever was trained on. Where the retriever
does not know a motion, that is where even its own caption finds it with less than what is `usual`, its word is worth
nothing, and `usual` stands in for it. So that one product gives the score, a row of a library is [learned, meaning,
what is usual] and a query [(1 - c) learned, c meaning, 1 - c].

Legend: B queries, R captions (rows), D the retriever's embedding, S width of a sentence vector.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from models.rag.captions import unit


@dataclass(frozen=True)
class Score:
    """How what the retriever says and what the captions mean are joined.

    Attributes:
        captions: c, the share of the meaning.
        usual: what the retriever says of a caption and a motion that it knows, as a rule.

    Raises:
        ValueError: they are no numbers from 0 to 1.
    """

    captions: float
    usual: float

    def __post_init__(self) -> None:
        for value in (self.captions, self.usual):
            if type(value) not in (int, float) or not 0 <= value <= 1 or math.isnan(value):
                raise ValueError("score of another kind")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Queries:
    """What is looked for.

    Attributes:
        learned: (B, D) unit vectors of captions or motions, by the library's retriever.
        texts: the captions, if they are some: a motion of the very caption is found first.
        sentences: (B, S) unit vectors of the captions in the frozen space.
    """

    learned: Tensor
    texts: Sequence[str] = ()
    sentences: Tensor | None = None

    def __len__(self) -> int:
        return len(self.learned)

    def chosen(self, rows: Sequence[int]) -> Queries:
        """Some of the queries, which have texts and sentence vectors."""
        return Queries(self.learned[rows], [self.texts[row] for row in rows], self.sentences[rows])

    def vectors(self, score: Score) -> Tensor:
        """(B, D + S + 1), see above."""
        share = score.captions
        rest = torch.full_like(self.learned[:, :1], 1 - share)
        return torch.cat([(1 - share) * self.learned, share * self.sentences.to(self.learned), rest], dim=1)


def scored_rows(mean: Tensor, sentences: Tensor, usual: float) -> Tensor:
    """(R, D) means of a caption and its motion, (R, S) bytes -> (R, D + S + 1), see above.

    The square of such a mean is what the retriever says of the motion when its own caption asks.
    """
    known = mean.square().sum(dim=1, keepdim=True) >= usual
    return torch.cat([mean * known, unit(sentences), usual * ~known], dim=1)
