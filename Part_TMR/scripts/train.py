"""Trains the retriever: `python -m Part_TMR.scripts.train --dataset_name mini --preset mini`."""

from options.presets import PRESETS
from options.schema import parse
from options.stages import RetrieverOptions, run_config
from utils.errors import run_script


def main() -> None:
    """Options -> datasets, text features and model -> harness."""
    options = parse(RetrieverOptions, presets=PRESETS["tmr"], description=__doc__)

    from data.clips import load_split, load_statistics
    from data.collate import collate_motions
    from data.datasets import MotionTextDataset
    from data.specs import get_spec
    from engine.harness import Harness
    from engine.retriever_task import CaptionTexts, RetrieverTask
    from engine.run_state import prepare_run
    from engine.schedule import seed_everything
    from models.text_encoder import TextFeatureStore, build_text_encoder
    from Part_TMR.model import RetrieverModel
    from Part_TMR.retriever import TRAINED_TEXT_ENCODERS
    from pipeline.runs import run_path
    from utils.device import choose_device
    from utils.normalizer import Normalizer
    from utils.representation import get_layout

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

    normalizer = Normalizer.from_statistics(*load_statistics(spec), get_layout(options.model.layout))
    seed_everything(options.train.seed)
    model = RetrieverModel(options.model, encoder.dim, normalizer, encoder if trained else None)
    task = RetrieverTask(model, texts(train), texts(val), options.rates.text_lr_factor, options.rates.head_lr_factor)
    run_dir = run_path(options.run.checkpoints_dir, spec.name, options.run.name)
    prepare_run(run_dir, run_config(options, "tmr"))
    Harness(run_dir, task, train, val, options.train, collate_motions, device).fit()


if __name__ == "__main__":
    run_script(main)
