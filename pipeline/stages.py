"""The trainings of the stages, each put together from its options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch.utils.data import default_collate

from data.clips import Clip, load_split, load_statistics, load_validation
from data.collate import collate_motions
from data.datasets import EpochDataset, MotionTextDataset, WindowDataset
from data.specs import DatasetSpec
from data.tokens import TokenDataset, collate_tokens
from engine.evaluator_task import EvaluatorTask, with_mirrored
from engine.harness import Harness
from engine.initialise import kept_codes
from engine.judge import FrechetJudge
from engine.length_task import LengthTask
from engine.processes import agree, decided_by_first
from engine.retriever_task import CaptionTexts, RetrieverTask
from engine.run_state import prepare_run
from engine.schedule import seed_everything
from engine.task import Task
from engine.token_tasks import MaskedTask, ResidualTask
from engine.vq_task import VQTask
from models.evaluator.interface import load_evaluator
from models.evaluator.own import EvaluatorNetwork
from models.length_estimator import LengthEstimator
from models.text_encoder import TextFeatureStore, build_text_encoder
from models.transformer.masked import MaskedTransformer
from models.transformer.residual import ResidualTransformer
from models.vq.rvq import RVQVAE
from models.vq.tokenise import cached_tokens, decode_motions
from options.stages import (
    EvaluatorOptions,
    LengthOptions,
    MaskedOptions,
    ResidualOptions,
    RetrieverOptions,
    VQOptions,
    run_config,
)
from Part_TMR.model import RetrieverModel
from Part_TMR.retriever import TRAINED_TEXT_ENCODERS
from pipeline.conditions import training_conditions
from pipeline.loader import load_run, token_config
from pipeline.runs import runs_of
from utils.device import choose_device
from utils.errors import UserError
from utils.fingerprint import weights_hash
from utils.normalizer import Normalizer
from utils.representation import at_tempo
from utils.run import TokenShape
from utils.schema import to_dict

# Performances, of which mirrored copies and parts are the same one. Of fewer in training little but themselves is
# learned. Of fewer in validation a recall takes a handful of values and is soon perfect: the first perfect checkpoint,
# which has seen a few steps, would stay the best.
FEW_TAKES, FEWEST_CHOOSING = 30, 5


def harness(options: Any) -> Harness:
    """The training that the options of a stage's script mean, ready for `fit`. Its run folder is made.

    Raises:
        UserError: the dataset or a run that it needs is missing or does not fit, or the run folder holds another
            training.
    """
    return TRAININGS[options.stage](options)


class Training:
    """What the trainings of all stages have in common: dataset, runs, device.

    Args:
        options: of the stage's script.
    """

    def __init__(self, options: Any) -> None:
        self.options, self.runs, self.device = options, runs_of(options.run), choose_device(options.run.gpu_id)
        self.spec = self.runs.spec

    def normalizer(self, clips: Sequence[Clip], feat_bias: float = 1.0) -> Normalizer:
        """With the statistics of the dataset, or of several together; `clips` are those of training."""
        return Normalizer.from_statistics(*load_statistics(self.spec, clips), self.spec.format, feat_bias)

    def harness(
        self,
        task: Task,
        train: EpochDataset,
        val: EpochDataset | None,
        collate: Callable[[list[Any]], Any] = collate_motions,
        **facts: Any,
    ) -> Harness:
        """The training, ready for `fit`. Its run folder is made.

        Args:
            facts: what the config tells besides the options.

        Raises:
            UserError: the run folder holds another training, or the settings cannot be met.
        """
        run_dir, settings = self.runs.path(self.options.run.name), self.options.train
        choosing, remarks = choosing_of(train.clips, val.clips if val else [], settings.init_from is not None)
        if not choosing:
            task.best = {}
        training = Harness(run_dir, task, train, val, settings, collate, self.device, remarks)
        config = run_config(self.options) | facts
        agree(config)
        decided_by_first(partial(prepare_run, run_dir, config))
        return training


class TextTraining(Training):
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
        super().__init__(options)
        clips, longest = load_split(self.spec, "train", keep_long=crop), self.spec.max_frames
        seed, shares = options.train.seed, self.spec.shares
        self.train = MotionTextDataset(clips, longest, seed, random_crop=crop, motions=crop, shares=shares)
        first = 0 if crop else len(self.train.captions)
        val = load_validation(self.spec)
        how = {"random_crop": False, "first_caption": first, "motions": crop}
        self.val = MotionTextDataset(val, longest, **how) if val else None
        self.encoder = build_text_encoder(options.model.text_encoder, self.device, trainable)
        seed_everything(options.train.seed)

    def store(self, captions: Sequence[str]) -> TextFeatureStore:
        """The encoder's features of captions."""
        return TextFeatureStore(self.encoder, captions, self.spec.cache_dir)

    def texts(
        self,
        dataset: MotionTextDataset | None,
        extended: Callable[[list[str]], list[str]] = list,
        stored: bool = True,
    ) -> CaptionTexts | None:
        """Captions of a dataset, perhaps with more behind them, and their features, if they are `stored`."""
        if dataset is None:
            return None
        captions = extended(dataset.captions)
        owners = [number for number, clip in enumerate(dataset.clips) for _ in clip.captions]
        return CaptionTexts(captions, owners, self.store(captions) if stored else None)


