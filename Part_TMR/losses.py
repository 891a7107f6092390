"""Contrastive losses of the retriever. Legend: B queries, N keys, D embedding, G parts."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor


def info_nce(
    queries: Tensor, keys: Tensor, ignored: Tensor, temperature: Tensor | float, own: Tensor | None = None
) -> Tensor:
    """InfoNCE of unit vectors: every key that is not ignored, but for a query's own, is a negative.

    Args:
        queries: (B, D). keys: (N, D).
        ignored: (B, N) bool, keys that are no negatives of a query (the positive's own entry is of no account).
        own: (B,) which key belongs to each query; none: the first B keys, in the order of the queries.
    Returns: the mean over the batch, a scalar.
    """
    own = torch.arange(len(queries), device=queries.device) if own is None else own
    return functional.cross_entropy(_hide(_products(queries, keys.T) / temperature, ignored, own), own)


def part_info_nce(
    queries: Tensor, keys: Tensor, ignored: Tensor, temperature: Tensor | float, own: Tensor | None = None
) -> Tensor:
    """InfoNCE between captions and body parts, or back, each part on its own.

    Args:
        queries: (B, G, D) unit vectors. keys: (N, G, D). ignored: (B, N) bool and own: (B,) as in `info_nce`.
    Returns: the mean over the batch and the parts, a scalar.
    """
    own = torch.arange(len(queries), device=queries.device) if own is None else own
    logits = _products(queries.transpose(0, 1), keys.permute(1, 2, 0)) / temperature
    return functional.cross_entropy(_hide(logits, ignored, own).flatten(0, 1), own.repeat(queries.shape[1]))


def not_negatives(takes: Tensor, captions: Tensor, key_takes: Tensor, key_captions: Tensor) -> Tensor:
    """Which keys show the same take or carry the same caption as a query: (B,), (B,), (N,), (N,) -> (B, N) bool."""
    return (takes[:, None] == key_takes) | (captions[:, None] == key_captions)


def _products(first: Tensor, second: Tensor) -> Tensor:
    """Matrix product in single precision also under autocast: half precision's error, over the temperature, shows."""
    with torch.autocast(first.device.type, enabled=False):
        return first.float() @ second.float()


def _hide(logits: Tensor, ignored: Tensor, own: Tensor) -> Tensor:
    """Set ignored entries of (..., B, N) to minus infinity, except the positives, own (B,)."""
    keys = torch.arange(ignored.shape[1], device=own.device)
    return logits.masked_fill(ignored & (keys != own[:, None]), float("-inf"))
