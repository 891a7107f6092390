"""What a step's number decides: learning rate, batches, random numbers. Pure functions: a resume is exact."""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Sequence

import numpy as np
import torch

from engine.settings import TrainSettings

VALIDATION_SALT = 2**32 - 1
WARM_UP_SHARE = 5  # a warm-up is at most a fifth of the training: one of a dozen steps reaches its learning rate too


def warm_up_steps(settings: TrainSettings, total_steps: int) -> int:
    """Steps in which the learning rate rises, in a training of `total_steps`."""
    return min(settings.warm_up_iter, total_steps // WARM_UP_SHARE)


def learning_rate_factor(settings: TrainSettings, step: int, total_steps: int) -> float:
    """The factor on the learning rate for the step numbered `step` (from 0) of `total_steps`."""
    rising = warm_up_steps(settings, total_steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    if settings.schedule == "step":
        return settings.gamma ** bisect.bisect_right(settings.milestones, step)
    if settings.schedule == "cosine":
        progress = min(1.0, (step - rising) / max(1, total_steps - rising))
        return settings.gamma + (1 - settings.gamma) * 0.5 * (1 + math.cos(math.pi * progress))
    return 1.0


def seed_everything(*numbers: int, rank: int = 0) -> None:
    """Seeds Python's and NumPy's global generators with a mix of `numbers`, and torch's (all devices') with one of the
    rank too: what is drawn for a sample comes from the former (`utils.processes.Draws`), dropout from the latter."""
    words, own = (np.random.SeedSequence(entropy).generate_state(4) for entropy in (numbers, (*numbers, rank)))
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    torch.manual_seed(int(own[2]) << 31 | int(own[3]) >> 1)


# So many batches are sorted by length together: little padding, and still other company in every epoch.
BATCHES_A_POOL = 12


def epoch_batches(
    n_samples: int,
    batch_size: int,
    seed: int,
    epoch: int,
    rank: int = 0,
    world: int = 1,
    lengths: Sequence[int] | None = None,
) -> list[list[int]]:
    """The epoch's batches of sample indices, as this process sees them: its share of every global batch.

    The incomplete last batch is left out (other samples every epoch); a set smaller than a batch is one batch. With
    `lengths` samples of like length share a batch, so that little is computed for padding.

    Raises:
        ValueError: fewer samples than processes, or a batch size that the processes cannot share evenly.
    """
    batch_size = min(batch_size, n_samples // world * world)
    if batch_size < world or batch_size % world:
        raise ValueError(f"{batch_size} samples a step cannot be shared evenly by {world} processes")
    generator = np.random.default_rng((seed, epoch))
    order = generator.permutation(n_samples)
    starts = np.arange(0, n_samples - batch_size + 1, batch_size)
    if lengths is not None:
        pool = BATCHES_A_POOL * batch_size
        pools = (order[first : first + pool] for first in range(0, len(starts) * batch_size, pool))
        order = np.concatenate([part[np.argsort(np.asarray(lengths)[part], kind="stable")] for part in pools])
        generator.shuffle(starts)
    return [order[start + rank : start + batch_size : world].tolist() for start in starts]


def pieces_of(batch: list[int], count: int) -> list[list[int]]:
    """A batch in `count` pieces whose sizes differ by one at most."""
    bounds = [len(batch) * number // count for number in range(count + 1)]
    return [batch[start:stop] for start, stop in zip(bounds, bounds[1:], strict=False)]