def choosing_of(train: Sequence[Clip], val: Sequence[Clip], tuned: bool) -> tuple[bool, list[str]]:
    """Whether validation can choose checkpoints, and lines about splits that are too small for what they are for.

    Args:
        train, val: clips of both splits.
        tuned: the training starts from another's weights.
    """
    learned, asked = (len({clip.take for clip in clips}) for clips in (train, val))
    remarks = []
    if learned < FEW_TAKES:
        advice = "" if tuned else "; --init_from starts from a trained model"
        remarks.append(
            f"warning: train has {len(train)} clips of {learned} performance{'s' * (learned > 1)}, fewer than"
            f" {FEW_TAKES}: their words and motions will be known, and little else{advice}"
        )
    if asked < FEWEST_CHOOSING:
        there = (
            f"val has {asked} performance{'s' * (asked > 1)}, fewer than {FEWEST_CHOOSING}" if asked else "val is empty"
        )
        remarks.append(f"warning: {there}: checkpoints cannot be chosen by it, the last one is kept")
    return asked >= FEWEST_CHOOSING, remarks


def find_judge(
    spec: DatasetSpec, checkpoints_dir: str, device: torch.device, clips: Sequence[Clip]
) -> FrechetJudge | None:
    """A judge over the clips of a validation split; None, and a line that says why, where it cannot be had.

    FID needs more clips than the evaluator has dimensions, else the covariance of the real ones is singular.
    """
    if len({clip.take for clip in clips}) < FEWEST_CHOOSING:
        return None  # nothing is chosen at all, see `choosing_of`
    try:
        evaluator = load_evaluator(spec, checkpoints_dir, device)
    except UserError as error:
        print(f"checkpoints are chosen without FID: {error}")
        return None
    if len(clips) <= evaluator.dimension:
        print(f"checkpoints are chosen without FID: {len(clips)} validation clips for {evaluator.dimension} dimensions")
        return None
    return FrechetJudge(evaluator, evaluator.kept_motions([clip.features for clip in clips], spec.cache_dir))


def _vq(options: VQOptions) -> Harness:
    training = Training(options)
    spec = training.spec
    train, val = load_split(spec, "train", keep_long=True), load_validation(spec)
    seed_everything(options.train.seed)
    model = RVQVAE(options.model, spec.format)
    model.normalizer = training.normalizer(train, options.model.feat_bias)
    for level in model.quantizer.levels:
        level.kept = options.codebook.keep_codes
    task = VQTask(model, options.loss, find_judge(spec, options.run.checkpoints_dir, training.device, val))
    data, seed = options.data, options.train.seed
    play = partial(at_tempo, form=spec.format) if data.tempo else None
    windows = WindowDataset(train, data.window_size, seed, data.window_stride, spec.shares, data.tempo, play)
    judged = MotionTextDataset(val, spec.max_frames, random_crop=False) if val else None
    return training.harness(task, windows, judged)


