"""What is asked of values over time in several rooms: stretches of True, and a way from 0 to 1 without a jump."""

from __future__ import annotations

import numpy as np


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Start and end (not included) of every stretch of True in a mask (T,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], np.asarray(mask, dtype=bool), [False]]).astype(int)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def smooth_step(share: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, level at both ends."""
    share = np.clip(share, 0, 1)
    return share * share * (3 - 2 * share)
