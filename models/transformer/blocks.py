"""Attention layers over the token grid. Every layer has a residual path and normalises its input.

Letters: B batch, N token steps, J part rows, S = N * J cells, M memory rows, D channels, H heads. Masks: True = valid.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs import TransformerConfig
from models.transformer.condition import EVERY_PART, Memory
from models.transformer.token_grid import TokenGrid


class Attention(nn.Module):
    """Multi-head attention of rows to themselves and to memory rows whose keys and values differ (SSTA)."""

    def __init__(self, width: int, n_heads: int, dropout: float):
        super().__init__()
        if width % n_heads:
            raise ValueError(f"latent_dim {width} is not divisible by n_heads {n_heads}")
        self.n_heads = n_heads
        self.dropout = dropout
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def project(self, memory: Memory) -> tuple[Tensor, Tensor]:
        """Wk h and Wv R_m of the memory rows, (B, H, M, D / H) each: the same however often `forward` is called."""
        return self._heads(self.key(memory.keys)), self._heads(self.value(memory.values))

    def forward(self, rows: Tensor, allowed: Tensor, projected: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """rows (B, S, D), allowed (B, 1, S or 1, S + M), what `project` gave -> rows + attention, (B, S, D).

        Query = Wq z; keys = Wk [z ; h]; values = Wv [z ; R_m].
        """
        normed = self.norm(rows)
        query, keys, values = (self._heads(layer(normed)) for layer in (self.query, self.key, self.value))
        if projected is not None:
            keys, values = torch.cat([keys, projected[0]], dim=2), torch.cat([values, projected[1]], dim=2)
        # No dropout inside: it costs up to 30 times the attention itself on a CPU.
        attended = F.scaled_dot_product_attention(query, keys, values, attn_mask=allowed)
        return rows + F.dropout(self.output(attended.transpose(1, 2).flatten(2)), self.dropout, self.training)

    def _heads(self, rows: Tensor) -> Tensor:
        return rows.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)


class FeedForward(nn.Module):
    """Norm, linear, GELU, linear, added to the input."""

    def __init__(self, width: int, hidden: int, dropout: float):
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width)
        )
        self.dropout = dropout

    def forward(self, rows: Tensor) -> Tensor:
        return rows + F.dropout(self.layers(rows), self.dropout, self.training)


class AxisAttention(nn.Module):
    """Attention along one axis of the grid: the parts of each step, or the time of each part."""

    def __init__(self, axis: str, width: int, n_heads: int, dropout: float):
        super().__init__()
        self.axis = axis
        self.attention = Attention(width, n_heads, dropout)

    def forward(self, cells: Tensor, grid: TokenGrid, step_mask: Tensor) -> Tensor:
        """cells (B, S, D), step_mask (B, N) -> (B, S, D)."""
        rows = grid.unflatten(cells)  # (B, N, J, D)
        if self.axis == "parts":
            everything = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=cells.device)
            return self.attention(rows.flatten(0, 1), everything).view_as(cells)
        by_part = rows.transpose(1, 2)  # (B, J, N, D)
        allowed = step_mask.repeat_interleave(grid.n_parts, dim=0)[:, None, None]
        attended = self.attention(by_part.flatten(0, 1), allowed)
        return grid.flatten(attended.view_as(by_part).transpose(1, 2))


@dataclass(frozen=True)
class ProjectedMemory:
    """A condition's memory rows as every SSTA layer reads them. Sampling makes it once for all its passes.

    Attributes:
        layers: keys and values a layer, (B, H, M, D / H) each.
        mask: (B, M).
        parts, by_part: see `Memory`.
    """

    layers: tuple[tuple[Tensor, Tensor], ...]
    mask: Tensor
    parts: Tensor
    by_part: bool

    def visible(self) -> ProjectedMemory:
        """The same without the rows that no sample sees: attention costs what is there to be read.

        It waits for the device: for sampling, which does so once, not for training.
        """
        rows = self.mask.any(dim=0)
        layers = tuple((keys[:, :, rows], values[:, :, rows]) for keys, values in self.layers)
        parts = self.parts[rows]
        return ProjectedMemory(layers, self.mask[:, rows], parts, bool((parts != EVERY_PART).any()))

    def samples(self, index: Tensor) -> ProjectedMemory:
        """Of the samples `index` (b,)."""
        layers = tuple((keys[index], values[index]) for keys, values in self.layers)
        return replace(self, layers=layers, mask=self.mask[index])


class SpatioTemporalTransformer(nn.Module):
    """The paper's stack (SSTA layers, then along the parts, then along time) or its lean interleaved form."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        width, heads, dropout = config.latent_dim, config.n_heads, config.dropout
        self.interleaved = config.block == "interleaved"
        axes = [axis for axis, used in (("parts", config.attnj), ("time", config.attnt)) if used]
        self.ssta = nn.ModuleList(Attention(width, heads, dropout) for _ in range(config.n_layers))
        self.feed_forwards = nn.ModuleList(
            FeedForward(width, config.ff_size, dropout)
            for _ in range(config.n_layers * (1 if self.interleaved else 1 + len(axes)))
        )
        self.axis_layers = nn.ModuleList(
            nn.ModuleList(AxisAttention(axis, width, heads, dropout) for _ in range(config.n_layers)) for axis in axes
        )
        self.norm = nn.LayerNorm(width)

    def project(self, memory: Memory | None) -> ProjectedMemory | None:
        """Memory rows -> what `forward` reads of them."""
        if memory is None:
            return None
        return ProjectedMemory(
            tuple(ssta.project(memory) for ssta in self.ssta), memory.mask, memory.parts, memory.by_part
        )

    def forward(
        self,
        cells: Tensor,
        grid: TokenGrid,
        step_mask: Tensor,
        projected: ProjectedMemory | None,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """cells (B, S, D), step_mask (B, N) -> (B, S, D); invalid cells never change valid ones.

        With numbers b * S + s of the cells that are `wanted` (R,) these alone, (R, D), and what need not be computed
        for them is not.
        """
        allowed = self._allowed(grid, step_mask, projected)
        fed = iter([nn.Identity(), *self.feed_forwards])  # each is due when it is known which cells it is asked for
        for index, ssta in enumerate(self.ssta):
            cells = ssta(next(fed)(cells), allowed, None if projected is None else projected.layers[index])
            if self.interleaved:
                for layers in self.axis_layers:
                    cells = layers[index](cells, grid, step_mask)
        if not self.interleaved:
            for layers in self.axis_layers:
                if wanted is not None and layers[0].axis == "time":
                    cells, grid, step_mask, wanted = _alone(cells, grid, step_mask, wanted)
                for layer in layers:
                    cells = layer(next(fed)(cells), grid, step_mask)
        return self.norm(next(fed)(cells if wanted is None else cells.flatten(0, 1)[wanted]))

    @staticmethod
    def _allowed(grid: TokenGrid, step_mask: Tensor, memory: ProjectedMemory | None) -> Tensor:
        """(B, 1, S or 1, S + M) which row may look at which."""
        own = grid.cell_mask(step_mask)[:, None, None]
        if memory is None:
            return own
        rows = memory.mask[:, None, None]
        if memory.by_part:
            cell_parts = grid.parts(step_mask.device)[:, None]
            visible = (memory.parts == EVERY_PART) | (memory.parts == cell_parts)  # (S, M)
            own = own.expand(-1, -1, grid.n_cells, -1)
            rows = rows & visible
        return torch.cat([own, rows], dim=-1)


def _alone(
    cells: Tensor, grid: TokenGrid, step_mask: Tensor, wanted: Tensor
) -> tuple[Tensor, TokenGrid, Tensor, Tensor]:
    """Part rows as samples of their own, where nothing is left to do but along time: those with a wanted cell."""
    parts, place = (wanted // grid.n_cells * grid.n_parts + wanted % grid.n_parts).unique(return_inverse=True)
    rows = grid.unflatten(cells).transpose(1, 2).flatten(0, 1)[parts]
    step_mask = step_mask[parts // grid.n_parts]
    return rows, TokenGrid(grid.n_steps, 1), step_mask, place * grid.n_steps + wanted % grid.n_cells // grid.n_parts
