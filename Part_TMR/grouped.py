"""Transformer encoders with a class token, several of them (groups) run as ONE batched computation.

Legend: G groups (encoders side by side), B batch, L tokens, C width, H heads. Masks: True = valid.
A weight of a grouped layer has the group as its first axis, so that six small encoders cost six times one encoder's
arithmetic but not six times its calls. One group is an ordinary encoder.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from models.transformer.token_grid import sinusoid


class GroupedLinear(nn.Module):
    """G independent linear layers: (G, ..., C_in) -> (G, ..., C_out)."""

    def __init__(self, groups: int, input_width: int, output_width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(groups, input_width, output_width))
        self.bias = nn.Parameter(torch.zeros(groups, 1, output_width))
        bound = math.sqrt(6.0 / (input_width + output_width))
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, values: Tensor) -> Tensor:
        """(G, ..., C_in) -> (G, ..., C_out)."""
        rows = values.reshape(values.shape[0], -1, values.shape[-1])
        return torch.baddbmm(self.bias, rows, self.weight).view(*values.shape[:-1], -1)


class GroupedNorm(nn.Module):
    """Layer normalisation whose scale and shift belong to the group: (G, B, L, C) -> (G, B, L, C)."""

    def __init__(self, groups: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(groups, 1, 1, width))
        self.bias = nn.Parameter(torch.zeros(groups, 1, 1, width))

    def forward(self, values: Tensor) -> Tensor:
        """(G, B, L, C) -> (G, B, L, C)."""
        return torch.addcmul(self.bias, functional.layer_norm(values, values.shape[-1:]), self.weight)


class GroupedBlock(nn.Module):
    """One pre-norm transformer layer a group. `first_only`: just the first token's row, from all keys."""

    def __init__(
        self, groups: int, width: int, heads: int, feed_forward: int, dropout: float, first_only: bool = False
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.heads = heads
        self.first_only = first_only
        self.attention_norm = GroupedNorm(groups, width)
        self.query = GroupedLinear(groups, width, width)
        self.key_value = GroupedLinear(groups, width, 2 * width)
        self.output = GroupedLinear(groups, width, width)
        self.feed_forward_norm = GroupedNorm(groups, width)
        self.expand = GroupedLinear(groups, width, feed_forward)
        self.contract = GroupedLinear(groups, feed_forward, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """values (G, B, L, C), mask (B, L) -> (G, B, L, C), or (G, B, 1, C) with `first_only`."""
        normed = self.attention_norm(values)
        if self.first_only:
            values = values[:, :, :1]
            attended = self._attend_from_first(normed, mask)
        else:
            attended = self._attend(normed, mask)
        values = values + self.dropout(self.output(attended))
        hidden = functional.gelu(self.expand(self.feed_forward_norm(values)))
        return values + self.dropout(self.contract(hidden))

    def _attend(self, rows: Tensor, mask: Tensor) -> Tensor:
        """rows (G, B, L, C), mask (B, L) -> (G, B, L, C)."""
        groups, batch, length, width = rows.shape

        def split_heads(projected: Tensor) -> Tensor:
            return projected.reshape(groups * batch, length, self.heads, -1).transpose(1, 2)

        key, value = self.key_value(rows).chunk(2, dim=-1)
        allowed = mask[None, :, None, None].expand(groups, -1, 1, length, -1).reshape(-1, 1, length, length)
        attended = functional.scaled_dot_product_attention(
            split_heads(self.query(rows)), split_heads(key), split_heads(value), attn_mask=allowed
        )
        return attended.transpose(1, 2).reshape(rows.shape)

    def _attend_from_first(self, rows: Tensor, mask: Tensor) -> Tensor:
        """rows (G, B, L, C), mask (B, L) -> (G, B, 1, C), without keys and values of the rows.

        One query a head: q (Wk x) = (Wk' q) x, and the weighted mean of Wv x is Wv times that of x. The keys' bias adds
        the same to every score, so softmax takes it out.
        """
        groups, batch, _, width = rows.shape
        key_weight, value_weight = (
            half.unflatten(-1, (self.heads, -1)).transpose(1, 2) for half in self.key_value.weight.chunk(2, dim=-1)
        )  # (G, H, C, C / H)
        value_bias = self.key_value.bias[..., width:]
        query = self.query(rows[:, :, :1]).view(groups, batch, self.heads, -1).transpose(1, 2)  # (G, H, B, C / H)
        folded = (query @ key_weight.transpose(2, 3)).transpose(1, 2)  # (G, B, H, C)
        scores = folded @ rows.transpose(2, 3) / math.sqrt(width // self.heads)
        shares = scores.masked_fill(~mask[:, None], -math.inf).float().softmax(dim=-1)  # (G, B, H, L)
        means = (shares @ rows).transpose(1, 2)  # (G, H, B, C)
        return ((means @ value_weight).transpose(1, 2).reshape(groups, batch, width) + value_bias)[:, :, None]


class ClassTokenEncoder(nn.Module):
    """G transformer encoders side by side; each reads its own token sequence and returns its class token's state.

    Positions are sinusoidal, so any length is served. The last layer computes only the class token's row: nothing reads
    the others.
    """

    def __init__(
        self, groups: int, input_width: int, width: int, layers: int, heads: int, feed_forward: int, dropout: float
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"an encoder needs at least one layer, got {layers}")
        self.embed = GroupedLinear(groups, input_width, width)
        self.class_token = nn.Parameter(0.02 * torch.randn(groups, 1, 1, width))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            GroupedBlock(groups, width, heads, feed_forward, dropout, first_only=layer == layers - 1)
            for layer in range(layers)
        )
        self.norm = GroupedNorm(groups, width)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """tokens (G, B, L, C_in), mask (B, L) -> class token states (G, B, C)."""
        groups, batch = tokens.shape[:2]
        # Single precision also under autocast: what the layers add to must not lose what they add.
        values = self.embed(tokens).float()
        values = values + sinusoid(torch.arange(values.shape[2], device=values.device), values.shape[3])
        values = self.dropout(torch.cat([self.class_token.expand(groups, batch, -1, -1), values], dim=2))
        mask = torch.cat([mask.new_ones(batch, 1), mask], dim=1)
        for block in self.blocks:
            values = block(values, mask)
        return self.norm(values)[:, :, 0]


def perceptron(input_width: int, output_width: int) -> nn.Sequential:
    """What brings a class token's state into the joint space."""
    hidden = 2 * output_width
    return nn.Sequential(nn.Linear(input_width, hidden), nn.GELU(), nn.Linear(hidden, output_width))
