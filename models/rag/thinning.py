"""Which motions of a library stay where there is room for some: those whose captions leave little unsaid.

Legend: M motions, R captions (rows), A captions that are asked for, S width of a sentence vector.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.rag.captions import unit

MOST_ASKED = 4096  # captions that stand for all
ROWS_AT_ONCE = 8192


def covering(sentences: Tensor, owners: Tensor, most: int) -> list[int]:
    """The numbers of at most so many motions, in order, such that the nearest caption to any caption is as near as can
    be in the mean: facility location, by the greedy choice that is within 1 - 1/e of the best (Nemhauser et al. 1978).

    Args:
        sentences: (R, S) bytes or numbers.
        owners: (R,) the motion of each caption, 0 to M - 1.
    """
    n_motions = int(owners.max()) + 1
    if n_motions <= most:
        return list(range(n_motions))
    vectors = unit(sentences)
    asked = vectors[torch.linspace(0, len(vectors) - 1, min(len(vectors), MOST_ASKED)).long()]
    near = torch.full((len(asked), n_motions), -1.0)  # of the nearest caption of each motion
    for rows, of in zip(vectors.split(ROWS_AT_ONCE), owners.long().split(ROWS_AT_ONCE), strict=True):
        near.scatter_reduce_(1, of.expand(len(asked), -1), asked @ rows.T, "amax")
    chosen, reached = [], torch.zeros(len(asked))
    gains = near.clamp(min=0).sum(dim=0)
    while len(chosen) < most:
        # What a motion adds only shrinks with those that are there: what was added once bounds what is added now.
        best = int(gains.argmax())
        gains[best] = now = (near[:, best] - reached).clamp(min=0).sum()
        if now >= gains.max():
            chosen.append(best)
            reached = torch.maximum(reached, near[:, best])
            gains[best] = -1.0
    return sorted(chosen)
