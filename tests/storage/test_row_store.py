"""A store keeps what was made, and nothing else."""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from storage import row_store
from storage.row_store import RowStore, digest, identity
from utils.errors import UserError

KEYS = [digest(str(number)) for number in range(6)]
ROWS = {key: np.full((number + 1, 2), number, np.float32) for number, key in enumerate(KEYS)}


class Maker:
    """Makes rows of the test, until it dies."""

    def __init__(self, dies_after: int = 100) -> None:
        self.made: list[int] = []
        self.dies_after = dies_after

    def __call__(self, missing: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        for number in missing:
            if len(self.made) == self.dies_after:
                raise KeyboardInterrupt
            self.made.append(number)
            yield number, ROWS[KEYS[number]]


def store_in(folder: Path) -> RowStore:
    """An empty store, or what is in the folder."""
    return RowStore(folder, (2,), np.float32)


def fill(store: RowStore, make: Callable[[list[int]], Iterator[tuple[int, np.ndarray]]]) -> None:
    store.complete(KEYS, make, "making", "row")


def check(store: RowStore) -> None:
    """All rows are what was made, each also in parts."""
    for key, row in ROWS.items():
        np.testing.assert_array_equal(store.read(key), row)
        lazy = store.row(key)
        np.testing.assert_array_equal(np.asarray(lazy), row)
        assert lazy.shape == row.shape and np.asarray(lazy).dtype == row.dtype
        for index in (slice(1, 3), slice(4, 2), slice(None, None, 2), slice(-2, None), (slice(None), 0), slice(0, 99)):
            np.testing.assert_array_equal(lazy[index], row[index])
    part = store.row(KEYS[5]).part(1, 4)
    assert len(part) == 3 and len(part[1:]) == 2 and part.part(1, 3).first == 2


def test_rows_are_made_once_and_read_back(tmp_path: Path) -> None:
    maker = Maker()
    store = store_in(tmp_path / "store")
    store.complete([*KEYS, KEYS[0]], lambda missing: maker([number % 6 for number in missing]), "making", "row")
    assert maker.made == list(range(6))
    check(store)
    again = store_in(tmp_path / "store")
    fill(again, Maker(dies_after=0))
    check(again)
    check(pickle.loads(pickle.dumps(again)))


def test_a_kill_costs_what_was_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_store, "CHUNK_BYTES", 1)
    with pytest.raises(KeyboardInterrupt):
        fill(store_in(tmp_path), Maker(dies_after=4))
    maker = Maker()
    store = store_in(tmp_path)
    fill(store, maker)
    assert maker.made == [4, 5]
    check(store)


def test_the_bar_counts_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int | str] = []

    @contextlib.contextmanager
    def bar(total: int, what: str, unit: str, scaled: bool) -> Iterator[SimpleNamespace]:
        counted.extend([what, total])
        yield SimpleNamespace(update=counted.append)

    monkeypatch.setattr("utils.progress.progress_bar", bar)
    store_in(tmp_path).complete(KEYS[:2], Maker(), "making", "row")
    store_in(tmp_path).complete(KEYS, Maker(), "making", "frame", sizes=[10, 20, 30, 40, 50, 60])
    store_in(tmp_path).complete(KEYS, Maker(), "making", "row")
    assert counted == ["making", 2, 1, 1, "making", 180, 30, 40, 50, 60]


def _die_while_writing(folder: str) -> None:
    row_store.CHUNK_BYTES = 1
    save_file, written = row_store.save_file, []

    def save(content: dict[str, np.ndarray], path: Path) -> None:
        save_file(content, path)
        written.append(path)
        if len(written) == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    row_store.save_file = save
    fill(store_in(Path(folder)), Maker())


def test_a_process_that_is_killed_leaves_whole_chunks(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_die_while_writing, args=(str(tmp_path),))
    process.start()
    process.join(60)
    (unfinished,) = tmp_path.glob(".*.safetensors")
    assert process.exitcode == -signal.SIGKILL
    maker = Maker()
    store = store_in(tmp_path)
    fill(store, maker)
    assert maker.made == [2, 3, 4, 5] and not unfinished.exists()
    check(store)


def test_chunks_grow_with_the_time_that_a_store_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 100_000))
    monkeypatch.setattr(row_store.time, "monotonic", lambda: float(next(clock)))
    store = RowStore(tmp_path, (), np.int32)
    keys = [digest(str(number)) for number in range(3000)]
    rows = ((number, np.zeros(1, np.int32)) for number in range(3000))
    store.complete(keys, lambda missing: rows, "making", "row")
    assert 10 < len(list(tmp_path.glob("*.safetensors"))) < 60


