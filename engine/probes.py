"""Measures of a model at work that training steps report.

Letters: B batch, S cells of a token grid, D channels. Masks: True = valid.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


def token_spread(rows: Tensor, mask: Tensor) -> Tensor:
    """How different the tokens of a sample are: 0 when all are alike, about 1 when they have nothing in common.

    The rows (B, S, D) are normalised, then it is the standard deviation over the valid cells, mask (B, S), averaged
    over channels and samples.
    """
    rows = F.layer_norm(rows.detach().float(), rows.shape[-1:])
    weights = mask[..., None] / mask.sum(dim=1).clamp(min=1)[:, None, None]
    centred = rows - (weights * rows).sum(dim=1, keepdim=True)
    return (weights * centred.square()).sum(dim=1).sqrt().mean()


@contextlib.contextmanager
def watched(modules: Iterable[nn.Module]) -> Iterator[list[tuple[tuple[Any, ...], Any]]]:
    """Within the block, positional inputs and output of each of the modules' calls, in their order."""
    seen: list[tuple[tuple[Any, ...], Any]] = []
    handles = [module.register_forward_hook(lambda _module, *call: seen.append(call)) for module in modules]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
