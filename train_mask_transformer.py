"""Trains the masked transformer (base tokens) on the tokens of a trained RVQ-VAE (see run_mtrans.sh)."""

from options.command_line import parse
from options.presets import PRESETS
from options.stages import MaskedOptions
from utils.errors import run_script


def main() -> None:
    """Options -> tokens, conditions and model -> harness."""
    options = parse(MaskedOptions, presets=PRESETS["mtrans"], description=__doc__)

    from engine.token_tasks import MaskedTask
    from pipeline.loader import build_masked
    from pipeline.token_training import token_harness

    token_harness(options, "mtrans", build_masked, MaskedTask).fit()


if __name__ == "__main__":
    run_script(main)
