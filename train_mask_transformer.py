"""Trains the masked transformer (base tokens) on the tokens of a trained RVQ-VAE (see run_mtrans.sh)."""

from functools import partial

from options.stages import MaskedOptions
from pipeline.train import train
from utils.errors import run_script

main = partial(train, MaskedOptions, __doc__)

if __name__ == "__main__":
    run_script(main)
