"""Which share of a work is this process's: a flag says it, or the variables that whoever started it has set."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from utils.errors import UserError, listed

# Variables of the number and the count of processes, of which whoever comes first decides.
STARTED_BY = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"), ("SLURM_PROCID", "SLURM_NTASKS"))
SHOWN = 20  # missing shares in a message
ARRAY = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT")


def is_first_process() -> bool:
    """Whether this process is the first of those that a launcher started, or the only one."""
    return int(os.environ.get("RANK", 0)) == 0


@dataclass(frozen=True)
class Share:
    """One of equal shares.

    Attributes:
        number: from 1.
        count: of shares; 1: the whole.
        source: what says so.
    """

    number: int = 1
    count: int = 1
    source: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def whole(self) -> bool:
        """Whether there are no others."""
        return self.count == 1

    def of(self, total: int) -> range:
        """This share of so many items."""
        return range(total * (self.number - 1) // self.count, total * self.number // self.count)


def own_share(flag: str | None = None, environment: Mapping[str, str] = os.environ) -> Share:
    """The share of this process: what `--shard i/n` says, else its place among the processes that torchrun, SLURM and
    the like have started, in each task of a SLURM array if there is one; else the whole. `--shard 1/1` is the whole.

    Raises:
        UserError: there is no such share; the flag or the variable is named.
    """
    if flag is not None:
        number, _, count = flag.partition("/")
        share = Share(_whole(number, "--shard"), _whole(count, "--shard"), "--shard")
        if not 1 <= share.number <= share.count:
            raise UserError(f"--shard {flag} must look like 1/8, up to 8/8")
        return share
    number, count, sources = 0, 1, []
    if all(name in environment for name in ARRAY):
        first, step = (_whole(environment.get(f"SLURM_ARRAY_TASK_{name}", default), f"SLURM_ARRAY_TASK_{name}")
                       for name, default in (("MIN", "0"), ("STEP", "1")))  # fmt: skip
        task, tasks = (_whole(environment[name], name) for name in ARRAY)
        number, rest = divmod(task - first, max(step, 1))
        if rest or not 0 <= number < tasks:
            raise UserError(
                f"SLURM_ARRAY_TASK_ID {task} is no place among {tasks} in a row: give --array=1-{tasks}, or --shard"
            )
        count, sources = tasks, [ARRAY[0]]
    for rank_name, size_name in STARTED_BY:
        if rank_name in environment and size_name in environment:
            rank, size = _whole(environment[rank_name], rank_name), _whole(environment[size_name], size_name)
            if not 0 <= rank < size:
                raise UserError(f"{rank_name} {rank} is no place among {size_name} {size} processes")
            number, count = number * size + rank, count * size
            sources += [rank_name] if size > 1 else []
            break
    return Share(number + 1, count, " and ".join(sources))


def _whole(text: str, name: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise UserError(f"{name} must be a whole number, not {text:.40}")
    return int(text)


def share_name(prefix: str, share: Share) -> str:
    """What the result of a share is called."""
    return f"{prefix}shard-{share.number}-of-{share.count}"


def found_shares(folder: Path, prefix: str) -> dict[Share, Path]:
    """The results of shares that are in a folder, in order.

    Args:
        folder, prefix: where they lie, and what their names begin with, see `share_name`.

    Raises:
        UserError: they are shares of several counts.
    """
    paths = {path.name: path for path in folder.glob(f"{glob.escape(prefix)}shard-*-of-*")}
    pattern = re.compile(re.escape(prefix) + r"shard-([1-9]\d{0,8})-of-([1-9]\d{0,8})")
    found = {Share(int(name[1]), int(name[2])): paths[name[0]] for name in map(pattern.fullmatch, paths) if name}
    counts = sorted({share.count for share in found})
    if len(counts) > 1:
        told = " and of ".join(map(str, counts))
        raise UserError(f"{folder} holds shards of {told}: remove those that do not belong to the merge")
    return {share: found[share] for share in sorted(found, key=lambda share: share.number)}


def all_shares(folder: Path, prefix: str, whole: Path) -> dict[Share, Path]:
    """`found_shares`, of which none is missing.

    Args:
        whole: what they are shares of, for messages.

    Raises:
        UserError: there is none, some are missing (they are named), or there are those of several counts.
    """
    found = found_shares(folder, prefix)
    if not found:
        raise UserError(f"there is no shard of {whole}: make them with --shard 1/n to n/n")
    count = next(iter(found)).count
    if missing := [f"{number}/{count}" for number in range(1, count + 1) if Share(number, count) not in found]:
        raise UserError(f"{whole} lacks the shards {listed(missing, ', ', SHOWN)}")
    return found
