"""Trains the residual transformer (levels 1..Q-1) on the tokens of a trained RVQ-VAE (see run_rtrans.sh)."""

from options.command_line import parse
from options.presets import PRESETS
from options.stages import ResidualOptions
from utils.errors import run_script


def main() -> None:
    """Options -> data, model and harness."""
    options = parse(ResidualOptions, presets=PRESETS["rtrans"], description=__doc__)

    from pipeline.stages import harness

    harness(options).fit()


if __name__ == "__main__":
    run_script(main)
