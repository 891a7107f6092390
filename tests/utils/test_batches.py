"""Items in batches of like size, and rows that are made once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from storage.row_store import RowStore, digest
from utils.batches import Batches

CPU = torch.device("cpu")
SIZES = [5, 1, 9, 3, 3, 30, 2]


@pytest.mark.parametrize("threads", [1, 2])
def test_every_item_gets_its_own_result(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for batches in (Batches(SIZES, CPU), Batches(SIZES, CPU, most=1), Batches(SIZES, CPU, most=3, at_once=10)):
            found = list(batches.map(lambda chosen: [SIZES[item] for item in chosen]))
            assert sorted(item for item, _ in found) == list(range(7))
            assert [size for _, size in found] == sorted(SIZES) and all(SIZES[item] == size for item, size in found)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_batches_keep_their_limits() -> None:
    assert Batches(SIZES, CPU, most=3, at_once=10).of(range(7)) == [[1, 6, 3], [4, 0], [2], [5]]
    assert Batches(SIZES, CPU, at_once=10).of([5, 0, 1]) == [[1, 0], [5]]
    assert Batches([], CPU).of([]) == [] and list(Batches([], CPU).map(pytest.fail)) == []


def test_kept_rows_are_made_once_and_in_order(tmp_path: Path) -> None:
    keys, made = [digest(str(size)) for size in SIZES], []

    def rows(chosen: list[int]) -> list[np.ndarray]:
        made.append([SIZES[item] for item in chosen])
        return [np.full((1, 2), SIZES[item], np.float32) for item in chosen]

    for wanted in (slice(0, 4), slice(None), slice(None)):
        batches, store = Batches(SIZES[wanted], CPU, most=2), RowStore(tmp_path, (2,), np.float32)
        found = batches.kept(store, keys[wanted], rows, "making rows", "row")
        np.testing.assert_array_equal(np.concatenate(found)[:, 0], SIZES[wanted])
    assert made == [[1, 3], [5, 9], [2, 30]], "the second 3 is the first"
