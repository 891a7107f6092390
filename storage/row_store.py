"""Rows that are made once and kept on disk: features of motions, states of texts, tokens, what was retrieved.

A store is a folder of chunks. A chunk is written under another name, renamed, and never changed: a kill costs what was
not written yet, and readers need no lock. Whatever decides a row (file and its time, weights, caption) is in the name
of the folder or in the row's key, so that rows of something else are never found.

Legend: L length of a row.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import struct
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from storage.file_lock import hold
from storage.files import atomic_path, remove_abandoned
from utils.errors import UserError
from utils.progress import with_bar

LOGGER = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 27
CHUNK_SECONDS = 10.0
CHUNK_SHARE = 0.1  # of the time so far: work of hours makes no thousands of files
KEY_BYTES = 16


def digest(*parts: str | bytes) -> bytes:
    """A key made of parts whose borders count."""
    hashed = hashlib.blake2b(digest_size=KEY_BYTES)
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        hashed.update(struct.pack("<Q", len(content)))
        hashed.update(content)
    return hashed.digest()


def identity(motion: np.ndarray | Row) -> bytes:
    """Equal for equal content: that of a stored row is known without reading it."""
    if isinstance(motion, Row):
        return digest(motion.key, f"{motion.first}-{motion.last}")
    return digest(str(motion.dtype), str(motion.shape), np.ascontiguousarray(motion).data.cast("B"))


class Row:
    """A row of a store, (L, ...), or a part of it: read when it is looked at, held by nobody.

    Indexing and `np.asarray` give arrays of their own; `part` gives the reference to a part.
    """

    def __init__(self, store: RowStore, key: bytes, first: int, last: int) -> None:
        self.store, self.key, self.first, self.last = store, key, first, last

    def __len__(self) -> int:
        return self.last - self.first

    @property
    def shape(self) -> tuple[int, ...]:
        """(L, ...)."""
        return (len(self), *self.store.shape)

    def part(self, first: int, last: int) -> Row:
        """The steps from `first` to before `last`, both within the row."""
        return Row(self.store, self.key, self.first + first, self.first + last)

    def __getitem__(self, index: Any) -> np.ndarray:
        if isinstance(index, slice):
            first, last, step = index.indices(len(self))
            if step == 1:
                return self.store.read(self.key, self.first + first, self.first + max(first, last))
        return self.store.read(self.key, self.first, self.last)[index]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        rows = self[:]
        return rows if dtype is None else rows.astype(dtype, copy=False)


class _Chunk:
    """An open file; it can be read even when its name is gone. `sums` are checksums of its rows; former ones have none.

    Raises:
        ValueError, KeyError, SafetensorError, OSError: it is damaged, as far as that can be told without its rows.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with safe_open(path, framework="np") as file:
            self.keys, self.ends = file.get_tensor("keys"), file.get_tensor("ends")
            self.sums = file.get_tensor("sums") if "sums" in file.keys() else None  # noqa: SIM118 - no mapping
        lengths = np.diff(self.ends, prepend=0)
        if self.ends.shape != self.keys.shape[:1] or not len(lengths) or (lengths < 0).any():
            raise ValueError("its keys and ends do not fit")
        if self.sums is not None and _checksums(self.keys, self.ends, self.sums[:-1])[-1] != self.sums[-1]:
            raise ValueError("its keys and ends do not fit their checksum")
        self.file = open(path, "rb")  # noqa: SIM115 - closed with the chunk
        (length,) = struct.unpack("<Q", self.file.read(8))
        self.entry = json.loads(self.file.read(length))["rows"]
        self.offset = 8 + length + self.entry["data_offsets"][0]

    def __getstate__(self) -> Path:
        return self.path

    def __setstate__(self, path: Path) -> None:
        self.__init__(path)


