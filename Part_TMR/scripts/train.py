"""Trains the retriever: `python -m Part_TMR.scripts.train --dataset_name mini --preset mini`."""

from options.command_line import parse
from options.presets import PRESETS
from options.stages import RetrieverOptions
from utils.errors import run_script


def main() -> None:
    """Options -> data, model and harness."""
    options = parse(RetrieverOptions, presets=PRESETS["tmr"], description=__doc__)

    from pipeline.stages import harness

    harness(options).fit()


if __name__ == "__main__":
    run_script(main)
