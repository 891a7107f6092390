"""Evaluates the masked transformer (protocol mask): text -> base tokens -> motion."""

from options.command_line import parse
from options.evaluation import EvalMaskOptions
from utils.errors import run_script


def main() -> None:
    """Options -> TextToMotion without the residual transformer -> table."""
    options = parse(EvalMaskOptions, description=__doc__)

    from pipeline.evaluation.generators import evaluate_generator

    evaluate_generator(options, "mask")


if __name__ == "__main__":
    run_script(main)
