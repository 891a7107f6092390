"""Work of PyTorch on many items of different size, in batches of like size; what is made once is kept in a store."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from storage.row_store import Row, RowStore
from utils.errors import UserError
from utils.threads import map_on_cores

Result = TypeVar("Result")


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """Lengths (...) of rows that are padded to `size` -> mask (..., size), True = valid."""
    return torch.arange(size, device=lengths.device) < lengths[..., None]


def checked_motion(motion: np.ndarray | Row | Tensor, number: int, width: int) -> Tensor:
    """Raw features (T, width) in single precision on the CPU.

    Raises:
        UserError: no frames, another width, or not finite; the motion's number is named.
    """
    rows = torch.as_tensor(motion[:], dtype=torch.float32).cpu()
    if rows.ndim != 2 or rows.shape[1] != width or not len(rows):
        raise UserError(f"motion {number} must have the shape (frames, {width}), not {tuple(rows.shape)}")
    if not torch.isfinite(rows).all():
        raise UserError(f"motion {number} has values that are not finite")
    return rows


@dataclass(frozen=True)
class Batches:
    """How items are put into batches.

    Attributes:
        sizes: of all items; those of similar size share a batch, so that little is computed for padding.
        device: where the work is done.
        most: items of a batch.
        at_once: size of a batch with its padding; an item that is larger is a batch of its own.
    """

    sizes: Sequence[int]
    device: torch.device
    most: float = math.inf
    at_once: float = math.inf

    def of(self, items: Iterable[int]) -> list[list[int]]:
        """The items in batches, the small ones first."""
        batches: list[list[int]] = []
        for item in sorted(items, key=self.sizes.__getitem__):
            count = len(batches[-1]) + 1 if batches else 0
            if not count or count > self.most or count * self.sizes[item] > self.at_once:
                batches.append([])
            batches[-1].append(item)
        return batches

    def map(
        self, function: Callable[[list[int]], Iterable[Result]], items: Iterable[int] | None = None
    ) -> Iterator[tuple[int, Result]]:
        """Items and their results, see `map_on_cores`.

        Args:
            function: items of a batch -> their results, in order.
            items: none: all.
        """
        batches = self.of(range(len(self.sizes)) if items is None else items)
        for chosen, results in zip(batches, map_on_cores(function, batches, self.device), strict=True):
            yield from zip(chosen, results, strict=True)

    def complete(
        self,
        store: RowStore,
        keys: Sequence[bytes],
        function: Callable[[list[int]], Iterable[np.ndarray]],
        what: str,
        unit: str,
    ) -> None:
        """Makes the rows of items that are missing from a store, and keeps them.

        Args:
            store: see `RowStore.complete`.
            keys: of the items.
            function: items of a batch -> their rows, in order.
            what, unit: for the bar; sizes are counted in the unit.
        """
        store.complete(keys, lambda missing: self.map(function, missing), what, unit, self.sizes)

    def kept(
        self,
        store: RowStore,
        keys: Sequence[bytes],
        function: Callable[[list[int]], Iterable[np.ndarray]],
        what: str,
        unit: str,
    ) -> list[np.ndarray]:
        """The rows of all items, read from a store, see `complete`."""
        self.complete(store, keys, function, what, unit)
        return [store.read(key) for key in keys]
