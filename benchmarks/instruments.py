"""Instruments of `benchmarks.health` that look into a model while it trains.

Letters: B batch, S cells of a token grid, M memory rows, D channels, H heads. Masks: True = valid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.transformer.blocks import Attention


@torch.no_grad()
def attention_to_memory(
    attention: Attention, rows: Tensor, allowed: Tensor, projected: tuple[Tensor, Tensor], first: int
) -> tuple[Tensor, Tensor]:
    """What share of attention goes to memory rows, given what `Attention.forward` is given.

    Args:
        attention: the layer.
        rows, allowed, projected: (B, S, D), (B, 1, S or 1, S + M) and keys and values of the M memory rows.
        first: the memory row from which on they count.

    Returns:
        (B,) the share, averaged over heads and valid cells, and (B,) what it would be if all visible rows got equally
        much.
    """
    normed = attention.norm(rows)
    query, keys = (layer(normed).unflatten(-1, (attention.n_heads, -1)) for layer in (attention.query, attention.key))
    keys = torch.cat([keys.transpose(1, 2), projected[0]], dim=2)
    scores = query.transpose(1, 2) @ keys.transpose(2, 3) / math.sqrt(keys.shape[-1])
    shares = scores.masked_fill(~allowed, -math.inf).softmax(dim=-1)
    cells = rows.shape[1]
    valid = allowed[:, 0, 0, :cells].float()  # every cell may look at exactly the valid ones

    def mean(each_cell: Tensor) -> Tensor:
        return (valid * each_cell).sum(dim=1) / valid.sum(dim=1)

    start = cells + first
    equal = allowed[:, 0, :, start:].sum(dim=-1) / allowed[:, 0].sum(dim=-1)
    return mean(shares[..., start:].sum(dim=-1).mean(dim=1)), mean(equal)


class GradientNorms:
    """Norms of the gradients of a model's parts, layer by layer where they are lists.

    They are taken while a backward pass runs, but only where `active` is set.
    """

    def __init__(self, model: nn.Module) -> None:
        self.active = False
        self._squares: dict[str, float] = {}
        self._order = list(dict.fromkeys(_module_of(name) for name, _ in model.named_parameters()))
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(partial(self._add, _module_of(name)))

    def _add(self, module: str, parameter: nn.Parameter) -> None:
        if self.active:
            square = float(parameter.grad.detach().float().square().sum())
            self._squares[module] = self._squares.get(module, 0.0) + square

    def take(self) -> dict[str, float]:
        """The norms since the last call, by module, in the model's order."""
        norms = {name: math.sqrt(self._squares[name]) for name in self._order if name in self._squares}
        self._squares = {}
        return norms


class SavedForBackward:
    """Within the block, counts the bytes of what forward passes keep for their backward passes (parameters apart)."""

    def __init__(self, model: nn.Module) -> None:
        self._parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        self._storages: dict[int, int] = {}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._parameters:
            self._storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    def take(self) -> int:
        """The bytes since the last call."""
        total = sum(self._storages.values())
        self._storages = {}
        return total

    def __enter__(self) -> SavedForBackward:
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._hooks.__exit__(*error)


def _module_of(parameter: str) -> str:
    """`transformer.ssta.0.query.weight` -> `transformer.ssta.0`, `condition.text.weight` -> `condition.text`."""
    *path, name = parameter.split(".")
    numbered = next((place for place, part in enumerate(path) if part.isdecimal()), 1)
    return ".".join(path[: numbered + 1]) or name


def slope(losses: Sequence[float]) -> float:
    """The straight line through the later half of the losses: change a hundred steps, as a share of their mean."""
    later = np.asarray(losses[len(losses) // 2 :], dtype=np.float64)
    if len(later) < 2:
        return math.nan
    return float(100 * np.polyfit(np.arange(len(later)), later, 1)[0] / abs(later.mean()))
