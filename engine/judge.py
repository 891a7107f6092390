"""FID during training: how far a stage's validation motions are from real ones, so that it picks the checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.evaluator.base import Evaluator
from utils import metrics


class FrechetJudge:
    """Compares motions with the real ones of a validation split.

    Args:
        evaluator: embeds motions.
        real: embeddings (N, C) of the real motions; more of them than the evaluator has dimensions.
    """

    def __init__(self, evaluator: Evaluator, real: np.ndarray):
        self.evaluator, self.real = evaluator, real

    def embed(self, motions: Sequence[np.ndarray]) -> np.ndarray:
        """Raw features (T, D) of B motions of the stage -> what `distance` takes of them, (B, C)."""
        return self.evaluator.embed_motion(motions)

    def distance(self, embedded: Sequence[np.ndarray]) -> float:
        """What `embed` made of all motions, batch by batch -> FID."""
        return metrics.frechet_distance(self.real, np.concatenate(embedded))
