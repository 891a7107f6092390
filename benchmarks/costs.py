"""What a job costs: floating-point operations and memory, which no other program on the machine changes, and seconds.

Cost = seconds x the machine's matrix product, in GFLOP: what the seconds would have been worth at full speed. It can be
compared between machines as seconds cannot.
"""

from __future__ import annotations

import statistics
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

GIGA = 1e9
PRODUCT_SIZE = 2048  # of the square matrices whose product is the machine's peak
PRODUCTS = 5


def _attention(query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(
    gradient: torch.Size, query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any
) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)


# torch's counter knows the attention of GPUs alone.
CPU_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


class Allocations(TorchDispatchMode):
    """Within the block, follows the memory of the tensors that operations make.

    Attributes:
        total: bytes made.
        peak: bytes that were alive at once, beside what was there before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = self.peak = self._alive = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        before = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in before and storage not in self._known:
                    self._add(storage)
        return made

    def _add(self, storage: torch.UntypedStorage) -> None:
        size = storage.nbytes()
        self._known.add(storage)
        weakref.finalize(storage, self._remove, size)
        self.total += size
        self._alive += size
        self.peak = max(self.peak, self._alive)

    def _remove(self, size: int) -> None:
        self._alive -= size


@dataclass(frozen=True)
class Counts:
    """What a job does, whatever the machine: GFLOP of matrix products, convolutions and attention; memory in GB."""

    gflop: float
    allocated: float
    peak: float


def count(job: Callable[[], object]) -> Counts:
    """Counts one call of a job."""
    with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as flops, Allocations() as memory:
        job()
    return Counts(flops.get_total_flops() / GIGA, memory.total / GIGA, memory.peak / GIGA)


def synchronised(job: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call, until the device has done it."""
    _wait(device)
    started = time.perf_counter()
    job()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matrix_peak(device: torch.device) -> float:
    """GFLOP a second of a large product of single-precision matrices: what this machine can do now."""
    left, right = torch.randn(2, PRODUCT_SIZE, PRODUCT_SIZE, device=device)
    times = [synchronised(lambda: left @ right, device) for _ in range(PRODUCTS)]
    return 2 * PRODUCT_SIZE**3 / GIGA / statistics.median(times)
