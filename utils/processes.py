"""What the processes of a training exchange, so that they compute together what one of them would compute alone.

Sample i of a process is sample i * world + rank of the step's whole batch. Letters: B samples of this process.
"""

from __future__ import annotations

import math
import random
from typing import Any

import torch
from torch import Tensor, distributed

GOLDEN = -0x61C8864680B583EB  # 2^64 divided by the golden ratio, as a signed number


def place() -> tuple[int, int]:
    """Rank of this process, and how many train together."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def summed(tensor: Tensor) -> Tensor:
    """The sum over all processes, in place."""
    if place()[1] > 1:
        distributed.all_reduce(tensor)
    return tensor


def relative_weight(count: Tensor) -> Tensor:
    """What this process's mean over `count` things, a scalar, weighs beside the others'; 1 for equal counts.

    Processes are averaged as equals: a mean times this weight becomes the mean over the things of all.
    """
    count = count.float()
    return count * place()[1] / summed(count.clone())


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, rows: Tensor) -> Tensor:
        shares = [torch.empty_like(rows) for _ in range(place()[1])]
        distributed.all_gather(shares, rows.contiguous())
        return torch.stack(shares, dim=1).flatten(0, 1)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        rank, world = place()
        return summed(gradient.clone())[rank::world]


def gathered(rows: Tensor) -> Tensor:
    """(B, ...) of each process, all with the same B -> those of all, as the whole batch has them.

    What the losses of all processes want of a row arrives at the process that it comes from.
    """
    return rows if place()[1] == 1 else _Gathered.apply(rows)


def own_rows(count: int, device: torch.device) -> Tensor:
    """(B,) where the `count` = B rows of this process are among those that are `gathered`."""
    rank, world = place()
    return torch.arange(rank, count * world, world, device=device)


class Draws:
    """Random numbers of a batch's samples.

    They are a function of the seed, the sample's place in the whole batch and the number's place in the sample: not of
    the process that has the sample, nor of the device or of what is padded. (Counters mixed as by SplitMix64: Steele,
    Lea and Flood, 2014.)

    Args:
        batch: B.
        device: where the numbers are wanted.
        seed: none: the next number of Python's generator, which the harness sets alike in all processes.
        shared: the batch is a share of that of all processes.
    """

    def __init__(self, batch: int, device: torch.device, seed: int | None = None, shared: bool = True) -> None:
        self.batch, self.device = batch, device
        self.rank, self.world = place() if shared else (0, 1)
        self.common = random.Random(random.getrandbits(62) if seed is None else seed)  # alike in all processes

    def uniform(self, *shape: int) -> Tensor:
        """(B, *shape) in [0, 1)."""
        samples = torch.arange(self.rank, self.batch * self.world, self.world, device=self.device)
        return self._mixed(samples[:, None] << 40, math.prod(shape)).view(self.batch, *shape)

    def common_uniform(self, *shape: int) -> Tensor:
        """(*shape) in [0, 1), the same in all processes."""
        return self._mixed(torch.zeros(1, dtype=torch.long, device=self.device), math.prod(shape)).view(shape)

    def _mixed(self, first: Tensor, count: int) -> Tensor:
        """Counters, from `first` (n, 1) or (1,) on -> numbers (n, count) or (count,)."""
        counters = torch.arange(count, device=self.device).mul_(GOLDEN).add_(self.common.getrandbits(62))
        numbers = first * GOLDEN + counters
        numbers ^= numbers >> 30
        numbers.mul_(-0x40A7B892E31B1A47)
        numbers ^= numbers >> 27
        numbers.mul_(-0x6B2FB644ECCEEE15)
        numbers >>= 40
        return numbers.bitwise_and_(2**24 - 1).float().mul_(2.0**-24)


def gumbel(uniform: Tensor) -> Tensor:
    """Uniform numbers -> Gumbel noise, in place: scores with it rank as a draw without replacement does."""
    return uniform.clamp_(min=1e-20).log_().neg_().clamp_(min=1e-20).log_().neg_()
