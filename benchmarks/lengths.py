"""What a training step costs a sample when motions are as long as HumanML3D's, in the batches that the training makes.

Letters: N token steps.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.clips import take_of
from data.specs import get_spec
from utils.errors import UserError

COUNTED_STEPS = (16, 32, 49)  # a parabola goes through three points, and attention is the only square


class Expected(NamedTuple):
    """Of an epoch: GFLOP a sample, and the share of all that is computed which is padding."""

    gflop: float
    padding: float


def training_steps(texts: Path) -> list[int]:
    """Token steps of HumanML3D's training clips, as they are cropped; no clip of unknown or too small length.

    Args:
        texts: holds lengths.csv (id, source, frames) and train.txt, see `benchmarks.humanml3d_set`.

    Raises:
        UserError: a file is missing from `texts`.
    """
    if missing := [name for name in ("lengths.csv", "train.txt") if not (texts / name).is_file()]:
        raise UserError(f"--texts {texts}: {missing[0]} is missing in it")
    spec = get_spec("humanml3d")
    with open(texts / "lengths.csv", newline="") as file:
        frames = {row["id"]: int(row["frames"] or 0) for row in csv.DictReader(file)}
    lengths = [frames.get(take_of(clip_id), 0) for clip_id in (texts / "train.txt").read_text().split()]
    return [min(length, spec.max_frames) // spec.format.unit_length for length in lengths if length >= spec.min_frames]


def expected(kind: str, preset: str, device: Any, steps: Sequence[int]) -> Expected:
    """Of a transformer's training at a preset's sizes, over motions of `steps`."""
    from benchmarks.costs import count
    from benchmarks.gpu.stages import build_stage, stage_options
    from benchmarks.workloads import training_step
    from engine.schedule import epoch_batches

    unit = get_spec("humanml3d").format.unit_length
    counted = []
    for number in COUNTED_STEPS:
        stage = build_stage(kind, False, flags=["--batch_size", "2"], preset=preset, frames=number * unit)
        counted.append(count(training_step(stage, device)).gflop / 2)
    curve = np.polynomial.Polynomial.fit(COUNTED_STEPS, counted, 2)
    batch_size = stage_options(kind, False, preset=preset).train.batch_size
    batches = [np.asarray(steps)[batch] for batch in epoch_batches(len(steps), batch_size, 0, 0, lengths=steps)]
    longest = np.array([batch.max() for batch in batches])
    return Expected(
        float(curve(longest).mean()), float(1 - np.mean([batch.mean() for batch in batches]) / longest.mean())
    )
