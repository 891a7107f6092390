"""Our own evaluator, for datasets that have none: captions and motions into one space, trained contrastively.

Letters: B batch, T frames, N = T / 4 steps, L tokens of a caption, C width, D dimensions of the joint space.
Masks: True = valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from models.configs import EvaluatorConfig
from models.evaluator.base import FRAMES_PER_STEP, MOTIONS_AT_ONCE, TEXTS_AT_ONCE, Evaluator
from models.transformer.blocks import Attention, FeedForward
from models.transformer.token_grid import sinusoid
from utils.batches import length_mask
from utils.errors import UserError
from utils.motion_format import MotionFormat
from utils.normalizer import Normalizer
from utils.run import Run

if TYPE_CHECKING:
    from data.clips import Caption
    from models.text_encoder import TextEncoder, TextFeatures


class SequenceEncoder(nn.Module):
    """A transformer whose class token, read out at the end, becomes an embedding of unit length."""

    def __init__(self, width: int, n_heads: int, n_layers: int, dropout: float, dimension: int) -> None:
        super().__init__()
        self.class_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.attention = nn.ModuleList(Attention(width, n_heads, dropout) for _ in range(n_layers))
        self.feed_forward = nn.ModuleList(FeedForward(width, 2 * width, dropout) for _ in range(n_layers))
        self.output = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, dimension))

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """rows (B, L, C), mask (B, L) -> (B, D)."""
        rows = rows + sinusoid(torch.arange(rows.shape[1], device=rows.device), rows.shape[2])
        rows = torch.cat([self.class_token.expand(len(rows), -1, -1), rows], dim=1)
        allowed = functional.pad(mask, (1, 0), value=True)[:, None, None]
        for attention, feed_forward in zip(self.attention, self.feed_forward, strict=True):
            rows = feed_forward(attention(rows, allowed))
        return functional.normalize(self.output(rows[:, 0]).float(), dim=-1)


class EvaluatorNetwork(nn.Module):
    """Both encoders and the statistics of the motions they were trained on.

    The motion encoder sees whole feature rows. Two strided convolutions make steps of four frames of them; frames past
    a motion's end are zero before each, which is what the convolutions find beyond a whole motion too.

    Args:
        config: the architecture.
        form: what the motions are.
        text_dim: channels of the text encoder's states.
        normalizer: statistics of the training data; none: to be loaded with the weights.
    """

    def __init__(
        self, config: EvaluatorConfig, form: MotionFormat, text_dim: int, normalizer: Normalizer | None = None
    ) -> None:
        super().__init__()
        n_features, width = form.n_features, config.latent_dim
        sizes = {"n_heads": config.n_heads, "dropout": config.dropout, "dimension": config.embed_dim}
        self.config, self.form = config, form
        self.normalizer = normalizer or Normalizer(n_features)
        self.stem = nn.ModuleList([nn.Conv1d(n_features, width, 4, 2, 1), nn.Conv1d(width, width, 4, 2, 1)])
        self.motion_encoder = SequenceEncoder(width, n_layers=config.motion_layers, **sizes)
        self.text_input = nn.Linear(text_dim, width)
        self.text_encoder = SequenceEncoder(width, n_layers=config.text_layers, **sizes)

    def encode_motion(self, motion: Tensor, mask: Tensor) -> Tensor:
        """Raw features (B, T, D_f), mask (B, T) -> (B, D) of unit length. What padding holds does not matter."""
        n_steps = -(-motion.shape[1] // FRAMES_PER_STEP)
        missing = n_steps * FRAMES_PER_STEP - motion.shape[1]
        rows = functional.pad(self.normalizer.normalize(motion), (0, 0, 0, missing)).transpose(1, 2)
        mask = functional.pad(mask, (0, missing), value=False)
        for convolution in self.stem:
            rows = functional.gelu(convolution(rows.masked_fill(~mask[:, None], 0.0)))
            mask = mask.view(len(mask), -1, 2).any(dim=-1)
        return self.motion_encoder(rows.transpose(1, 2), mask)

    def encode_text(self, features: TextFeatures) -> Tensor:
        """Token states of B captions -> (B, D) of unit length."""
        return self.text_encoder(self.text_input(features.states), features.mask)


class OwnEvaluator(Evaluator):
    """A trained `EvaluatorNetwork` with its sentence encoder."""

    def __init__(self, network: EvaluatorNetwork, text_encoder: TextEncoder) -> None:
        super().__init__("own", network, len(network.normalizer.mean), network.config.embed_dim)
        self.text_encoder = text_encoder

    @classmethod
    def load(
        cls,
        run: Run,
        device: torch.device | str = "cpu",
        text_encoder: TextEncoder | None = None,
        which: str | None = None,
    ) -> OwnEvaluator:
        """Loads a run of `train_evaluator.py`.

        Args:
            run: of stage evaluator.
            device: where to run.
            text_encoder: used if it is the one that the run was trained with; else that one is built.
            which: checkpoint of the run.

        Raises:
            UserError: no weights, or a config or weights of something else.
        """
        from models.text_encoder import build_text_encoder

        config = run.of_stage("evaluator").section("model", EvaluatorConfig)
        text_encoder = build_text_encoder(config.text_encoder, device, shared=text_encoder)

        def build() -> EvaluatorNetwork:
            return EvaluatorNetwork(config, run.format, text_encoder.dim)

        return cls(run.filled(config, build, which, device), text_encoder)

    def embed_text(self, captions: Sequence[Caption]) -> np.ndarray:
        """See `Evaluator.embed_text`; only the sentences are read."""
        texts = [caption.text for caption in captions]
        if (empty := next((number for number, text in enumerate(texts) if not text.strip()), None)) is not None:
            raise UserError(f"caption {empty} is empty")

        def embed(chosen: list[int]) -> Tensor:
            features = self.text_encoder.features([texts[number] for number in chosen])
            return self.network.encode_text(features.to(self.device))

        return self._embed([len(text) for text in texts], TEXTS_AT_ONCE, embed)

    def embed_motion(self, motions: Sequence[np.ndarray]) -> np.ndarray:
        """See `Evaluator.embed_motion`."""
        checked = self._checked(motions)

        def embed(chosen: list[int]) -> Tensor:
            padded = pad_sequence([checked[number] for number in chosen], batch_first=True)
            mask = length_mask(torch.tensor([len(checked[number]) for number in chosen]), padded.shape[1])
            return self.network.encode_motion(padded.to(self.device), mask.to(self.device))

        return self._embed([len(motion) for motion in checked], MOTIONS_AT_ONCE, embed)
