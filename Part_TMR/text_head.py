"""The trainable head on a text encoder: token states -> an embedding in the space of the motions.

Mean-pooled sentence vectors hardly tell left from right or one order of actions from the other; the token states still
know. So a small class-token transformer reads the states. Without layers it is a perceptron on the pooled vector.
Legend: B batch, L tokens, D embedding. Masks: True = valid.
"""

from __future__ import annotations

import torch.nn.functional as functional
from torch import Tensor, nn

from models.configs import PartTMRConfig
from Part_TMR.grouped import ClassTokenEncoder, perceptron


class TextHead(nn.Module):
    """Text features -> (B, D) of unit length."""

    def __init__(self, input_width: int, config: PartTMRConfig) -> None:
        super().__init__()
        width, layers = config.text_dim, config.text_layers
        self.encoder = None
        if layers:
            sizes = width, layers, config.text_heads, 2 * width, config.dropout
            self.encoder = ClassTokenEncoder(1, input_width, *sizes)
        self.projection = perceptron(width if layers else input_width, config.embed_dim)

    def forward(self, pooled: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """pooled (B, C), states (B, L, C), mask (B, L) -> (B, D) of unit length."""
        summary = pooled if self.encoder is None else self.encoder(states[None], mask)[0]
        return functional.normalize(self.projection(summary).float(), dim=-1)
