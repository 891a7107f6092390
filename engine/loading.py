"""Batches that are known beforehand, loaded and brought to the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor
from torch.utils.data import DataLoader, Dataset


class DeviceLoader:
    """A data loader whose batches come on a device."""

    def __init__(self, loader: DataLoader, device: torch.device) -> None:
        self.loader, self.device = loader, device

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.loader:
            yield send_to_device(batch, self.device, non_blocking=True)


def fetching(
    collate: Callable[[list[Any]], Any], fetch: Callable[[dict[str, Any]], dict[str, Any]], items: list[Any]
) -> dict[str, Any]:
    """A batch of items with what a task keeps in host memory, see `Task.host_fetcher`."""
    batch = collate(items)
    return {**batch, **fetch(batch)}


def fetch_texts(store: Any, batch: dict[str, Tensor]) -> dict[str, Any]:
    """`texts`: the rows of a `TextFeatureStore` for the batch's `caption_index` (B,)."""
    return {"texts": store.rows(batch["caption_index"])}


def device_loader(
    dataset: Dataset,
    batches: Sequence[list[int]],
    collate: Callable[[list[Any]], Any] | None,
    num_workers: int,
    seed: int,
    device: torch.device,
) -> DeviceLoader:
    """Loads `batches` (lists of sample indices) of `dataset` in order; torch's global generators stay untouched."""
    loader = DataLoader(
        dataset,
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=num_workers,
        pin_memory=device.type == "cuda",
        generator=torch.Generator().manual_seed(seed),
    )
    return DeviceLoader(loader, device)
