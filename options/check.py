"""The options of `python -m data.check`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from options.groups import DATASET_HELP, canonical_dataset
from utils.schema import option


@dataclass(frozen=True)
class CheckOptions:
    """data/check"""

    dataset_name: str = option("humanml3d", DATASET_HELP)
    dataset_root: str | None = option(None, "folder that is checked; none: the dataset's own place")
    json: str | None = option(None, "also write everything that was found, with all names, to this file")
    strict: bool = option(False, "notes make exit code 1 too")

    def resolve(self) -> CheckOptions:
        """The same with the dataset's alias replaced by its name."""
        return replace(self, dataset_name=canonical_dataset(self.dataset_name))
