"""The motions of a library by name: ids, takes and captions, a million of them in a few arrays that a file can hold.

Legend: M motions, R captions (rows), U takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from models.rag.captions import caption_key, caption_keys
from utils.errors import UserError

WHOLE = -1  # in `frames`: a motion that is all of its file
# Array -> its type, and whether it has a row a motion, a row a caption, or one a take; `_bytes`: letters of all.
ARRAYS = {
    "id_bytes": np.uint8, "id_ends": np.int64, "take_bytes": np.uint8, "take_ends": np.int64,
    "caption_bytes": np.uint8, "caption_ends": np.int64, "take": np.int32, "frames": np.int32,
}  # fmt: skip
# Also, where the library is large: the keys of its captions in ascending order, and the row of each.
KEYS = {"caption_keys": np.int64, "caption_rows": np.int32}


@dataclass(frozen=True)
class Entry:
    """One motion of the library.

    Attributes:
        id: its file's name, with `@start-end` (seconds) when it is a part of the file.
        take: motions of one take are the same performance: the parts of a file, and its mirrored twin.
        captions: at least one.
        frames: the part of its file, first and last + 1; None: all of it.
    """

    id: str
    take: str
    captions: tuple[str, ...]
    frames: tuple[int, int] | None = None

    @property
    def file_name(self) -> str:
        """Stem of the motion's file."""
        return self.id if self.frames is None else self.id.rpartition("@")[0]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        plain: dict[str, Any] = {"id": self.id, "take": self.take, "captions": list(self.captions)}
        return plain if self.frames is None else plain | {"frames": list(self.frames)}


