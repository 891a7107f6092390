"""Training our own evaluator: motions and captions, and both of them mirrored -> contrastive losses.

Letters: B batch, T frames, D dimensions of the joint space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.retriever_task import IN_BATCH, CaptionTexts
from engine.task import Task
from models.evaluator.own import EvaluatorNetwork
from Part_TMR.losses import info_nce, not_negatives
from Part_TMR.momentum_model import Keys, of_all
from utils import metrics
from utils.mirror import mirror_caption, mirror_features
from utils.processes import own_rows

CANDIDATES = 32


def with_mirrored(captions: Sequence[str]) -> list[str]:
    """The captions, then each of them with the words for sides exchanged."""
    return [*captions, *map(mirror_caption, captions)]


def fetch_both(texts: CaptionTexts, batch: dict[str, Tensor]) -> dict[str, Any]:
    """`texts` and `caption` of the batch's captions, then of the mirrored ones: 2 B each."""
    index = batch["caption_index"]
    return texts.fetch(torch.cat([index, index + len(texts.captions) // 2]))


class EvaluatorTask(Task):
    """InfoNCE text -> motion and motion -> text over the batch and its mirror image.

    Each motion meets its mirrored version as a negative wherever the caption names a side. The mirrored version is the
    positive of the mirrored caption, so that being mirrored tells nothing by itself. Clips of one take and equal
    captions are not negatives of each other. The batch is that of all processes.

    Args:
        model: what is trained.
        texts: captions of the training split as `with_mirrored` gives them.
        validation_texts: captions of the validation split, not mirrored.
    """

    best = {"r_precision_top1": "max"}
    loss_weights = {"text_to_motion": 0.5, "motion_to_text": 0.5}
    indivisible = IN_BATCH

    def __init__(self, model: EvaluatorNetwork, texts: CaptionTexts, validation_texts: CaptionTexts | None) -> None:
        super().__init__()
        self.model, self.texts, self.validation_texts = model, texts, validation_texts

    def host_fetcher(self) -> Callable[[Any], dict[str, Any]]:
        """Adds `texts` and `caption`."""
        return partial(fetch_both, self.texts)

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """batch: motion (B, T, D_f), mask (B, T), take_index (B,), and what was fetched: texts, caption (2 B,)."""
        motion = torch.cat([batch["motion"], self._mirrored(batch["motion"])])
        motions = self.model.encode_motion(motion, batch["mask"].repeat(2, 1))
        texts, captions = self.model.encode_text(batch["texts"]), batch["caption"]
        takes = batch["take_index"].repeat(2)
        keys = of_all(Keys(motions, texts, takes, captions))
        own, count = own_rows(len(takes), takes.device), len(keys.takes)
        ignored = not_negatives(takes, captions, keys.takes, keys.captions)
        rows, other_side = torch.arange(len(own), device=own.device), (own + count // 2) % count
        ignored[rows, other_side] = captions == keys.captions[other_side]  # one take, but a negative if sides are named
        temperature = self.model.config.temperature
        first = (texts @ keys.motion.T).detach().argmax(dim=1)
        return {
            "text_to_motion": info_nce(texts, keys.motion, ignored, temperature, own),
            "motion_to_text": info_nce(motions, keys.text, ignored, temperature, own),
            "metric/batch_r1": (first == own).float().mean(),
        }

    def validate_batch(self, batch: dict[str, Any], number: int) -> dict[str, Any]:
        """The embedded motions, their mirror images, and which clips they are."""
        images = (batch["motion"], self._mirrored(batch["motion"]))
        motion, mirror = (self.model.encode_motion(image, batch["mask"]).float() for image in images)
        return {"motion": motion, "mirror": mirror, "clips": batch["clip_index"]}

    def summarise(self, records: list[dict[str, Any]]) -> dict[str, float]:
        """R-precision, matching score of real and of shuffled pairs, and how often a motion beats its mirror image.

        R-precision averages over rounds with another caption of each clip; the mirror image counts for captions that
        name a side.
        """
        order = torch.cat([record["clips"] for record in records]).argsort()
        motion, mirror = (torch.cat([record[key] for record in records])[order].numpy() for key in ("motion", "mirror"))
        texts, owners = self.validation_texts, self.validation_texts.clips
        text = texts.embedded(self.model).numpy()
        counts = np.bincount(owners)
        first = np.cumsum(counts) - counts
        shuffle = np.random.default_rng(0).permutation(len(motion))
        rounds = [
            metrics.r_precision(text[caption], motion[shuffle], batch_size=min(CANDIDATES, len(motion)))
            for caption in ((first + number % counts)[shuffle] for number in range(counts.max()))
        ]
        result = {f"r_precision_top{k}": value for k, value in enumerate(np.mean(rounds, axis=0).tolist(), start=1)}
        result["matching_score"] = metrics.matching_score(text, motion[owners])
        result["shuffled_matching_score"] = metrics.matching_score(text, np.roll(motion, 1, axis=0)[owners])
        sided = np.array([mirror_caption(caption) != caption for caption in texts.captions])
        if sided.any():
            own, other = ((text * images[owners]).sum(axis=1)[sided] for images in (motion, mirror))
            result["mirror_rejected"] = float((own > other).mean())
        return result

    def _mirrored(self, motion: Tensor) -> Tensor:
        return mirror_features(motion, self.model.form)
