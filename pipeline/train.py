"""What the scripts of all trainings do. Torch-free until the options are right: mistakes show at once."""

from __future__ import annotations

from options.command_line import parse
from options.presets import PRESETS
from utils.slurm import adopt_slurm


def train(schema: type, description: str | None) -> None:
    """The command line of a stage's script -> its training.

    Args:
        schema: of `options.stages`.
        description: what the script does, for --help.
    """
    adopt_slurm()
    options = parse(schema, presets=PRESETS[schema.stage], description=description)

    from pipeline.stages import harness

    harness(options).fit()
