"""Training the length estimator: captions -> cross-entropy over token steps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.task import Task
from models.length_estimator import LengthEstimator
from models.text_encoder import TextFeatureStore


class LengthTask(Task):
    """Classes are token steps; neighbours are alike, so validation reports the mean error in frames too."""

    best = {"loss": "min"}

    def __init__(self, model: LengthEstimator, texts: TextFeatureStore, frames_per_step: int):
        super().__init__()
        self.model, self.texts, self.frames_per_step = model, texts, frames_per_step
        self.loss_weights = {"cross_entropy": 1.0}

    def _logits(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        features = self.texts.rows(batch["caption_index"].cpu()).to(batch["length"].device)
        return self.model(features.pooled, features.states, features.mask), batch["length"] // self.frames_per_step

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """batch: caption_index (B,), length (B,) frames."""
        logits, steps = self._logits(batch)
        return {"cross_entropy": F.cross_entropy(logits, steps)}

    @torch.no_grad()
    def validate(self, loader: Iterable[dict[str, Any]]) -> dict[str, float]:
        """Loss and mean error of the distribution's mean, in frames."""
        losses, errors = [], []
        for batch in loader:
            logits, steps = self._logits(batch)
            losses.append(F.cross_entropy(logits, steps, reduction="none"))
            classes = torch.arange(logits.shape[1], device=logits.device)
            errors.append(((logits.softmax(dim=-1) * classes).sum(dim=-1) - steps).abs() * self.frames_per_step)
        return {"loss": float(torch.cat(losses).mean()), "frames_off": float(torch.cat(errors).mean())}
