"""The RAG database: a library of embedded motions and their captions, in a folder, searched exactly.

Legend: B queries, M motions, R captions (rows), K retrieved, D embedding, P parts, N token steps, J part rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from models.rag import storage
from models.rag.approximate import ApproximateRows, IndexKind
from models.rag.search import MotionRows, SearchResult
from models.transformer.condition import Retrieved
from utils.errors import UserError
from utils.fits import check_library_retriever

FACTS = ("retriever", "dataset", "format", "tokenizer", "command", "index", "shard")

SearchBy = Literal["motion", "text", "both"]


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


@dataclass(frozen=True)
class Embedded:
    """Embeddings of some motions, as a retriever made them (rows of unit length).

    Attributes:
        entries: M motions; the rows of `text` are their captions, motion after motion.
        text: (R, D).
        motion: (M, D).
        parts: (M, P, D_p).
        tokens: (M, N, J) base tokens, padded with zeros, or None.
        steps: (M,) valid token steps, or None.
    """

    entries: tuple[Entry, ...]
    text: Tensor
    motion: Tensor
    parts: Tensor
    tokens: Tensor | None = None
    steps: Tensor | None = None

    def __post_init__(self) -> None:
        rows = sum(len(entry.captions) for entry in self.entries)
        if not len(self.entries) == len(self.motion) == len(self.parts) or rows != len(self.text):
            raise ValueError(
                f"{len(self.entries)} motions with {rows} captions need as many rows, not {len(self.motion)} motion,"
                f" {len(self.parts)} part and {len(self.text)} text rows"
            )
        if (self.tokens is None) != (self.steps is None):
            raise ValueError("tokens and steps go together")
        if self.tokens is not None and not len(self.entries) == len(self.tokens) == len(self.steps):
            raise ValueError(f"{len(self.entries)} motions need as many token rows, not {len(self.tokens)}")
        if without := [entry.id for entry in self.entries if not entry.captions]:
            raise UserError(f"motion {without[0]} has no caption: the library needs at least one a motion")

    @staticmethod
    def join(parts: Sequence[Embedded]) -> Embedded:
        """The motions of all parts, one part after the other; token grids are padded to the longest."""
        tokens = steps = None
        if all(part.tokens is not None for part in parts):
            longest = max(part.tokens.shape[1] for part in parts)
            tokens = torch.cat([functional.pad(p.tokens, (0, 0, 0, longest - p.tokens.shape[1])) for p in parts])
            steps = torch.cat([part.steps for part in parts])
        return Embedded(
            tuple(entry for part in parts for entry in part.entries),
            *(torch.cat([getattr(part, name) for part in parts]) for name in ("text", "motion", "parts")),
            tokens,
            steps,
        )


class RAGDatabase:
    """An immutable library: `load`, `search`, `gather`; `add` returns a larger one, `save` writes the folder.

    Args:
        embedded: the motions.
        facts: what the manifest tells besides the counts: `retriever` and with tokens `tokenizer` (name and hash each),
            `dataset`, `command`.
        index: answers searches `by="both"` without exclusions; none: they are exact too.
    """

    def __init__(self, embedded: Embedded, facts: Mapping[str, Any], index: ApproximateRows | None = None) -> None:
        self.embedded = embedded
        self.index = index
        self.facts = dict(facts)
        counts = torch.tensor([len(entry.captions) for entry in embedded.entries], dtype=torch.long)
        device = embedded.motion.device
        self.row_motion = torch.repeat_interleave(torch.arange(len(counts)), counts).to(device)
        # What a motion's captions say together: one R_t whatever the query, so that a retrieved motion is one number.
        sums = torch.zeros_like(embedded.motion).index_add_(0, self.row_motion, embedded.text)
        self.motion_text = functional.normalize(sums, dim=-1)
        self._rows: dict[str, MotionRows] = {}
        self._motions_of_take: dict[str, list[int]] = {}
        for number, entry in enumerate(embedded.entries):
            self._motions_of_take.setdefault(entry.take, []).append(number)

    def __len__(self) -> int:
        return len(self.embedded.entries)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The M motions: id, take, captions."""
        return self.embedded.entries

    @property
    def dimension(self) -> int:
        """D."""
        return self.embedded.motion.shape[1]

    @cached_property
    def fingerprint(self) -> str:
        """Tells what a search finds in this library from what it finds in others."""
        hashed = hashlib.sha256("\0".join(f"{entry.id}\0{entry.take}" for entry in self.entries).encode())
        for rows in (self.embedded.text, self.embedded.motion, self.row_motion):
            hashed.update(rows.cpu().contiguous().numpy())
        return hashed.hexdigest()[:16]

    @property
    def retriever_hash(self) -> str:
        """The hash of the retriever that embedded the motions."""
        return self.facts["retriever"]["hash"]

    def to(self, device: torch.device | str) -> RAGDatabase:
        """The same library on another device."""
        tensors = {name: value.to(device) for name, value in vars(self.embedded).items() if isinstance(value, Tensor)}
        return RAGDatabase(replace(self.embedded, **tensors), self.facts, self.index)

    def search(
        self,
        queries: Tensor,
        k: int,
        exclude_takes: Sequence[str | Collection[str] | None] | None = None,
        by: SearchBy = "both",
    ) -> SearchResult:
        """The top k motions of each query; k above the number of motions gives all of them. Exact without an index.

        Args:
            queries: (B, D) unit vectors of captions or motions, made by the database's retriever.
            k: motions wanted.
            exclude_takes: for each query a take, several, or None: their motions are not found (a caption's own clip,
                its mirror). All queries get equally many motions, those that the one with most exclusions can have.
            by: compare with motions, with captions (a motion counts by its best one), or with the mean of both.
        Raises:
            ValueError: k below 1, another dimension, or exclusions that are not one a query.
        """
        if queries.ndim != 2 or queries.shape[1] != self.dimension:
            raise ValueError(f"queries must have the shape (B, {self.dimension}), not {tuple(queries.shape)}")
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        if exclude_takes is not None and len(exclude_takes) != len(queries):
            raise ValueError(f"{len(queries)} queries need as many exclusions, not {len(exclude_takes)}")
        excluded = [self._motions_of(takes) for takes in exclude_takes or []]
        k = min(k, len(self) - max(map(len, excluded), default=0))
        if not k:
            return SearchResult(torch.empty(len(queries), 0, dtype=torch.long), torch.empty(len(queries), 0))
        if self.index is not None and by == "both" and not excluded:
            found = self.index.search(queries, k)
            if (found.indices >= 0).all():
                return found
        return self.rows(by).search(queries, k, excluded)

    def rows(self, by: SearchBy) -> MotionRows:
        """The rows that stand for the motions. That of `both` is the middle of a caption and its motion."""
        if by not in self._rows:
            embedded, owners = self.embedded, self.row_motion
            vectors = {
                "motion": lambda: embedded.motion,
                "text": lambda: embedded.text,
                "both": lambda: (embedded.text + embedded.motion[owners]) / 2,
            }[by]()
            self._rows[by] = MotionRows(
                vectors, torch.arange(len(self), device=owners.device) if by == "motion" else owners
            )
        return self._rows[by]

    def _motions_of(self, takes: str | Collection[str] | None) -> list[int]:
        names = [takes] if isinstance(takes, str) else set(takes or ())
        return [motion for take in names for motion in self._motions_of_take.get(take, ())]

    def gather(self, indices: Tensor) -> Retrieved:
        """What a generator sees of motions (B, K): R_t (mean of a motion's captions), R_m, parts, and tokens if any."""
        indices = indices.to(self.embedded.motion.device)
        tokens = steps = None
        if self.embedded.tokens is not None:
            steps = self.embedded.steps[indices].long()
            # To ask a GPU for the longest would make the host wait; sampling drops what no one sees anyway.
            longest = int(steps.max()) if steps.device.type == "cpu" else self.embedded.tokens.shape[1]
            tokens = self.embedded.tokens[indices][:, :, :longest].long()
        return Retrieved(
            text=self.motion_text[indices],
            motion=self.embedded.motion[indices],
            mask=torch.ones_like(indices, dtype=torch.bool),
            parts=self.embedded.parts[indices],
            tokens=tokens,
            steps=steps,
        )

    def add(self, others: Embedded) -> RAGDatabase:
        """The library with more motions, embedded by the same retriever; an index must be built anew.

        Raises:
            UserError: an id that is there already, or motions without the tokens that the library's motions have.
        """
        known = {entry.id for entry in self.entries}
        if repeated := [entry.id for entry in others.entries if entry.id in known]:
            raise UserError(f"motion {repeated[0]} is in the database already: give it another name")
        if self.embedded.tokens is not None and others.tokens is None:
            raise UserError("the database holds base tokens: motions added to it need theirs too (--vq_name)")
        device = self.embedded.motion.device
        tensors = {name: value.to(device) for name, value in vars(others).items() if isinstance(value, Tensor)}
        facts = {name: value for name, value in self.facts.items() if name != "index"}
        return RAGDatabase(Embedded.join([self.embedded, replace(others, **tensors)]), facts)

    def with_index(self, kind: IndexKind) -> RAGDatabase:
        """The same library with an approximate index, see `models.rag.approximate`."""
        index = ApproximateRows.build(self.rows("both"), kind)
        return RAGDatabase(self.embedded, {**self.facts, "index": kind}, index)

    def save(self, folder: Path | str) -> None:
        """Writes the folder, embeddings in half precision. A former database stays until the new one is complete.

        Raises:
            UserError: the folder cannot be written, or holds something else than a database.
        """
        embedded = self.embedded
        tensors = {
            "text": embedded.text.half(),
            "motion": embedded.motion.half(),
            "parts": embedded.parts.half(),
            "row_motion": self.row_motion.int(),
        }
        if embedded.tokens is not None:
            tensors |= {"tokens": embedded.tokens.short(), "steps": embedded.steps.short()}
        entries = [entry.to_dict() for entry in self.entries]
        write_index = None if self.index is None else self.index.save
        storage.write(Path(folder), {**self.facts, **self._counts()}, entries, tensors, write_index)

    def _counts(self) -> dict[str, Any]:
        embedded = self.embedded
        counts: dict[str, Any] = {
            "motions": len(self),
            "captions": len(embedded.text),
            "dimension": self.dimension,
            "parts": list(embedded.parts.shape[1:]),
        }
        if embedded.tokens is not None:
            counts["tokens"] = list(embedded.tokens.shape[1:])
        return counts

    @classmethod
    def load(
        cls, folder: Path | str, retriever_hash: str | None = None, device: torch.device | str = "cpu"
    ) -> RAGDatabase:
        """Reads a folder and checks that its files belong together.

        Args:
            folder: what `save` wrote.
            retriever_hash: of the retriever that will make the queries; another one than the database's is refused.
            device: where the embeddings go.
        Raises:
            UserError: missing or truncated files, another format or retriever, counts that do not fit; says which.
        """
        folder = Path(folder)
        manifest, raw_entries, tensors = storage.read(folder)
        check_library_retriever(folder, manifest, retriever_hash)
        entries = tuple(
            Entry(
                each["id"], each["take"], tuple(each["captions"]), tuple(each["frames"]) if "frames" in each else None
            )
            for each in raw_entries
        )
        wrong = UserError(f"{folder}: the files do not belong together: build the database again")
        counts = torch.tensor([len(entry.captions) for entry in entries], dtype=torch.long)
        if not torch.equal(torch.repeat_interleave(torch.arange(len(counts)), counts), tensors["row_motion"].long()):
            raise wrong
        try:
            embedded = Embedded(
                entries,
                *(tensors[name].to(device, torch.float32) for name in ("text", "motion", "parts")),
                *(tensors[name].to(device) if name in tensors else None for name in ("tokens", "steps")),
            )
        except ValueError as error:
            raise wrong from error
        database = cls(embedded, {name: manifest[name] for name in FACTS if name in manifest})
        if any(manifest.get(name) != value for name, value in database._counts().items()):
            raise wrong
        if (embedded.tokens is None) == ("tokenizer" in database.facts):
            raise wrong
        if "index" in database.facts:
            database.index = ApproximateRows.load(database.rows("both"), folder / storage.INDEX)
        return database


def pad_tokens(tokens: Sequence[np.ndarray | Tensor]) -> tuple[Tensor, Tensor]:
    """Base tokens of each motion, (N, J) of different N -> padded (M, N, J) int16 and steps (M,) int16."""
    rows = [torch.as_tensor(each).short() for each in tokens]
    return (
        torch.nn.utils.rnn.pad_sequence(rows, batch_first=True),
        torch.tensor([len(row) for row in rows], dtype=torch.int16),
    )
