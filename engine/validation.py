"""Validation that all processes share: each takes its batches, the first one sums up what all of them found.

The batches, their random numbers and the order in which they are summed up are those of one process, so that the
metrics do not depend on how many there are.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, distributed

from engine.schedule import VALIDATION_SALT, seed_everything
from engine.task import Task

LARGEST_BATCH = 64  # small enough that several processes find something to do


def validation_batches(n_samples: int, batch_size: int) -> list[list[int]]:
    """All samples in order, in batches of at most `batch_size` and `LARGEST_BATCH`: the same for any process."""
    size = min(batch_size, LARGEST_BATCH)
    return [list(range(start, min(start + size, n_samples))) for start in range(0, n_samples, size)]


def validate(
    task: Task,
    loader: Collection[Any],
    seed: int = 0,
    rank: int = 0,
    world: int = 1,
    rounds: int | None = None,
    agree: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """The task's validation metrics, the same in all processes.

    Args:
        task: in evaluation mode.
        loader: the batches of this process: number rank, rank + world, rank + 2 world, ... of all of them.
        seed: of the random numbers, which depend on it and on the batch's number alone.
        rank: of this process.
        world: processes.
        rounds: batches of the process that has the most; none: as many as this one has.
        agree: called by all processes before each round; what it raises, it must raise in all.
    """
    modes = {module: module.training for module in task.modules()}
    task.eval()
    try:
        with torch.no_grad():
            records = []
            numbered = zip(itertools.count(rank, world), loader)  # noqa: B905 - the count has no end
            for _ in range(len(loader) if rounds is None else rounds):
                agree()
                if (entry := next(numbered, None)) is not None:
                    seed_everything(seed, VALIDATION_SALT, entry[0])
                    record = task.validate_batch(entry[1], entry[0])
                    records.append({name: _on_cpu(value) for name, value in record.items()})
            return _summary(task, records, rank, world)
    finally:
        for module, mode in modes.items():
            module.training = mode


def _summary(task: Task, records: list[dict[str, Any]], rank: int, world: int) -> dict[str, float]:
    """What the first process makes of the records of all, told to all."""
    if world > 1:
        shares: list[Any] = [None] * world
        distributed.all_gather_object(shares, records)
        rounds = itertools.zip_longest(*shares)
        records = [record for each in rounds for record in each if record is not None]
    result = [{name: float(value) for name, value in task.summarise(records).items()} if rank == 0 else None]
    if world > 1:
        distributed.broadcast_object_list(result)
    return result[0]


def _on_cpu(value: Any) -> Any:
    return value.cpu() if isinstance(value, Tensor) else value
