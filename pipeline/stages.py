"""The trainings of the stages, each put together from its options."""

from __future__ import annotations

from typing import Any

from data.clips import load_split, load_statistics
from data.datasets import MotionTextDataset, WindowDataset
from data.specs import get_spec
from engine.evaluator_task import EvaluatorTask, with_mirrored
from engine.harness import Harness
from engine.length_task import LengthTask
from engine.retriever_task import RetrieverTask
from engine.schedule import seed_everything
from engine.vq_task import VQTask
from models.evaluator.own import EvaluatorNetwork
from models.length_estimator import LengthEstimator
from models.vq.rvq import RVQVAE
from options.stages import EvaluatorOptions, LengthOptions, RetrieverOptions, VQOptions
from Part_TMR.model import RetrieverModel
from Part_TMR.retriever import TRAINED_TEXT_ENCODERS
from pipeline.judging import find_judge
from pipeline.token_training import token_harness
from pipeline.training import TextTraining, harness_of
from utils.device import choose_device
from utils.normalizer import Normalizer
from utils.schema import to_dict


def harness(options: Any) -> Harness:
    """The training that the options of a stage's script mean, ready for `fit`. Its run folder is made.

    Raises:
        UserError: the dataset or a run that it needs is missing or does not fit, or the run folder holds another
            training.
    """
    return TRAININGS[options.stage](options)


def _vq(options: VQOptions) -> Harness:
    spec = get_spec(options.run.dataset_name)
    train, val = load_split(spec, "train", keep_long=True), load_split(spec, "val")
    device = choose_device(options.run.gpu_id)

    seed_everything(options.train.seed)
    model = RVQVAE(options.model, spec.format)
    model.normalizer = Normalizer.from_statistics(*load_statistics(spec), spec.format, options.model.feat_bias)
    task = VQTask(model, options.loss, find_judge(spec, options.run.checkpoints_dir, device, val))
    windows = WindowDataset(train, options.data.window_size, options.train.seed, options.data.window_stride)
    whole_clips = MotionTextDataset(val, spec.max_frames, random_crop=False)
    return harness_of(options, task, windows, whole_clips, device)


def _retriever(options: RetrieverOptions) -> Harness:
    trained = options.model.text_encoder in TRAINED_TEXT_ENCODERS
    training = TextTraining(options, trainable=trained)
    encoder, form = training.encoder, training.spec.format
    model = RetrieverModel(options.model, form, encoder.dim, training.normalizer(), encoder if trained else None)
    texts = [training.texts(split, split.captions, stored=not trained) for split in (training.train, training.val)]
    return training.harness(RetrieverTask(model, *texts, **to_dict(options.rates)))


def _evaluator(options: EvaluatorOptions) -> Harness:
    training = TextTraining(options)
    train, val = training.train, training.val
    model = EvaluatorNetwork(options.model, training.spec.format, training.encoder.dim, training.normalizer())
    texts = training.texts(train, with_mirrored(train.captions)), training.texts(val, val.captions)
    return training.harness(EvaluatorTask(model, *texts))


def _length(options: LengthOptions) -> Harness:
    training = TextTraining(options, crop=False)
    text_dim, captions = training.encoder.dim, training.train.captions + training.val.captions
    model, texts = LengthEstimator(options.model, text_dim), training.store(captions)
    task = LengthTask(model, texts, training.spec.format.unit_length)
    return training.harness(task, text_dim=text_dim)


TRAININGS = {
    "vq": _vq,
    "tmr": _retriever,
    "mtrans": token_harness,
    "rtrans": token_harness,
    "length": _length,
    "evaluator": _evaluator,
}
