"""Contrastive losses of the retriever. Legend: B batch, N keys, D embedding, G parts."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor


def info_nce(queries: Tensor, keys: Tensor, ignored: Tensor, temperature: Tensor | float) -> Tensor:
    """InfoNCE of unit vectors: the key of row b's query is row b; every other key that is not ignored is a negative.

    Args:
        queries: (B, D). keys: (N, D) with N >= B, the first B of them the positives in the order of the queries.
        ignored: (B, N) bool, keys that are no negatives of a query (the positive's own entry is of no account).
    Returns: the mean over the batch, a scalar.
    """
    logits = _products(queries, keys.T) / temperature
    positives = torch.arange(len(queries), device=queries.device)
    return functional.cross_entropy(_hide(logits, ignored), positives)


def part_info_nce(texts: Tensor, parts: Tensor, ignored: Tensor, temperature: Tensor | float) -> Tensor:
    """InfoNCE in both directions between captions and body parts, each part on its own, within the batch.

    Args:
        texts, parts: (B, G, D) unit vectors. ignored: (B, B) bool as in `info_nce`.
    Returns: the mean over the batch, the parts and the directions, a scalar.
    """
    batch, groups, _ = texts.shape
    logits = _products(texts.transpose(0, 1), parts.permute(1, 2, 0)) / temperature
    positives = torch.arange(batch, device=texts.device).repeat(groups)
    forward = _hide(logits, ignored).flatten(0, 1)
    backward = _hide(logits.transpose(1, 2), ignored.T).flatten(0, 1)
    return (functional.cross_entropy(forward, positives) + functional.cross_entropy(backward, positives)) / 2


def not_negatives(takes: Tensor, captions: Tensor, key_takes: Tensor, key_captions: Tensor) -> Tensor:
    """Which keys show the same take or carry the same caption as a query: (B,), (B,), (N,), (N,) -> (B, N) bool."""
    return (takes[:, None] == key_takes) | (captions[:, None] == key_captions)


def _products(first: Tensor, second: Tensor) -> Tensor:
    """Matrix product in single precision also under autocast: half precision's error, over the temperature, shows."""
    with torch.autocast(first.device.type, enabled=False):
        return first.float() @ second.float()


def _hide(logits: Tensor, ignored: Tensor) -> Tensor:
    """Set ignored entries of (..., B, N) to minus infinity, except the positives on the diagonal."""
    own = torch.eye(*ignored.shape, dtype=torch.bool, device=ignored.device)
    return logits.masked_fill(ignored & ~own, float("-inf"))
