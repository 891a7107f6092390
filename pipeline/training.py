"""What the trainings of all stages have in common, and what those that read captions do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset, default_collate

from data.clips import load_split, load_statistics
from data.collate import collate_motions
from data.datasets import MotionTextDataset
from data.specs import get_spec
from engine.harness import Harness
from engine.retriever_task import CaptionTexts
from engine.run_state import prepare_run
from engine.schedule import seed_everything
from engine.task import Task
from models.text_encoder import TextFeatureStore, build_text_encoder
from options.stages import EvaluatorOptions, LengthOptions, RetrieverOptions, run_config
from pipeline.runs import runs_of
from utils.device import choose_device
from utils.normalizer import Normalizer


def harness_of(
    options: Any,
    task: Task,
    train: Dataset,
    val: Dataset,
    device: torch.device,
    collate: Callable[[list[Any]], Any] = collate_motions,
    facts: Mapping[str, Any] | None = None,
) -> Harness:
    """A training of a stage, ready for `fit`. Its run folder is made.

    Args:
        options: of the stage's script.
        facts: what the config tells besides the options.

    Raises:
        UserError: the run folder holds another training, or the settings cannot be met.
    """
    run_dir = runs_of(options.run).path(options.run.name)
    harness = Harness(run_dir, task, train, val, options.train, collate, device)
    prepare_run(run_dir, run_config(options) | dict(facts or {}))
    return harness


class TextTraining:
    """Clips with captions, and the text encoder that reads them. The seed is set: the model comes next.

    Args:
        options: of the stage's script.
        crop: train on random crops of long clips too; else on the lengths of whole clips, and both splits number
            captions together.
        trainable: the text encoder is trained along.

    Raises:
        UserError: the dataset or the text encoder is missing.
    """

    def __init__(
        self, options: EvaluatorOptions | LengthOptions | RetrieverOptions, crop: bool = True, trainable: bool = False
    ) -> None:
        self.options, self.spec = options, get_spec(options.run.dataset_name)
        self.device = choose_device(options.run.gpu_id)
        clips, longest = load_split(self.spec, "train", keep_long=crop), self.spec.max_frames
        self.train = MotionTextDataset(clips, longest, options.train.seed, random_crop=crop, motions=crop)
        first = 0 if crop else len(self.train.captions)
        val = load_split(self.spec, "val")
        self.val = MotionTextDataset(val, longest, random_crop=False, first_caption=first, motions=crop)
        self.encoder = build_text_encoder(options.model.text_encoder, device=self.device, trainable=trainable)
        seed_everything(options.train.seed)

    def normalizer(self) -> Normalizer:
        """With the statistics of the dataset."""
        return Normalizer.from_statistics(*load_statistics(self.spec), self.spec.format)

    def store(self, captions: Sequence[str]) -> TextFeatureStore:
        """The encoder's features of captions."""
        return TextFeatureStore(self.encoder, captions, self.spec.cache_dir)

    def texts(self, dataset: MotionTextDataset, captions: Sequence[str], stored: bool = True) -> CaptionTexts:
        """Captions of a dataset, perhaps with more behind them, and their features, if they are `stored`."""
        owners = [number for number, clip in enumerate(dataset.clips) for _ in clip.captions]
        return CaptionTexts(captions, owners, self.store(captions) if stored else None)

    def harness(self, task: Task, **facts: Any) -> Harness:
        """See `harness_of`."""
        collate = collate_motions if self.train.motions else default_collate
        return harness_of(self.options, task, self.train, self.val, self.device, collate, facts)
