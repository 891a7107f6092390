"""Items of a dataset -> one padded batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from utils.batches import length_mask


def collate_motions(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Stacks items of `MotionTextDataset` or `WindowDataset`; motions are padded with zeros to the batch's longest.

    Returns:
        `motion` (B, T, D) float32 raw units, `mask` (B, T) True = valid, `length` (B,); every other number of the items
        as a (B,) tensor and every text as a list of B under its own name.
    """
    # By NumPy: PyTorch shares out even such copies among cores that may be busy.
    motions = [item["motion"].numpy() for item in items]
    lengths = torch.tensor([len(motion) for motion in motions])
    motion = np.zeros((len(motions), max(map(len, motions)), motions[0].shape[1]), motions[0].dtype)
    for row, frames in zip(motion, motions, strict=True):
        row[: len(frames)] = frames
    batch: dict[str, Any] = {
        "motion": torch.from_numpy(motion),
        "mask": length_mask(lengths, motion.shape[1]),
        "length": lengths,
    }
    for name in (name for name in items[0] if name not in batch):
        values = [item[name] for item in items]
        batch[name] = values if isinstance(values[0], str) else torch.tensor(values)
    return batch
