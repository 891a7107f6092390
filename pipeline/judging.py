"""Who judges a training: the dataset's evaluator, where there is one."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from data.clips import Clip
from data.specs import DatasetSpec
from engine.judge import FrechetJudge
from models.evaluator.interface import load_evaluator
from utils.errors import UserError


def find_judge(
    spec: DatasetSpec, checkpoints_dir: str, device: torch.device, clips: Sequence[Clip]
) -> FrechetJudge | None:
    """A judge over the clips of a validation split; None, and a line that says why, where it cannot be had.

    FID needs more clips than the evaluator has dimensions, else the covariance of the real ones is singular.
    """
    try:
        evaluator = load_evaluator(spec, checkpoints_dir, device)
    except UserError as error:
        print(f"checkpoints are chosen without FID: {error}")
        return None
    if len(clips) <= evaluator.dimension:
        print(f"checkpoints are chosen without FID: {len(clips)} validation clips for {evaluator.dimension} dimensions")
        return None
    return FrechetJudge(evaluator, evaluator.kept_motions([clip.features for clip in clips], spec.cache_dir))
