"""BMM: the momentum copy of the retriever and the queues of former keys. All state is in parameters and buffers.

Legend: B batch, S queue size, D embedding.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from Part_TMR.model import RetrieverModel
from utils.errors import UserError
from utils.processes import gathered

NO_ENTRY = -1
MOST_ADDED = 1 << 53


class Keys(NamedTuple):
    """Embeddings that queries are compared with, and whose they are."""

    motion: Tensor  # (N, D)
    text: Tensor  # (N, D)
    takes: Tensor  # (N,) index of the take
    captions: Tensor  # (N,) index of the distinct caption

    def followed_by(self, others: Keys) -> Keys:
        """These keys and then the others."""
        return Keys(*(torch.cat(pair) for pair in zip(self, others, strict=True)))


def of_all(keys: Keys) -> Keys:
    """The keys of all processes in the order of the whole batch."""
    return Keys(*map(gathered, keys))


class EmbeddingQueue(nn.Module):
    """The last S keys. It starts empty; any number may be added at once, and the oldest are overwritten."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("motion", torch.zeros(size, width))
        self.register_buffer("text", torch.zeros(size, width))
        self.register_buffer("takes", torch.full((size,), NO_ENTRY))
        self.register_buffer("captions", torch.full((size,), NO_ENTRY))
        self.register_buffer("added", torch.zeros((), dtype=torch.long))
        self._added = 0  # the same on the host, which need not wait for the device to learn it

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        self._added = int(self.added)
        if not 0 <= self._added <= MOST_ADDED:
            raise UserError(f"the queue of this state says that it was given {self._added} keys")

    @property
    def filled_share(self) -> Tensor:
        """How much of the queue is in use, a scalar."""
        return (self.added / self.size).clamp(max=1.0)

    def contents(self) -> Keys:
        """A copy of what is there, at most S keys (training goes on with the queue while the loss still holds them)."""
        filled = min(self._added, self.size)
        return Keys(*(entry[:filled].clone() for entry in (self.motion, self.text, self.takes, self.captions)))

    @torch.no_grad()
    def add(self, keys: Keys) -> None:
        """Adds keys in order; of more than S only the last S stay."""
        count = len(keys.takes)
        kept = Keys(*(entry[-self.size :] for entry in keys))
        first = self._added + count - len(kept.takes)
        rows = torch.arange(first, first + len(kept.takes), device=self.takes.device) % self.size
        for entry, values in zip((self.motion, self.text, self.takes, self.captions), kept, strict=True):
            entry[rows] = values.to(entry.dtype)
        self._added += count
        self.added.fill_(self._added)


class MomentumModel(nn.Module):
    """The momentum copy of a model, always in eval mode (no dropout in keys), and the queue of its former keys."""

    def __init__(self, online: RetrieverModel) -> None:
        super().__init__()
        config = online.config
        self.decay = config.momentum
        self.model = copy.deepcopy(online).requires_grad_(False).eval()
        self.queue = EmbeddingQueue(config.queue_size, config.embed_dim)

    def train(self, mode: bool = True) -> MomentumModel:
        """Does nothing: the copy is never trained by gradients."""
        return self

    @torch.no_grad()
    def update(self, online: RetrieverModel, keys: Keys) -> None:
        """After a step: the copy follows the online model, and the step's keys, those `of_all`, join the queue."""
        trained = [parameter.detach() for parameter in online.parameters()]
        torch._foreach_lerp_(list(self.model.parameters()), trained, 1.0 - self.decay)
        self.queue.add(keys)
