"""Trains our own evaluator, for datasets that have none: `python train_evaluator.py --preset mini`."""

from functools import partial

from options.stages import EvaluatorOptions
from pipeline.train import train
from utils.errors import run_script

main = partial(train, EvaluatorOptions, __doc__)

if __name__ == "__main__":
    run_script(main)
