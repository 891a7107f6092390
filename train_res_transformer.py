"""Trains the residual transformer (levels 1..Q-1) on the tokens of a trained RVQ-VAE (see run_rtrans.sh)."""

from functools import partial

from options.stages import ResidualOptions
from pipeline.train import train
from utils.errors import run_script

main = partial(train, ResidualOptions, __doc__)

if __name__ == "__main__":
    run_script(main)
