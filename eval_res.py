"""Evaluates the full pipeline (protocol res: text -> base -> residual); --gt_base: the residual stage alone."""

from options.command_line import parse
from options.evaluation import EvalResOptions
from utils.errors import run_script


def main() -> None:
    """Options -> TextToMotion -> table, for each residual checkpoint asked for."""
    options = parse(EvalResOptions, description=__doc__)

    from pipeline.evaluation.generators import evaluate_generator

    evaluate_generator(options, "gt-base" if options.gt_base else "res")


if __name__ == "__main__":
    run_script(main)
