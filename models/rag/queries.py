"""What is looked for in a library, and the score that says how near a motion is.

    score = (1 - c) * learned + c * meaning

`learned` is the retriever's word: the mean of its similarities to the motion and to the caption. `meaning` is the
similarity of the sentences in a frozen space, which knows words that no retriever was trained on. Where the retriever
does not know a motion, that is where even its own caption finds it with less than what is `usual`, its word is worth
nothing, and `usual` stands in for it. So that one product gives the score, the rows of a library and the queries are
[a learned, b meaning, a what is usual or 1], where a^2 = 1 - c and b^2 = c.

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

    @property
    def weights(self) -> tuple[float, float]:
        """a and b, see above."""
        return (1 - self.captions) ** 0.5, self.captions**0.5

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
        learned, meaning = score.weights
        rest = torch.full_like(self.learned[:, :1], learned)
        return torch.cat([learned * self.learned, meaning * self.sentences.to(self.learned), rest], dim=1)


def scored_rows(mean: Tensor, sentences: Tensor, score: Score) -> Tensor:
    """(..., D) means of a caption and its motion, (..., S) bytes -> (..., D + S + 1), see above.

    The square of such a mean is what the retriever says of the motion when its own caption asks.
    """
    learned, meaning = score.weights
    known = mean.square().sum(dim=-1, keepdim=True) >= score.usual
    return torch.cat([learned * mean * known, meaning * unit(sentences), learned * score.usual * ~known], dim=-1)


def unknown_row(width: int, score: Score) -> Tensor:
    """(1, D + S + 1) what a motion that the retriever does not know has in the last place."""
    row = torch.zeros(1, width)
    row[0, -1] = score.weights[0] * score.usual
    return row