def test_damaged_chunks_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(row_store, "CHUNK_BYTES", 1)
    fill(store_in(tmp_path), Maker())
    first, second, third, *_ = sorted(tmp_path.glob("*.safetensors"))
    first.write_bytes(first.read_bytes()[:-1])
    second.write_bytes(b"")
    third.write_bytes(b"\xff" * 200)
    maker = Maker()
    with caplog.at_level(logging.WARNING):
        store = store_in(tmp_path)
    assert caplog.text.count("is damaged") == 3
    fill(store, maker)
    assert len(maker.made) == 3
    check(store)


def test_turned_bits_are_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In keys and ends when a chunk is opened, which is made again; in a row when the whole of it is read."""
    fill(store_in(tmp_path), Maker())
    (path,) = tmp_path.glob("*.safetensors")
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:start])
    for name in ("keys", "ends", "sums", "rows"):
        content = bytearray(whole)
        content[start + header[name]["data_offsets"][1] - 1] ^= 1
        path.write_bytes(content)
        store = store_in(tmp_path)
        assert (KEYS[5] in store) == (name == "rows")
    with pytest.raises(UserError, match="is damaged: remove it"):
        store.read(KEYS[5])
    assert len(store.read(KEYS[0])) and len(store.read(KEYS[5], 0, 1))


def test_chunks_without_checksums_are_read(tmp_path: Path) -> None:
    fill(store_in(tmp_path), Maker())
    (path,) = tmp_path.glob("*.safetensors")
    save_file({name: value for name, value in load_file(path).items() if name != "sums"}, path)
    check(store_in(tmp_path))


def test_rows_of_another_kind_are_not_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(store_in(tmp_path), Maker())
    for shape, dtype in (((3,), np.float32), ((2,), np.float16)):
        assert KEYS[0] not in RowStore(tmp_path, shape, dtype) and "is damaged" in caplog.text
        caplog.clear()
        fill(store_in(tmp_path), Maker())


def test_chunks_of_former_rows_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_store, "CHUNK_BYTES", 1)
    store = store_in(tmp_path)
    fill(store, Maker())
    reader = store_in(tmp_path)
    store.keep_only(KEYS[:4])
    assert KEYS[3] in store and KEYS[4] not in store and len(list(tmp_path.glob("*.safetensors"))) == 4
    check(reader)  # who has them open reads on


def test_a_file_that_is_cut_while_it_is_read_is_told(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    fill(store, Maker())
    (path,) = tmp_path.glob("*.safetensors")
    with open(path, "r+b") as file:
        file.truncate(100)
    with pytest.raises(UserError, match="changed while it is in use"):
        store.read(KEYS[5])


def test_what_is_equal_has_one_identity(tmp_path: Path) -> None:
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    assert identity(rows) == identity(rows.copy()) == identity(np.asfortranarray(rows))
    assert len({identity(each) for each in (rows, rows[:3], rows.reshape(3, 4), rows.astype(np.float64))}) == 4
    store = store_in(tmp_path)
    fill(store, Maker())
    row = store.row(KEYS[5])
    assert identity(row) == identity(store_in(tmp_path).row(KEYS[5])) != identity(row.part(0, 4))
    assert digest("a", "bc") != digest("ab", "c")


def _fill_slowly(folder: str, queue: multiprocessing.Queue) -> None:
    maker = Maker()

    def slow(missing: list[bytes]) -> Iterator[tuple[bytes, np.ndarray]]:
        for made in maker(missing):
            time.sleep(0.05)
            yield made

    store = store_in(Path(folder))
    fill(store, slow)
    check(store)
    queue.put(len(maker.made))


def test_of_two_processes_one_works(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=_fill_slowly, args=(str(tmp_path), queue)) for _ in range(2)]
    for process in processes:
        process.start()
    counts = [queue.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
    assert sorted(counts) == [0, len(KEYS)]


def test_shares_of_a_whole_do_not_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take = row_store.hold
    monkeypatch.setattr(row_store, "hold", lambda file, wait=True: pytest.fail("waits") if wait else take(file, wait))
    first, second = store_in(tmp_path), store_in(tmp_path)

    def make(missing: list[int]) -> list[tuple[int, np.ndarray]]:
        second.complete(KEYS[3:], lambda others: [(n, ROWS[KEYS[3 + n]]) for n in others], "making", "row")
        return [(number, ROWS[KEYS[number]]) for number in missing]

    first.complete(KEYS[:3], make, "making", "row")
    assert not list(tmp_path.glob(".*.lock"))
    check(store_in(tmp_path))


def test_a_chunk_that_cannot_be_read_now_is_not_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(store_in(tmp_path), Maker())

    def unreadable(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(row_store, "_Chunk", unreadable)
    with pytest.raises(UserError, match="Permission denied"):
        store_in(tmp_path)
    monkeypatch.undo()
    check(store_in(tmp_path))
