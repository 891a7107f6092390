"""The part-level motion encoder: one class-token transformer a body part, all of them in one batched computation.

Legend: B batch, T frames, P frames a patch, L = ceil(T / P) tokens, G parts, C width, D embedding. Masks: True = valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from models.configs import PartTMRConfig
from Part_TMR.grouped import ClassTokenEncoder, perceptron


class MotionEmbedding(NamedTuple):
    """What the motion encoder says of a motion, all rows of unit length."""

    motion: Tensor  # (B, D)
    parts: Tensor  # (B, G, C)


class PartTokens(NamedTuple):
    """What the part encoders read of motions: made without trained numbers, so copies of an encoder can share it."""

    patches: Tensor  # (G, B, L, P * W)
    mask: Tensor  # (B, L)


class PartEncoder(nn.Module):
    """Normalised features -> one embedding a motion and one a body part.

    Args:
        columns: the feature columns of each part; parts of fewer columns than the widest are filled with zeros.
        config: of the retriever.
    """

    def __init__(self, columns: Sequence[np.ndarray], config: PartTMRConfig) -> None:
        super().__init__()
        self.patch_frames = config.patch_frames
        widest = max(len(part) for part in columns)
        n_features = 1 + max(int(max(part)) for part in columns)
        # The column after the last feature is a zero that fills up the narrow parts.
        table = np.full((len(columns), widest), n_features)
        for row, part in zip(table, columns, strict=True):
            row[: len(part)] = part
        self.register_buffer("columns", torch.from_numpy(table), persistent=False)
        self.n_features = n_features
        self.encoder = ClassTokenEncoder(
            groups=len(columns),
            input_width=self.patch_frames * widest,
            width=config.part_dim,
            layers=config.motion_layers,
            heads=config.motion_heads,
            feed_forward=config.motion_ff_size,
            dropout=config.dropout,
        )
        self.projection = perceptron(len(columns) * config.part_dim, config.embed_dim)

    def forward(self, features: Tensor, mask: Tensor) -> MotionEmbedding:
        """Normalised features (B, T, D) and mask (B, T) -> MotionEmbedding. What padding holds does not matter."""
        return self.encode(self.tokens(features, mask))

    def encode(self, tokens: PartTokens) -> MotionEmbedding:
        """What `tokens` gave -> MotionEmbedding."""
        states = self.encoder(*tokens).transpose(0, 1)
        motion = functional.normalize(self.projection(states.flatten(1)).float(), dim=-1)
        return MotionEmbedding(motion, functional.normalize(states, dim=-1))

    def tokens(self, features: Tensor, mask: Tensor) -> PartTokens:
        """Normalised features (B, T, D) and mask (B, T) -> tokens; one is valid if one of its frames is."""
        batch, n_frames, _ = features.shape
        padding = -n_frames % self.patch_frames
        features = features[..., : self.n_features].masked_fill(~mask[..., None], 0.0)
        features = functional.pad(features, (0, 1, 0, padding))
        mask = functional.pad(mask, (0, padding), value=False)
        groups, widest = self.columns.shape
        parts = features.index_select(-1, self.columns.flatten()).view(batch, -1, self.patch_frames, groups, widest)
        patches = parts.permute(3, 0, 1, 2, 4).flatten(3)
        return PartTokens(patches, mask.view(batch, -1, self.patch_frames).any(dim=-1))
