"""The options of the scripts that look at runs: export_run.py, pipeline/inspect.py and pipeline/start.py."""

from __future__ import annotations

from dataclasses import dataclass

from options.groups import checkpoint_option, dataset_option
from utils.schema import option


@dataclass(frozen=True)
class ExportOptions:
    """export_run.py"""

    run: str = option(help="folder of the trained run, e.g. logs/mini/vq")
    out: str = option(help="folder that is written, e.g. pretrained/mini/vq")
    which_epoch: str | None = checkpoint_option()


@dataclass(frozen=True)
class InspectOptions:
    """pipeline/inspect.py"""

    folder: str = option(help="folder of a run or of a database, e.g. pretrained/open/mtrans", positional=True)
    json: bool = option(False, "print everything as JSON")


@dataclass(frozen=True)
class StartOptions:
    """pipeline/start.py"""

    folder: str = option(help="folder of the runs to start from, e.g. pretrained/open", positional=True)
    dataset_name: str = dataset_option()
