"""Trains the length estimator: caption -> distribution over the motion's length."""

from options.command_line import parse
from options.presets import PRESETS
from options.stages import LengthOptions
from utils.errors import run_script


def main() -> None:
    """Options -> data, model and harness."""
    options = parse(LengthOptions, presets=PRESETS["length"], description=__doc__)

    from pipeline.stages import harness

    harness(options).fit()


if __name__ == "__main__":
    run_script(main)