class RowStore:
    """Rows (L, *shape) of different L, found by key.

    Args:
        folder: of the chunks; made with the first of them. Its name must tell everything that the keys do not.
        shape: of one step of a row.
        dtype: of the numbers.
    """

    def __init__(self, folder: Path | str, shape: Sequence[int], dtype: str | np.dtype) -> None:
        self.folder, self.shape, self.dtype = Path(folder), tuple(shape), np.dtype(dtype)
        self._step = int(np.prod(self.shape)) * self.dtype.itemsize
        self._chunks: dict[str, _Chunk] = {}
        self._places: dict[bytes, tuple[_Chunk, int, int, int]] = {}
        self._scan()

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def row(self, key: bytes) -> Row:
        """The row of a key that is there."""
        *_, start, end = self._places[key]
        return Row(self, key, 0, end - start)

    def read(self, key: bytes, first: int = 0, last: int | None = None) -> np.ndarray:
        """Steps from `first` to before `last` of a row, read from the file: no memory is mapped, so none is held.

        Raises:
            UserError: the file was cut while it is in use.
        """
        chunk, number, start, end = self._places[key]
        last = end - start if last is None else last
        rows = np.empty((last - first, *self.shape), self.dtype)
        place = chunk.offset + (start + first) * self._step
        if rows.size and os.preadv(chunk.file.fileno(), [rows.data.cast("B")], place) != rows.nbytes:
            raise UserError(f"{chunk.path} was changed while it is in use: start again")
        if chunk.sums is not None and len(rows) == end - start and zlib.crc32(rows) != chunk.sums[number]:
            raise UserError(f"{chunk.path} is damaged: remove it, and its content is made again")
        return rows

    def complete(
        self,
        keys: Sequence[bytes],
        make: Callable[[list[int]], Iterable[tuple[int, np.ndarray]]],
        what: str,
        unit: str,
        sizes: Sequence[int] | None = None,
    ) -> None:
        """Makes the rows that are missing, in any order, with a bar. What was made before a kill or an error stays.

        Of processes that want the same one works, the others wait for it and find its rows. Those that want something
        else, as shares of a whole, do not wait.

        Args:
            keys: of the rows that are wanted, also several times.
            make: numbers of missing keys, without repetition and in order -> these numbers and their rows.
            what, unit, sizes: of the work, see `with_bar`.

        Raises:
            UserError: the folder cannot be written.
        """
        wanted = dict(zip(keys, range(len(keys)), strict=True))
        if all(key in self for key in wanted):
            return
        with self._alone(digest(*wanted).hex()):
            self._scan()
            if missing := [number for key, number in wanted.items() if key not in self]:
                made = with_bar(make(missing), what, unit, sizes, missing)
                self._fill((keys[number], row) for number, row in made)

    def keep_only(self, keys: Collection[bytes]) -> None:
        """Removes the chunks with rows that are of no use any more, where all that is of use is among `keys`."""
        for name, chunk in list(self._chunks.items()):
            if any(key not in keys for key in _split(chunk.keys)):
                with contextlib.suppress(OSError):
                    chunk.path.unlink()
                del self._chunks[name]
                self._places = {key: place for key, place in self._places.items() if place[0] is not chunk}

    def _fill(self, rows: Iterable[tuple[bytes, np.ndarray]]) -> None:
        waiting: dict[bytes, np.ndarray] = {}
        started = written = time.monotonic()
        size = 0
        try:
            for key, row in rows:
                waiting[key] = np.ascontiguousarray(row, self.dtype)
                size += waiting[key].nbytes
                now = time.monotonic()
                if size >= CHUNK_BYTES or now - written >= max(CHUNK_SECONDS, CHUNK_SHARE * (now - started)):
                    self._write(waiting)
                    waiting, size, written = {}, 0, now
        finally:
            if waiting:
                self._write(waiting)

    def _write(self, rows: dict[bytes, np.ndarray]) -> None:
        """One chunk. Equal keys give equal names: who makes a chunk twice has it once."""
        path = self.folder / f"{digest(*rows).hex()}.safetensors"
        keys = np.frombuffer(b"".join(rows), np.uint8).reshape(-1, KEY_BYTES)
        ends, sums = np.cumsum([len(row) for row in rows.values()]), _checksums(*rows.values())
        content = {"keys": keys, "ends": ends, "rows": np.concatenate(list(rows.values()))}
        content["sums"] = np.append(sums, _checksums(keys, ends, sums)[-1])
        with atomic_path(path) as temporary:
            save_file(content, temporary)
        self._open(path)

    def _scan(self) -> None:
        """Opens the chunks that are there; a damaged one is removed, so that its rows are made again."""
        for path in sorted(self.folder.glob("[!.]*.safetensors")):
            if path.name in self._chunks:
                continue
            try:
                self._open(path)
            except FileNotFoundError:
                continue  # another process removed it
            except OSError as error:
                raise UserError(f"cannot read {path}: {error.strerror}") from error
            except (SafetensorError, ValueError, KeyError, struct.error) as error:
                LOGGER.warning("%s is damaged (%s): its content is made again", path, error)
                with contextlib.suppress(OSError):
                    path.unlink()

    def _open(self, path: Path) -> None:
        chunk = _Chunk(path)
        steps, *shape = chunk.entry["shape"]
        first, last = chunk.entry["data_offsets"]
        if tuple(shape) != self.shape or chunk.ends[-1] != steps or last - first != steps * self._step:
            raise ValueError(f"rows of {shape}, not {self.shape}")
        self._chunks[path.name] = chunk
        start = 0
        for number, (key, end) in enumerate(zip(_split(chunk.keys), chunk.ends.tolist(), strict=True)):
            self._places[key] = (chunk, number, start, end)
            start = end

    @contextlib.contextmanager
    def _alone(self, job: str) -> Iterator[None]:
        """Holds a job's lock, which ends with the process however that ends."""
        path = self.folder / f".{job}.lock"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = open(path, "w")  # noqa: SIM115 - closed below
        except OSError as error:
            raise UserError(f"cannot write {self.folder}: {error.strerror}") from error
        with lock:
            try:
                hold(lock, wait=False)
            except BlockingIOError:
                LOGGER.warning("waiting for the process that is filling %s", self.folder)
                hold(lock)
            except OSError:
                LOGGER.debug("%s has no locks: the work may be done twice, and right", self.folder)
            remove_abandoned(self.folder)
            yield
            with contextlib.suppress(OSError):  # Windows keeps what is open
                path.unlink(missing_ok=True)  # all is there: whoever waits or comes now has nothing to do


def _checksums(*arrays: np.ndarray) -> np.ndarray:
    """CRC-32 of each array, (n,), and behind them that of all of them together, (n + 1,)."""
    sums = [zlib.crc32(np.ascontiguousarray(array)) for array in arrays]
    return np.array([*sums, zlib.crc32(np.array(sums, np.uint32))], np.uint32)


def _split(keys: np.ndarray) -> list[bytes]:
    """(n, KEY_BYTES) -> n keys."""
    joined = keys.tobytes()
    return [joined[start : start + KEY_BYTES] for start in range(0, len(joined), KEY_BYTES)]
