"""Trains the masked transformer (base tokens) on the tokens of a trained RVQ-VAE (see run_mtrans.sh)."""

from options.command_line import parse
from options.presets import PRESETS
from options.stages import MaskedOptions
from utils.errors import run_script


def main() -> None:
    """Options -> data, model and harness."""
    options = parse(MaskedOptions, presets=PRESETS["mtrans"], description=__doc__)

    from pipeline.stages import harness

    harness(options).fit()


if __name__ == "__main__":
    run_script(main)
