"""The options of `python -m data.check`."""

from __future__ import annotations

from dataclasses import dataclass

from options.groups import dataset_option
from utils.schema import option


@dataclass(frozen=True)
class CheckOptions:
    """data/check"""

    dataset_name: str = dataset_option()
    dataset_root: str | None = option(None, "folder that is checked; none: the dataset's own place")
    json: str | None = option(None, "also write everything that was found, with all names, to this file")
    strict: bool = option(False, "notes make exit code 1 too")