def _retriever(options: RetrieverOptions) -> Harness:
    trained = options.model.text_encoder in TRAINED_TEXT_ENCODERS
    training = TextTraining(options, trainable=trained)
    encoder, train, val = training.encoder, training.train, training.val
    form, own_encoder = training.spec.format, encoder if trained else None
    model = RetrieverModel(options.model, form, encoder.dim, training.normalizer(train.clips), own_encoder)
    texts = [training.texts(split, stored=not trained) for split in (train, val)]
    return training.harness(RetrieverTask(model, *texts, **to_dict(options.rates)), train, val)


def _evaluator(options: EvaluatorOptions) -> Harness:
    training = TextTraining(options)
    train, val = training.train, training.val
    normalizer = training.normalizer(train.clips)
    model = EvaluatorNetwork(options.model, training.spec.format, training.encoder.dim, normalizer)
    texts = training.texts(train, with_mirrored), training.texts(val)
    return training.harness(EvaluatorTask(model, *texts), train, val)


def _length(options: LengthOptions) -> Harness:
    training = TextTraining(options, crop=False)
    train, val, text_dim = training.train, training.val, training.encoder.dim
    model, texts = (
        LengthEstimator(options.model, text_dim),
        training.store(train.captions + (val.captions if val else [])),
    )
    task = LengthTask(model, texts, training.spec.format.unit_length)
    return training.harness(task, train, val, default_collate, text_dim=text_dim)


TRANSFORMERS = {"mtrans": (MaskedTransformer, MaskedTask), "rtrans": (ResidualTransformer, ResidualTask)}


def _transformer(options: MaskedOptions | ResidualOptions) -> Harness:
    """Tokens, text features and retrieval are all computed once."""
    training = Training(options)
    spec, runs, device = training.spec, training.runs, training.device
    train, val = load_split(spec, "train", keep_long=True), load_validation(spec)
    vq = load_run(runs.open(options.inputs.vq_name, "vq"), options.inputs.vq_checkpoint, device)
    tokens = TokenShape(
        *(vq.config.nb_code2d, vq.n_parts, vq.config.num_quantizers),
        weights_hash(vq.state_dict()),
        vq.config.code_dim2d,
    )

    source, dims, database = training_conditions(options, runs, device, train, val, vq, tokens)
    codes = cached_tokens(vq, [clip.features for clip in train + val], spec.cache_dir)
    steps, seed = spec.max_frames // spec.format.unit_length, options.train.seed
    n_train_captions = sum(len(clip.captions) for clip in train)
    train_tokens = TokenDataset(train, codes[: len(train)], steps, seed, shares=spec.shares)
    of_val = codes[len(train) :], steps, seed, n_train_captions, False
    val_tokens = TokenDataset(val, *of_val) if val else None
    seed_everything(options.train.seed)
    transformer, task_kind = TRANSFORMERS[options.stage]
    model = transformer(options.model, dims, tokens)
    model.start_from([level.codes.cpu() for level in vq.quantizer.levels])
    judge = find_judge(spec, options.run.checkpoints_dir, device, val)
    task = task_kind(model, source, partial(decode_motions, vq), judge)
    facts = token_config(dims, tokens, database)
    facts |= kept_codes(runs.open(options.inputs.vq_name))
    return training.harness(task, train_tokens, val_tokens, collate_tokens, **facts)


TRAININGS = {
    "vq": _vq,
    "tmr": _retriever,
    "mtrans": _transformer,
    "rtrans": _transformer,
    "length": _length,
    "evaluator": _evaluator,
}
