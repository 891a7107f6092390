"""How long motions are: as asked, as what they are copied from, or as an estimator thinks.

Letters: B batch, K retrieved motions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from data.specs import DatasetSpec
from models.length_estimator import LengthEstimator
from models.transformer.condition import Condition
from utils.errors import UserError

Lengths = Sequence[int | None] | np.ndarray | int | None

MOSTLY = 0.5  # the share of copied codes from which a motion is as long as what it is copied from


def checked_lengths(lengths: Lengths, count: int, spec: DatasetSpec, has_estimator: bool) -> list[int | None]:
    """The length of each of `count` prompts, in frames; None: to be estimated.

    Raises:
        UserError: as many as prompts are not given, one is out of range, or none is given and nothing estimates it.
    """
    given = [lengths] * count if np.ndim(lengths) == 0 else list(lengths)
    if len(given) != count:
        raise UserError(f"{len(given)} lengths for {count} prompts")
    low, high = spec.min_frames, spec.max_frames
    for length in given:
        if length is not None and not low <= length <= high:
            seconds = f"{low / spec.format.fps:g} to {high / spec.format.fps:g} s"
            raise UserError(f"motion_length {length} is out of range: {low} to {high} frames ({seconds})")
    if None in given and not has_estimator:
        raise UserError("no length estimator among the runs: give the motion's length in frames")
    return given


def estimated_steps(
    estimator: LengthEstimator,
    condition: Condition,
    share: Tensor,
    spec: DatasetSpec,
    seeds: Sequence[int],
    deterministic: bool,
) -> Tensor:
    """Token steps (B,) of prompts that ask for no length: of the motion that is mostly copied, else estimated.

    Args:
        share: (B, K) of retrieved motions that are copied.
    """
    unit = spec.format.unit_length
    low, high = spec.min_frames // unit, spec.max_frames // unit
    logits = estimator(condition.text, condition.text_states, condition.text_mask)
    steps = estimator.estimate(logits, (low, high), seeds, deterministic)
    share, source = share.max(dim=1)
    if not share.any():
        return steps
    copied = condition.retrieved.steps.gather(1, source[:, None])[:, 0].clamp(low, high)
    return torch.where(share.cpu() > MOSTLY, copied.cpu(), steps)
