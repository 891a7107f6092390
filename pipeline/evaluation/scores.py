"""Motions of one repeat -> numbers. What does not change between repeats is measured once.

Letters: N motions, D dimensions of the evaluator's space, R motions of one caption.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from data.clips import Clip
from data.oracle.scores import score_attributes, semantic_accuracy
from models.evaluator.interface import Evaluator
from pipeline.evaluation.samples import Sample
from utils import metrics
from utils.motion_format import CONTACT, MotionFormat
from utils.representation import features_to_joints

DIVERSITY_PAIRS = 300
MULTIMODALITY_PAIRS = 10
CANDIDATES = 32  # that a caption's own motion is found among, for R-precision


def few_for_fid(clips: int, dimension: int) -> bool:
    """Whether FID of so many clips would mean nothing: a covariance of N samples in D dimensions has rank N - 1 at
    most, so that with N <= D it is singular, and two such sets of one and the same kind lie far apart."""
    return clips <= dimension


def small_split(clips: int, dimension: int, source: str = "") -> list[str]:
    """Lines about numbers that mean something else, or nothing, for so few clips; `source` is one of several sets."""
    here, notes = f" [{source}]" if source else "", []
    if few_for_fid(clips, dimension):
        notes.append(
            f"FID{here}: n/a ({clips} clips); it compares covariances in {dimension} dimensions, which takes more than"
            f" {dimension} clips"
        )
    if clips < CANDIDATES:
        notes.append(
            f"R@1 to R@3{here}: among {clips} candidates, not {CANDIDATES}; chance is {1 / clips:.2f}, not"
            f" {1 / CANDIDATES:.2f}, for R@1: not to be compared with others"
        )
    return notes


@dataclass(frozen=True)
class Measured:
    """What scores need of N motions, one entry each, or None where nothing can measure it.

    Attributes:
        foot_skate: (N,) metres in a twentieth of a second, NaN for motions whose feet are never in contact.
        embeddings: (N, D).
        attributes: verdicts of the semantic oracle; None for a motion of which it knows nothing.
        errors: joint errors in metres of motions that reconstruct their clips.
    """

    foot_skate: np.ndarray
    embeddings: np.ndarray | None
    attributes: list[Mapping[str, bool] | None] | None
    errors: list[Mapping[str, float]] | None = None

    def rows(self, numbers: Sequence[int]) -> Measured:
        """The motions `numbers`, in that order."""
        chosen = [None if each is None else [each[i] for i in numbers] for each in (self.attributes, self.errors)]
        embeddings = None if self.embeddings is None else self.embeddings[list(numbers)]
        return Measured(self.foot_skate[list(numbers)], embeddings, *chosen)


class Scorer:
    """Scores motions against the clips they belong to.

    Args:
        clips: ground truth.
        form: what the motions are.
        evaluator: embeds texts and motions, or None: no FID, R-precision, matching score, diversity.
        attributes: clip id -> attributes for the semantic oracle, perhaps of some clips only, or None: no semantic
            accuracy.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        form: MotionFormat,
        evaluator: Evaluator | None,
        attributes: Mapping[str, Any] | None,
    ):
        self.clips, self.form = clips, form
        self.evaluator, self.attributes = evaluator, attributes

    @cached_property
    def _text_embeddings(self) -> np.ndarray:
        return self.evaluator.embed_text([caption for clip in self.clips for caption in clip.captions])

    @cached_property
    def _real_embeddings(self) -> np.ndarray:
        return self.evaluator.embed_motion([clip.features for clip in self.clips])

    def measure(self, motions: Sequence[np.ndarray], clip_indices: Sequence[int], reconstructed: bool) -> Measured:
        """Features (T, D_f) of motions that belong to clips; `reconstructed`: frame by frame."""
        embeddings = None if self.evaluator is None else self.evaluator.embed_motion(motions)
        skates, attributes, errors = [], [], []
        for motion, index in zip(motions, clip_indices, strict=True):
            clip, joints = self.clips[index], features_to_joints(motion, self.form)
            touching = motion[:, self.form.contacts] > CONTACT
            skates.append(metrics.foot_skate(joints[:, self.form.feet], touching, self.form.fps))
            if self.attributes is not None:
                told = self.attributes.get(clip.id)
                attributes.append(None if told is None else score_attributes(joints, told, self.form.fps))
            if reconstructed:
                pair = features_to_joints(clip.features[: len(motion)], self.form), joints
                errors.append(
                    {"mpjpe": metrics.root_aligned_joint_error(*pair), "joint_error": metrics.joint_error(*pair)}
                )
        return Measured(
            np.array(skates),
            embeddings,
            attributes if self.attributes is not None else None,
            errors if reconstructed else None,
        )

    def score(
        self,
        measured: Measured,
        samples: Sequence[Sample],
        generator: np.random.Generator,
        among: Sequence[int] | None = None,
    ) -> dict[str, float]:
        """Measured motions, one a sample -> named numbers.

        Args:
            generator: of the orders and pairs that R-precision and diversity draw.
            among: the clips that the samples are of; None: all.
        """
        numbers: dict[str, float] = {}
        if not np.isnan(measured.foot_skate).all():
            numbers["foot_skate"] = float(np.nanmean(measured.foot_skate))
        if measured.embeddings is not None:
            numbers |= self._embedding_scores(measured.embeddings, samples, generator, among)
        if measured.attributes and None not in measured.attributes:
            numbers["semantic_accuracy"] = semantic_accuracy(measured.attributes)
        if measured.errors is not None:
            for name in measured.errors[0]:
                numbers[name] = float(np.mean([errors[name] for errors in measured.errors]))
        return numbers

    def multimodality(
        self, motions: Sequence[np.ndarray], n_captions: int, generator: np.random.Generator
    ) -> dict[str, float]:
        """Features of R motions of each of `n_captions` captions, caption by caption -> how different they are."""
        if self.evaluator is None:
            return {}
        embeddings = self.evaluator.embed_motion(motions)
        grouped = embeddings.reshape(n_captions, -1, embeddings.shape[1])
        pairs = min(MULTIMODALITY_PAIRS, grouped.shape[1])
        return {"multimodality": metrics.multimodality(grouped, pairs, generator)}

    def _embedding_scores(
        self,
        motion: np.ndarray,
        samples: Sequence[Sample],
        generator: np.random.Generator,
        among: Sequence[int] | None,
    ) -> dict[str, float]:
        text = self._text_embeddings[[sample.caption_index for sample in samples]]
        order = generator.permutation(len(samples))  # R-precision compares a sample with the 31 beside it
        precision = metrics.r_precision(text[order], motion[order], batch_size=min(CANDIDATES, len(motion)))
        real = self._real_embeddings if among is None else self._real_embeddings[among]
        scores = {} if few_for_fid(len(real), real.shape[1]) else {"fid": metrics.frechet_distance(real, motion)}
        scores |= {f"r_precision_top{rank}": float(value) for rank, value in enumerate(precision, start=1)}
        scores["matching_score"] = metrics.matching_score(text, motion)
        if len(motion) > 1:
            scores["diversity"] = metrics.diversity(motion, min(DIVERSITY_PAIRS, len(motion) // 2), generator)
        return scores