class Texts(Sequence[str]):
    """Many texts, one after the other in one array; a text is decoded when it is looked at.

    Args:
        content: UTF-8 bytes of all.
        ends: (n,) where each text ends.

    Raises:
        ValueError: the ends do not fit the bytes.
    """

    def __init__(self, content: np.ndarray, ends: np.ndarray) -> None:
        if (len(ends) and (ends[0] < 0 or (np.diff(ends) < 0).any())) or (ends[-1] if len(ends) else 0) != len(content):
            raise ValueError("the ends of texts do not fit their bytes")
        self.content, self.ends = content, ends

    @classmethod
    def of(cls, texts: Iterable[str]) -> Texts:
        """Packs texts."""
        content, ends = bytearray(), []
        for text in texts:
            try:
                content += text.encode()
            except UnicodeEncodeError as error:
                raise UserError(f"{text!a:.80} is no Unicode text: a library cannot hold it") from error
            ends.append(len(content))
        return cls(np.frombuffer(content, np.uint8), np.array(ends, np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, number: int) -> str:
        if not 0 <= number < len(self):
            raise IndexError(number)
        start = self.ends[number - 1] if number else 0
        try:
            return self.content[start : self.ends[number]].tobytes().decode()
        except UnicodeDecodeError as error:
            raise UserError(f"text {number} of the database is damaged: build the database again") from error


class Entries(Sequence[Entry]):
    """The motions of a library; one is put together when it is looked at.

    Args:
        arrays: see `ARRAYS`; takes are in the order of their letters, `take` (M,) says which is whose, `frames` (M, 2)
            which part of its file a motion is.
        row_motion: (R,) the motion of each caption, motion after motion.

    Raises:
        ValueError: the arrays do not fit each other.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], row_motion: np.ndarray) -> None:
        if any(arrays[name].dtype != kind for name, kind in ARRAYS.items()):
            raise ValueError("arrays of other types")
        self.arrays = {name: arrays[name] for name in ARRAYS}
        self.ids, self.takes, self.captions = (
            Texts(arrays[f"{name}_bytes"], arrays[f"{name}_ends"]) for name in ("id", "take", "caption")
        )
        take, frames, count = arrays["take"], arrays["frames"], len(self.ids)
        steps = np.diff(row_motion, prepend=-1, append=count)
        self.counts = np.bincount(row_motion, minlength=count) if count and len(row_motion) else np.zeros(count, int)
        if (
            take.shape != (count,)
            or frames.shape != (count, 2)
            or len(row_motion) != len(self.captions)
            or ((steps != 0) & (steps != 1)).any()
            or (count and not (0 <= take.min() <= take.max() < len(self.takes)))
            or not ((frames[:, 0] == WHOLE) | ((frames[:, 0] >= 0) & (frames[:, 0] < frames[:, 1]))).all()
        ):
            raise ValueError("ids, takes, captions and frames do not fit each other")
        self.row_motion = row_motion
        if KEYS.keys() <= arrays.keys():
            self.keys = {name: arrays[name] for name in KEYS}
            _, rows = self.keys.values()
            kinds = {name: array.dtype for name, array in self.keys.items()}
            lengths = {len(array) for array in self.keys.values()}
            if kinds != KEYS or lengths != {len(row_motion)} or not 0 <= rows.min() <= rows.max() < len(rows):
                raise ValueError("keys of other captions")
        self.ends = self.counts.cumsum()  # (M,) where the captions of each motion end

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Entries:
        """Packs motions; what is packed stays as it is.

        Raises:
            UserError: a motion has no caption.
        """
        if isinstance(entries, Entries):
            return entries
        counts: list[int] = []
        takes: list[str] = []
        frames: list[tuple[int, int]] = []
        captions: list[str] = []

        def ids() -> Iterator[str]:
            for entry in entries:
                if not entry.captions:
                    raise UserError(f"motion {entry.id} has no caption: the library needs at least one a motion")
                counts.append(len(entry.captions))
                takes.append(entry.take)
                frames.append(entry.frames or (WHOLE, WHOLE))
                captions.extend(entry.captions)
                yield entry.id

        packed = Texts.of(ids())
        names = sorted(set(takes))
        number = {name: place for place, name in enumerate(names)}
        arrays = {"take": np.array([number[take] for take in takes], np.int32)}
        arrays["frames"] = np.array(frames, np.int32).reshape(-1, 2)
        for name, texts in (("id", packed), ("take", Texts.of(names)), ("caption", Texts.of(captions))):
            arrays |= {f"{name}_bytes": texts.content, f"{name}_ends": texts.ends}
        return cls(arrays, np.repeat(np.arange(len(counts), dtype=np.int32), counts))

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, number: int) -> range:
        """The rows of a motion's captions."""
        return range(int(self.ends[number] - self.counts[number]), int(self.ends[number]))

    def __getitem__(self, number: int | slice) -> Entry | tuple[Entry, ...]:
        number = range(len(self))[number]
        if isinstance(number, range):
            return tuple(map(self.__getitem__, number))
        first, last = self.arrays["frames"][number].tolist()
        return Entry(
            self.ids[number],
            self.takes[self.arrays["take"][number]],
            tuple(self.captions[row] for row in self.rows(number)),
            None if first == WHOLE else (first, last),
        )

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(Entry.__eq__, self, other))

    __hash__ = None

    @cached_property
    def keys(self) -> dict[str, np.ndarray]:
        """See `KEYS`."""
        return dict(zip(KEYS, caption_keys(self.captions), strict=True))

    def with_caption(self, text: str) -> np.ndarray:
        """The motions, ascending, of which a caption reads like a text."""
        keys, rows = self.keys.values()
        first, last = (np.searchsorted(keys, caption_key(text), side) for side in ("left", "right"))
        return np.unique(self.row_motion[rows[first:last]]).astype(np.int64)

    def motions_of(self, take: str) -> list[int]:
        """The motions of a take; none of one that is not there."""
        low, high = 0, len(self.takes)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self.takes[middle] < take else (low, middle)
        if low == len(self.takes) or self.takes[low] != take:
            return []
        order, sorted_takes = self._by_take
        return order[slice(*np.searchsorted(sorted_takes, [low, low + 1]))].tolist()

    @cached_property
    def _by_take(self) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(self.arrays["take"], kind="stable")
        return order, self.arrays["take"][order]
