"""Trains our own evaluator, for datasets that have none: `python train_evaluator.py --preset mini`."""

from options.command_line import parse
from options.presets import PRESETS
from options.stages import EvaluatorOptions, run_config
from utils.errors import run_script


def main() -> None:
    """Options -> datasets, text features and model -> harness."""
    options = parse(EvaluatorOptions, presets=PRESETS["evaluator"], description=__doc__)

    from data.clips import load_split, load_statistics
    from data.collate import collate_motions
    from data.datasets import MotionTextDataset
    from data.specs import get_spec
    from engine.evaluator_task import EvaluatorTask, with_mirrored
    from engine.harness import Harness
    from engine.retriever_task import CaptionTexts
    from engine.run_state import prepare_run
    from models.evaluator.own import EvaluatorNetwork
    from models.text_encoder import TextFeatureStore, build_text_encoder
    from pipeline.runs import run_path
    from utils.device import choose_device
    from utils.normalizer import Normalizer

    spec = get_spec(options.run.dataset_name)
    device = choose_device(options.run.gpu_id)
    train = MotionTextDataset(load_split(spec, "train", keep_long=True), spec.max_frames, options.train.seed)
    val = MotionTextDataset(load_split(spec, "val"), spec.max_frames, random_crop=False)
    encoder = build_text_encoder(options.model.text_encoder, device=device)

    def texts(captions: list[str], dataset: MotionTextDataset) -> CaptionTexts:
        owners = [number for number, clip in enumerate(dataset.clips) for _ in clip.captions]
        return CaptionTexts(captions, owners, TextFeatureStore(encoder, captions, spec.cache_dir))

    normalizer = Normalizer.from_statistics(*load_statistics(spec), spec.format)
    model = EvaluatorNetwork(options.model, spec.format, encoder.dim, normalizer)
    task = EvaluatorTask(model, texts(with_mirrored(train.captions), train), texts(val.captions, val))
    run_dir = run_path(options.run.checkpoints_dir, spec.name, options.run.name)
    harness = Harness(run_dir, task, train, val, options.train, collate_motions, device)
    prepare_run(run_dir, run_config(options, "evaluator"))
    harness.fit()


if __name__ == "__main__":
    run_script(main)
