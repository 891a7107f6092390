"""Trains the 2D RVQ-VAE: `python train_vq.py --name vq --dataset_name mini --preset mini` (see run_rvq.sh)."""

from functools import partial

from options.stages import VQOptions
from pipeline.train import train
from utils.errors import run_script

main = partial(train, VQOptions, __doc__)

if __name__ == "__main__":
    run_script(main)
