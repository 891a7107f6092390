"""The options of reproduce_dataset.sh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.settings import MAX_SEED
from utils.schema import option


@dataclass(frozen=True)
class ReproduceOptions:
    """pipeline/reproduce.py"""

    name: str = option(
        help="dataset/NAME, the path of a dataset folder, or mini, humanml3d, kit; several with commas, as they are or"
        " with shares: mini:1,mine:3",
        positional=True,
    )
    preset: Literal["small", "mini", "base", "tuned", "paper", "finetune"] | None = option(
        None, "sizes and schedules; none: small, or finetune with --init_from", positional=True
    )
    init_from: str | None = option(
        None, "every stage starts from the run of its name in this folder, such as pretrained/open"
    )
    minutes: float = option(
        0.0, "all stages together end within this time, each on a schedule that fits; 0: no limit", zero_or=1
    )
    epochs: int = option(0, "epochs of every training; 0: the preset's", minimum=0)
    seed: int | None = option(
        None, "of every training and of the motion; none: the preset's", minimum=0, maximum=MAX_SEED
    )
    given_in: str = option(".", "folder that paths are meant from, beside the project's own")
