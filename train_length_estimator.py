"""Trains the length estimator: caption -> distribution over the motion's length."""

from functools import partial

from options.stages import LengthOptions
from pipeline.train import train
from utils.errors import run_script

main = partial(train, LengthOptions, __doc__)

if __name__ == "__main__":
    run_script(main)
