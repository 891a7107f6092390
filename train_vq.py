"""Trains the 2D RVQ-VAE: `python train_vq.py --name vq --dataset_name mini --preset mini` (see run_rvq.sh)."""

from options.command_line import parse
from options.presets import PRESETS
from options.stages import VQOptions
from utils.errors import run_script


def main() -> None:
    """Options -> data, model and harness."""
    options = parse(VQOptions, presets=PRESETS["vq"], description=__doc__)

    from pipeline.stages import harness

    harness(options).fit()


if __name__ == "__main__":
    run_script(main)
