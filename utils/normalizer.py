"""Feature statistics that travel with the model that was trained with them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from utils.errors import UserError
from utils.motion_format import MotionFormat


class Normalizer(nn.Module):
    """Raw features <-> normalised features, with statistics as buffers that nobody changes in place.

    `feat_bias` divides the std of the root columns and of the contacts, so that the loss listens to them (MoMask).
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, n_features: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("std", torch.ones(n_features))

    @classmethod
    def from_statistics(
        cls, mean: np.ndarray, std: np.ndarray, form: MotionFormat, feat_bias: float = 1.0
    ) -> Normalizer:
        """Builds one from a dataset's mean and std (D,).

        Raises:
            UserError: wrong width, non-finite values, or a std that is not positive.
        """
        mean, std = np.asarray(mean, dtype=np.float32), np.asarray(std, dtype=np.float32)
        for name, values in (("Mean", mean), ("Std", std)):
            if values.shape != (form.n_features,) or not np.isfinite(values).all():
                raise UserError(f"{name}.npy must hold {form.n_features} finite numbers, it has shape {values.shape}")
        if (std <= 0).any():
            raise UserError(f"Std.npy has values that are not positive (first in column {int((std <= 0).argmax())})")
        biased = std.copy()
        biased[form.root] /= feat_bias
        biased[form.contacts] /= feat_bias
        normalizer = cls(form.n_features)
        normalizer.mean.copy_(torch.from_numpy(mean))
        normalizer.std.copy_(torch.from_numpy(biased))
        return normalizer

    def normalize(self, features: torch.Tensor) -> torch.Tensor:
        """Raw features (..., D) -> normalised."""
        return (features - self.mean) / self.std

    def denormalize(self, features: torch.Tensor) -> torch.Tensor:
        """Normalised features (..., D) -> raw."""
        return features * self.std + self.mean
