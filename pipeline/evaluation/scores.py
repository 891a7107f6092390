"""Motions of one repeat -> numbers. What does not change between repeats is computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from data.clips import Clip
from data.oracle import score_attributes, semantic_accuracy
from models.evaluator.interface import Evaluator
from pipeline.evaluation.samples import Sample
from utils import metrics
from utils.representation import features_to_joints

DIVERSITY_PAIRS = 300


class Scorer:
    """Scores motions against the clips they belong to.

    Args:
        clips: ground truth.
        layout: feature layout name.
        fps: frames a second.
        evaluator: embeds texts and motions, or None: no FID, R-precision, matching score, diversity.
        attributes: clip id -> attributes for the semantic oracle, or None: no semantic accuracy.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        layout: str,
        fps: float,
        evaluator: Evaluator | None,
        attributes: Mapping[str, Any] | None,
    ):
        self.clips, self.layout, self.fps = clips, layout, fps
        self.evaluator, self.attributes = evaluator, attributes

    @cached_property
    def _text_embeddings(self) -> np.ndarray:
        return self.evaluator.embed_text([caption for clip in self.clips for caption in clip.captions])

    @cached_property
    def _real_embeddings(self) -> np.ndarray:
        return self.evaluator.embed_motion([clip.features for clip in self.clips])

    def score(
        self, motions: Sequence[np.ndarray], samples: Sequence[Sample], generator: np.random.Generator
    ) -> dict[str, float]:
        """Features (T, D), one a sample -> named numbers.

        Args:
            generator: of the orders and pairs that R-precision and diversity draw.
        """
        numbers: dict[str, float] = {}
        if self.evaluator is not None:
            numbers |= self._embedding_scores(self.evaluator.embed_motion(motions), samples, generator)
        joints = [features_to_joints(motion, self.layout) for motion in motions]
        if self.attributes is not None:
            scores = [
                score_attributes(positions, self.attributes[self.clips[sample.clip_index].id], self.fps)
                for positions, sample in zip(joints, samples, strict=True)
            ]
            numbers["semantic_accuracy"] = semantic_accuracy(scores)
        return numbers

    def reconstruction(self, motions: Sequence[np.ndarray], samples: Sequence[Sample]) -> dict[str, float]:
        """Joint errors in metres of motions that reconstruct their clips."""
        pairs = [
            [
                features_to_joints(features[: len(motion)], self.layout)
                for features in (self.clips[s.clip_index].features, motion)
            ]
            for motion, s in zip(motions, samples, strict=True)
        ]
        return {
            "mpjpe": float(np.mean([metrics.root_aligned_joint_error(*pair) for pair in pairs])),
            "joint_error": float(np.mean([metrics.joint_error(*pair) for pair in pairs])),
        }

    def _embedding_scores(
        self, motion: np.ndarray, samples: Sequence[Sample], generator: np.random.Generator
    ) -> dict[str, float]:
        text = self._text_embeddings[[sample.caption_index for sample in samples]]
        order = generator.permutation(len(samples))  # R-precision compares a sample with the 31 beside it
        precision = metrics.r_precision(text[order], motion[order])
        return {
            "fid": metrics.frechet_distance(self._real_embeddings, motion),
            **{f"r_precision_top{rank}": float(value) for rank, value in enumerate(precision, start=1)},
            "matching_score": metrics.matching_score(text, motion),
            "diversity": metrics.diversity(motion, min(DIVERSITY_PAIRS, len(motion) // 2), generator),
        }
