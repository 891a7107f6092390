"""How long the motion of a caption lasts: a distribution over token steps.

Letters: B batch, L caption tokens, D channels. Masks: True = valid.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs import LengthEstimatorConfig
from models.transformer.blocks import Attention, FeedForward


class LengthEstimator(nn.Module):
    """Reads the caption's token states with a class token; class n is a motion of n token steps (4 n frames)."""

    def __init__(self, config: LengthEstimatorConfig, text_dim: int):
        super().__init__()
        width = config.latent_dim
        self.config = config
        self.text = nn.Linear(text_dim, width)
        self.sentence = nn.Linear(text_dim, width)
        self.attention = nn.ModuleList(Attention(width, config.n_heads, config.dropout) for _ in range(config.n_layers))
        self.feed_forward = nn.ModuleList(FeedForward(width, 2 * width, config.dropout) for _ in range(config.n_layers))
        self.output = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, config.max_steps_length))

    def forward(self, text: Tensor, text_states: Tensor, text_mask: Tensor) -> Tensor:
        """Sentence (B, D_t), token states (B, L, D_t), mask (B, L) -> logits (B, max_steps_length)."""
        rows = torch.cat([self.sentence(text)[:, None], self.text(text_states)], dim=1)
        allowed = F.pad(text_mask, (1, 0), value=True)[:, None, None]
        for attention, feed_forward in zip(self.attention, self.feed_forward, strict=True):
            rows = feed_forward(attention(rows, allowed))
        return self.output(rows[:, 0])

    @torch.no_grad()
    def estimate(
        self, logits: Tensor, steps: tuple[int, int], seeds: Sequence[int], deterministic: bool = False
    ) -> Tensor:
        """Token steps (B,) within the inclusive range `steps`, drawn with each sample's seed, or the most probable."""
        low, high = steps[0], min(steps[1], self.config.max_steps_length - 1)
        allowed = logits[:, low : high + 1].double().cpu()
        if deterministic:
            return allowed.argmax(dim=-1) + low
        draws = [
            torch.multinomial(row.softmax(dim=-1), 1, generator=torch.Generator().manual_seed(int(seed)))
            for row, seed in zip(allowed, seeds, strict=True)
        ]
        return torch.cat(draws) + low
