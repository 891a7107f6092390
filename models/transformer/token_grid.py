"""The arrangement of motion tokens: time steps x body parts. A one-dimensional model is one with J = 1.

Letters: B batch, N token steps, J part rows, D channels. Masks: True = valid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class TokenGrid:
    """N steps of J part rows; cells are flattened step by step: cell = step * J + part."""

    n_steps: int
    n_parts: int

    @property
    def n_cells(self) -> int:
        """N * J."""
        return self.n_steps * self.n_parts

    def flatten(self, grid: Tensor) -> Tensor:
        """(B, N, J, ...) -> (B, N * J, ...)."""
        return grid.flatten(1, 2)

    def unflatten(self, cells: Tensor) -> Tensor:
        """(B, N * J, ...) -> (B, N, J, ...)."""
        return cells.unflatten(1, (self.n_steps, self.n_parts))

    def cell_mask(self, step_mask: Tensor) -> Tensor:
        """(B, N) -> (B, N * J)."""
        return step_mask.repeat_interleave(self.n_parts, dim=1)

    def parts(self, device: torch.device | None = None) -> Tensor:
        """(N * J,) the part row of each cell."""
        return torch.arange(self.n_parts, device=device).repeat(self.n_steps)

    def positions(self, dim: int, device: torch.device | None = None) -> Tensor:
        """(N * J, D) two-dimensional sinusoids: the first half of the channels tells the step, the second the part."""
        half = dim // 2
        steps = sinusoid(torch.arange(self.n_steps, device=device), half)
        parts = sinusoid(torch.arange(self.n_parts, device=device), dim - half)
        steps = steps[:, None].expand(-1, self.n_parts, -1)
        return torch.cat([steps, parts.expand(self.n_steps, -1, -1)], dim=-1).flatten(0, 1)


def sinusoid(positions: Tensor, dim: int) -> Tensor:
    """Sinusoidal embedding (Vaswani et al., 2017) of positions (P,) -> (P, D)."""
    frequency = torch.exp(torch.arange(0, dim, 2, device=positions.device) * (-math.log(10_000.0) / dim))
    angle = positions[:, None] * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :dim]


IGNORED = -100  # no code


class CellLoss(NamedTuple):
    """Mean cross-entropy and accuracy of the cells that a loss is about, and how many these are; scalars."""

    loss: Tensor
    accuracy: Tensor
    cells: Tensor


def cell_loss(logits: Tensor, target: Tensor, chosen: Tensor) -> CellLoss:
    """Of the chosen cells: logits (B, N, J, V), target and chosen (B, N, J).

    Cells are weighed, not picked out: how many there are only the device knows, and the host need not wait for it.
    """
    hidden = target.masked_fill(~chosen, IGNORED)
    loss = F.cross_entropy(logits.float().flatten(0, -2), hidden.flatten(), ignore_index=IGNORED)
    cells = chosen.sum()
    return CellLoss(loss, (logits.argmax(dim=-1) == hidden).sum() / cells, cells)


def codebook_table(codes: Tensor, width: int) -> Tensor:
    """A codebook (V, C) as embeddings (V, width) of standard deviation 1, by a random projection.

    Codes that sound alike start alike, so that what is learned about one holds for its neighbours.
    """
    projection = torch.randn(codes.shape[1], width, device=codes.device) / math.sqrt(codes.shape[1])
    table = (codes - codes.mean(dim=0)) @ projection
    return table * (1.0 / table.std().clamp(min=1e-8))
