"""The training of the 2D RVQ-VAE, put together from its options."""

from __future__ import annotations

from data.clips import load_split, load_statistics
from data.datasets import MotionTextDataset, WindowDataset
from data.specs import get_spec
from engine.harness import Harness
from engine.schedule import seed_everything
from engine.vq_task import VQTask
from models.vq.rvq import RVQVAE
from options.stages import VQOptions
from pipeline.judging import find_judge
from pipeline.training import harness_of
from utils.device import choose_device
from utils.normalizer import Normalizer


def vq_harness(options: VQOptions) -> Harness:
    """A training of the 2D RVQ-VAE, ready for `fit`. Its run folder is made.

    Raises:
        UserError: the dataset is missing, or the run folder holds another training.
    """
    spec = get_spec(options.run.dataset_name)
    train, val = load_split(spec, "train", keep_long=True), load_split(spec, "val")
    device = choose_device(options.run.gpu_id)

    seed_everything(options.train.seed)
    model = RVQVAE(options.model, spec.format)
    model.normalizer = Normalizer.from_statistics(*load_statistics(spec), spec.format, options.model.feat_bias)
    task = VQTask(model, options.loss, find_judge(spec, options.run.checkpoints_dir, device, val))
    windows = WindowDataset(train, options.data.window_size, options.train.seed, options.data.window_stride)
    whole_clips = MotionTextDataset(val, spec.max_frames, random_crop=False)
    return harness_of(options, "vq", task, windows, whole_clips, device)
