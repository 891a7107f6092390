"""The retriever's network: raw motions and text features into one space.

Legend: B batch, T frames, G parts, D embedding, C width.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from models.configs import PartTMRConfig
from Part_TMR.part_encoder import MotionEmbedding, PartEncoder, PartTokens
from Part_TMR.text_head import TextHead
from utils.motion_format import MotionFormat
from utils.normalizer import Normalizer

if TYPE_CHECKING:
    from models.text_encoder import TextEncoder, TextFeatures

LOWEST_TEMPERATURE = 0.01


class RetrieverModel(nn.Module):
    """Motion encoder, text head and the statistics of the motions that they were trained on.

    Args:
        config: the architecture.
        form: what the motions are.
        text_width: width of the text encoder's states.
        normalizer: statistics of the training data; none: to be loaded with the weights.
        text_encoder: given when the text encoder is trained along (its module then belongs to this model's state).
    """

    def __init__(
        self,
        config: PartTMRConfig,
        form: MotionFormat,
        text_width: int,
        normalizer: Normalizer | None = None,
        text_encoder: TextEncoder | None = None,
    ) -> None:
        super().__init__()
        self.form = form
        columns = list(form.part_columns.values())
        if config.parts == "whole":
            columns = [torch.arange(form.n_features).numpy()]
        self.config = config
        self.n_parts = len(columns)
        self.normalizer = normalizer or Normalizer(form.n_features)
        self.motion_encoder = PartEncoder(columns, config)
        self.text_head = TextHead(text_width, config)
        self.text_to_parts = None
        if config.lambda_part > 0:
            self.text_to_parts = nn.Linear(config.embed_dim, self.n_parts * config.part_dim)
        self.log_temperature = None
        if config.learn_temperature:
            self.log_temperature = nn.Parameter(torch.tensor(math.log(config.temperature)))
        # A copy of this model copies the encoder and its module together, so that each copy runs its own weights.
        self.text_encoder = text_encoder
        self.text_backbone = text_encoder.module if text_encoder is not None else None

    @property
    def temperature(self) -> Tensor | float:
        """Of the softmax over similarities."""
        if self.log_temperature is None:
            return self.config.temperature
        return self.log_temperature.exp().clamp(min=LOWEST_TEMPERATURE)

    def encode_motion(self, motion: Tensor, mask: Tensor) -> MotionEmbedding:
        """Raw features (B, T, D_features) and mask (B, T) -> embeddings; what padding holds does not matter."""
        return self.motion_encoder(self.normalizer.normalize(motion), mask)

    def part_tokens(self, motion: Tensor, mask: Tensor) -> PartTokens:
        """Raw features (B, T, D_features) and mask (B, T) -> what `motion_encoder.encode` reads."""
        return self.motion_encoder.tokens(self.normalizer.normalize(motion), mask)

    def encode_text(self, texts: TextFeatures | list[str]) -> Tensor:
        """Features of a frozen encoder, or sentences for a trained one -> (B, D) of unit length."""
        if isinstance(texts, list):
            if self.text_encoder is None:
                raise ValueError("sentences need a trained text encoder; a frozen one's features are given instead")
            texts = self.text_encoder.forward_features(texts)
        return self.text_head(texts.pooled, texts.states, texts.mask)

    def texts_as_parts(self, texts: Tensor) -> Tensor:
        """Text embeddings (B, D) -> what each part should be like, (B, G, C); only with a part-level loss."""
        return functional.normalize(self.text_to_parts(texts).float().unflatten(1, (self.n_parts, -1)), dim=-1)
