"""Training the length estimator: captions -> cross-entropy over token steps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.loading import fetch_texts
from engine.task import Task
from models.length_estimator import LengthEstimator
from models.text_encoder import TextFeatures, TextFeatureStore


class LengthTask(Task):
    """Classes are token steps; neighbours are alike, so validation reports the mean error in frames too."""

    best = {"loss": "min"}

    def __init__(self, model: LengthEstimator, texts: TextFeatureStore, frames_per_step: int):
        super().__init__()
        self.model, self.texts, self.frames_per_step = model, texts, frames_per_step
        self.loss_weights = {"cross_entropy": 1.0}

    def host_fetcher(self) -> Callable[[Any], dict[str, Any]]:
        """Adds `texts`."""
        return partial(fetch_texts, self.texts)

    def _logits(self, texts: TextFeatures, length: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, V), and the right classes (B,) of lengths (B,) in frames."""
        return self.model(texts.pooled, texts.states, texts.mask).float(), length // self.frames_per_step

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """batch: length (B,) frames, and the fetched texts."""
        logits, steps = self._logits(batch["texts"], batch["length"])
        return {"cross_entropy": F.cross_entropy(logits, steps)}

    def validate_batch(self, batch: dict[str, Any], number: int) -> dict[str, Any]:
        """A loss and an error a caption."""
        texts = self.texts.rows(batch["caption_index"].cpu()).to(batch["length"].device)
        logits, steps = self._logits(texts, batch["length"])
        classes = torch.arange(logits.shape[1], device=logits.device)
        errors = ((logits.softmax(dim=-1) * classes).sum(dim=-1) - steps).abs() * self.frames_per_step
        return {"loss": F.cross_entropy(logits, steps, reduction="none"), "frames_off": errors}

    def summarise(self, records: list[dict[str, Any]]) -> dict[str, float]:
        """Loss and mean error of the distribution's mean, in frames."""
        return {name: float(torch.cat([record[name] for record in records]).mean()) for name in ("loss", "frames_off")}
