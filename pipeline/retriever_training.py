"""The training of the retriever, put together from its options."""

from __future__ import annotations

from data.clips import load_split, load_statistics
from data.collate import collate_motions
from data.datasets import MotionTextDataset
from data.specs import get_spec
from engine.harness import Harness
from engine.retriever_task import CaptionTexts, RetrieverTask
from engine.run_state import prepare_run
from engine.schedule import seed_everything
from models.text_encoder import TextFeatureStore, build_text_encoder
from options.stages import RetrieverOptions, run_config
from Part_TMR.model import RetrieverModel
from Part_TMR.retriever import TRAINED_TEXT_ENCODERS
from pipeline.runs import run_path
from utils.device import choose_device
from utils.normalizer import Normalizer
from utils.schema import to_dict


def retriever_harness(options: RetrieverOptions) -> Harness:
    """A training of the retriever, ready for `fit`. Its run folder is made.

    Raises:
        UserError: the dataset or the text encoder is missing, or the run folder holds another training.
    """
    spec = get_spec(options.run.dataset_name)
    device = choose_device(options.run.gpu_id)
    train = MotionTextDataset(load_split(spec, "train", keep_long=True), spec.max_frames, options.train.seed)
    val = MotionTextDataset(load_split(spec, "val"), spec.max_frames, random_crop=False)
    trained = options.model.text_encoder in TRAINED_TEXT_ENCODERS
    encoder = build_text_encoder(options.model.text_encoder, device=device, trainable=trained)

    def texts(dataset: MotionTextDataset) -> CaptionTexts:
        store = None if trained else TextFeatureStore(encoder, dataset.captions, spec.cache_dir)
        owners = [number for number, clip in enumerate(dataset.clips) for _ in clip.captions]
        return CaptionTexts(dataset.captions, owners, store)

    normalizer = Normalizer.from_statistics(*load_statistics(spec), spec.format)
    seed_everything(options.train.seed)
    model = RetrieverModel(options.model, spec.format, encoder.dim, normalizer, encoder if trained else None)
    task = RetrieverTask(model, texts(train), texts(val), **to_dict(options.rates))
    run_dir = run_path(options.run.checkpoints_dir, spec.name, options.run.name)
    harness = Harness(run_dir, task, train, val, options.train, collate_motions, device)
    prepare_run(run_dir, run_config(options, "tmr"))
    return harness
