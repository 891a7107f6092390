"""Trains the length estimator: caption -> distribution over the motion's length."""

from options.command_line import parse
from options.presets import PRESETS
from options.stages import LengthOptions, run_config
from utils.errors import run_script


def main() -> None:
    """Options -> captions and model -> harness."""
    options = parse(LengthOptions, presets=PRESETS["length"], description=__doc__)

    from data.clips import load_split
    from data.collate import collate_motions
    from data.datasets import MotionTextDataset
    from data.specs import get_spec
    from engine.harness import Harness
    from engine.length_task import LengthTask
    from engine.run_state import prepare_run
    from engine.schedule import seed_everything
    from models.length_estimator import LengthEstimator
    from models.text_encoder import TextFeatureStore, build_text_encoder
    from pipeline.runs import run_path
    from utils.device import choose_device

    spec = get_spec(options.run.dataset_name)
    clips = [load_split(spec, split) for split in ("train", "val")]
    train = MotionTextDataset(clips[0], spec.max_frames, options.train.seed, random_crop=False)
    val = MotionTextDataset(clips[1], spec.max_frames, random_crop=False, first_caption=len(train.captions))
    device = choose_device(options.run.gpu_id)
    encoder = build_text_encoder(options.model.text_encoder, device=device)
    texts = TextFeatureStore(encoder, train.captions + val.captions, spec.cache_dir)
    run_dir = run_path(options.run.checkpoints_dir, spec.name, options.run.name)
    seed_everything(options.train.seed)
    task = LengthTask(LengthEstimator(options.model, encoder.dim), texts, spec.format.unit_length)
    harness = Harness(run_dir, task, train, val, options.train, collate_motions, device)
    prepare_run(run_dir, run_config(options, "length") | {"text_dim": encoder.dim})
    harness.fit()


if __name__ == "__main__":
    run_script(main)
