"""Trains our own evaluator, for datasets that have none: `python train_evaluator.py --preset mini`."""

from options.command_line import parse
from options.presets import PRESETS
from options.stages import EvaluatorOptions
from utils.errors import run_script


def main() -> None:
    """Options -> data, model and harness."""
    options = parse(EvaluatorOptions, presets=PRESETS["evaluator"], description=__doc__)

    from pipeline.stages import harness

    harness(options).fit()


if __name__ == "__main__":
    run_script(main)
