"""The 2D RVQ-VAE: motion features <-> a grid of tokens, time x body part, with Q levels.

Letters: B batch, T frames, N = T / 4 token steps, J part rows, Q quantisers, D feature columns. Masks: True = valid.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.configs import RVQConfig
from models.vq.convolution import Decoder, Encoder
from models.vq.quantizer import Quantized, ResidualQuantizer
from utils.errors import UserError
from utils.motion_format import MotionFormat
from utils.normalizer import Normalizer
from utils.representation import features_to_grid, grid_to_features, planted, with_bones


@dataclass(frozen=True)
class Reconstruction:
    """What a training pass returns.

    Attributes:
        target: (B, T, D) the normalised input.
        output: (B, T, D) its normalised reconstruction.
        quantized: what the quantiser did.
    """

    target: Tensor
    output: Tensor
    quantized: Quantized


class RVQVAE(nn.Module):
    """Takes and gives raw features; normalises with its own statistics inside."""

    def __init__(self, config: RVQConfig, form: MotionFormat):
        super().__init__()
        self.config = config
        self.form = form
        self.frames_per_step = 2**config.down_t
        self.normalizer = Normalizer(self.form.n_features)
        self.encoder = Encoder(config, self.form)
        self.decoder = Decoder(config, self.form)
        self.quantizer = ResidualQuantizer(
            config.num_quantizers,
            config.nb_code2d,
            config.code_dim2d,
            config.mu,
            config.quantize_dropout_prob,
            config.sample_codebook_temp,
        )

    @property
    def n_parts(self) -> int:
        """J."""
        return self.form.n_parts

    def _latent(self, features: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Raw features -> normalised features, latent (B, N, J, C)."""
        if features.shape[1] % self.frames_per_step:
            raise UserError(f"{features.shape[1]} frames are not a multiple of {self.frames_per_step}")
        normalised = self.normalizer.normalize(features)
        if mask is not None:
            normalised = normalised * mask[..., None]
            mask = mask.to(normalised.dtype)
        grid = features_to_grid(normalised, self.form).permute(0, 3, 1, 2)
        return normalised, self.encoder(grid, mask).permute(0, 2, 3, 1)

    def _features(self, values: Tensor, frame_mask: Tensor | None) -> Tensor:
        """Code sums (B, N, J, C) -> normalised features (B, T, D)."""
        mask = None if frame_mask is None else frame_mask.to(values.dtype)
        grid = self.decoder(values.permute(0, 3, 1, 2), mask)
        return grid_to_features(grid.permute(0, 2, 3, 1), self.form)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Reconstruction:
        """Encodes, quantises and decodes raw features (B, T, D) with mask (B, T)."""
        if mask is None:
            mask = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
        normalised, latent = self._latent(features, mask)
        # Distances to codes and the codes' moving averages keep single precision under autocast.
        with torch.autocast(latent.device.type, enabled=False):
            quantized = self.quantizer(latent.float(), mask[:, :: self.frames_per_step])
        return Reconstruction(normalised, self._features(quantized.values, mask).float(), quantized)

    def encode(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Raw features (B, T, D), mask (B, T) -> the nearest codes (B, N, J, Q); padding steps get code 0.

        Raises:
            UserError: T is not a multiple of four.
        """
        codes = self.quantizer.encode(self._latent(features, mask)[1])
        return codes if mask is None else codes * mask[:, :: self.frames_per_step, None, None]

    def decode(self, codes: Tensor, step_mask: Tensor | None = None) -> Tensor:
        """Codes (B, N, J, q) of the first q <= Q levels, step mask (B, N) -> raw features (B, 4 N, D).

        Frames past a sample's end hold nothing meaningful and never change its valid frames.
        """
        frame_mask = None if step_mask is None else step_mask.repeat_interleave(self.frames_per_step, dim=1)
        features = self.normalizer.denormalize(self._features(self.quantizer.lookup(codes), frame_mask))
        if self.config.max_bone_change is not None:
            features = with_bones(features, self.form, self.config.max_bone_change)
        if self.config.max_foot_slide is not None:
            features = planted(features, self.form, self.config.max_foot_slide / self.form.fps, frame_mask)
        return features
