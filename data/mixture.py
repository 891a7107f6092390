"""What several datasets in one training make of an epoch, and of the statistics that normalise motions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from utils.errors import UserError
from utils.motion_format import MotionFormat

DRAWING_SALT = 4  # of its own stream of random numbers
LEAST_STD = 1e-6


class SharedEpochs:
    """Which items an epoch holds where datasets have shares of it: as many as there are, all drawn anew every epoch.

    The items of a dataset come one permutation after the other, and an epoch goes on where the one before it stopped:
    none is drawn again before all others were.

    Args:
        sources: the dataset of each item.
        weights: by dataset.
        seed: of the permutations.

    Raises:
        UserError: a dataset has no item, or a share of less than one.
    """

    def __init__(self, sources: Sequence[str], weights: Mapping[str, float], seed: int) -> None:
        self.seed = seed
        found = np.asarray(sources)
        self._items = [np.flatnonzero(found == name) for name in weights]
        ends = np.cumsum(list(weights.values())) / sum(weights.values())
        self._quotas = np.diff(np.rint(ends * len(found)).astype(int), prepend=0)
        for name, items, quota in zip(weights, self._items, self._quotas, strict=True):
            if not len(items):
                raise UserError(f"the dataset {name} has no clip that this training can use: leave it out")
            if not quota:
                raise UserError(f"the weight of {name} is less than one of the {len(found)} samples of an epoch")

    def epoch(self, number: int) -> np.ndarray:
        """The items of an epoch, dataset after dataset."""
        drawn = []
        for source, (items, quota) in enumerate(zip(self._items, self._quotas, strict=True)):
            rounds, places = np.divmod(np.arange(number * quota, (number + 1) * quota), len(items))
            for each in range(rounds[0], rounds[-1] + 1):
                order = np.random.default_rng((self.seed, DRAWING_SALT, source, each)).permutation(items)
                drawn.append(order[places[rounds == each]])
        return np.concatenate(drawn)


def pooled_statistics(
    statistics: Sequence[tuple[np.ndarray, np.ndarray]], weights: Sequence[float], form: MotionFormat
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and std (D,) float32 of datasets together, by the law of total variance; of one kind of columns one std.

    Args:
        statistics: mean and std (D,) of each dataset.
        weights: how much of each there is.
    """
    means, stds = (np.stack(each).astype(np.float64) for each in zip(*statistics, strict=True))
    shares = np.asarray(weights, np.float64)[:, None] / sum(weights)
    mean = (shares * means).sum(axis=0)
    std = np.sqrt((shares * (stds**2 + (means - mean) ** 2)).sum(axis=0))
    for group in form.groups.values():
        std[group] = max(std[group].mean(), LEAST_STD)
    return mean.astype(np.float32), std.astype(np.float32)
