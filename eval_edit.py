"""Evaluates what is made of given motions, several prompts and ways, beside plain generation (protocol res)."""

from options.command_line import parse
from options.evaluation import EvalEditOptions
from utils.errors import run_script


def main() -> None:
    """Options -> TextToMotion -> table."""
    options = parse(EvalEditOptions, description=__doc__)

    from pipeline.evaluation.edits import evaluate_edits

    evaluate_edits(options)


if __name__ == "__main__":
    run_script(main)
