"""The evaluator of a dataset: Guo's where the field has one, ours elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from models.evaluator.base import Evaluator
from models.evaluator.guo import FOLDERS, GuoEvaluator
from models.evaluator.own import OwnEvaluator
from storage.shipped import locate
from utils.errors import UserError
from utils.run import Run

if TYPE_CHECKING:
    from data.specs import DatasetSpec

__all__ = ["Evaluator", "load_evaluator"]

RUN_NAME = "evaluator"
SHIPPED = Path("pretrained")


def load_evaluator(spec: DatasetSpec, checkpoints_dir: Path | str, device: torch.device | str = "cpu") -> Evaluator:
    """Guo's evaluator for humanml3d and kit, for any other dataset its run `evaluator` of ours.

    Args:
        spec: the dataset.
        checkpoints_dir: folder of the runs; the shipped ones in `pretrained` are looked at after it.
        device: where to run.

    Raises:
        UserError: missing, with the place where it belongs, or of another feature layout.
    """
    if spec.name in FOLDERS:
        return GuoEvaluator.load(spec, device)
    places = [locate(folder / spec.name / RUN_NAME) for folder in dict.fromkeys([Path(checkpoints_dir), SHIPPED])]
    run_dir = next((place for place in places if (place / "config.json").is_file()), None)
    if run_dir is None:
        raise UserError(
            f"there is no evaluator of {spec.name}: it belongs at {' or '.join(map(str, places))};"
            f" make it by python train_evaluator.py --dataset_name {spec.argument}"
        )
    run = Run(run_dir)
    spec.check_run(run)
    return OwnEvaluator.load(run, device)
