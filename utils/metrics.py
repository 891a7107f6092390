"""Measures of motions, NumPy in, NumPy out. Letters: T frames, J joints."""

from __future__ import annotations

import numpy as np


def joint_error(reference: np.ndarray, other: np.ndarray) -> float:
    """Mean distance of corresponding joints (T, J, 3), metres: drift of the root path counts."""
    return float(np.linalg.norm(reference - other, axis=-1).mean())


def root_aligned_joint_error(reference: np.ndarray, other: np.ndarray) -> float:
    """MPJPE as the field computes it: the mean distance of joints (T, J, 3) relative to the root, metres."""
    return joint_error(reference - reference[:, :1], other - other[:, :1])
