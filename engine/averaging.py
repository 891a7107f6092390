"""A moving average of the trained weights, which is what gets validated, kept and exported."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from storage.checkpoint import misfit
from utils.errors import UserError


class WeightAverage:
    """Follows the trainable parameters of a model; its buffers and frozen parameters are used as they are.

    The decay rises to its value, (1 + step) / (10 + step), so that the first weights, which are random, are forgotten.

    Args:
        model: the average starts from its present weights.
        decay: 0 keeps no average: nothing here does anything then.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.decay = decay
        self.weights: dict[str, nn.Parameter] = trained if decay else {}
        self.others = {name: weight.detach().clone() for name, weight in self.weights.items()}  # not in the model now

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After the optimiser step that made `step` of them."""
        if self.weights:
            decay = min(self.decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(self.others.values()), list(self.weights.values()), 1 - decay)

    @contextlib.contextmanager
    def swapped(self) -> Iterator[None]:
        """Within it the model holds the average, and `others` the weights that training goes on with."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, weight in self.weights.items():
            held = weight.clone()
            weight.copy_(self.others[name])
            self.others[name].copy_(held)


@torch.no_grad()
def set_weights(model: nn.Module, weights: Mapping[str, Tensor], source: object) -> None:
    """Puts the weights that training goes on with into a model that holds their average.

    Raises:
        UserError: `weights` are not those of the model; `source` is named.
    """
    own = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    wrong = [str(name)[:60] for name in weights if name not in own]
    wrong += [name for name in own if weights and (name not in weights or misfit(own[name], weights[name]))]
    if wrong:
        raise UserError(f"{source} is not a state of this training: its trained weight {wrong[0]} does not fit")
    for name, value in weights.items():
        own[name].copy_(value)
