"""Trains the residual transformer (levels 1..Q-1) on the tokens of a trained RVQ-VAE (see run_rtrans.sh)."""

from options.command_line import parse
from options.presets import PRESETS
from options.stages import ResidualOptions
from utils.errors import run_script


def main() -> None:
    """Options -> tokens, conditions and model -> harness."""
    options = parse(ResidualOptions, presets=PRESETS["rtrans"], description=__doc__)

    from engine.token_tasks import ResidualTask
    from pipeline.loader import build_residual
    from pipeline.token_training import token_harness

    token_harness(options, "rtrans", build_residual, ResidualTask).fit()


if __name__ == "__main__":
    run_script(main)
