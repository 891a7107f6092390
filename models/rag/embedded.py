"""Embeddings of motions and captions, as a retriever made them, and the rows that a search compares with.

Legend: M motions, R captions (rows), D embedding, P parts, N token steps, J part rows, q levels of tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from models.rag.codes import Read
from models.rag.entries import Entries, Entry
from models.rag.queries import Score, scored_rows

SearchBy = Literal["motion", "text", "both"]
RowKind = Literal["motion", "text", "both", "score"]


@dataclass(frozen=True)
class Embedded:
    """Embeddings of some motions, as a retriever made them (rows of unit length).

    Attributes:
        entries: M motions; the rows of `text` are their captions, motion after motion.
        text: (R, D).
        motion: (M, D).
        parts: (M, P, D_p).
        tokens: (M, N, J, q) codes of the first levels, padded with zeros, or None.
        steps: (M,) valid token steps, or None.
        sentences: (R, S) bytes, the captions in the frozen sentence space (see `models.rag.captions`), or None.
    """

    entries: Sequence[Entry]
    text: Tensor
    motion: Tensor
    parts: Tensor
    tokens: Tensor | None = None
    steps: Tensor | None = None
    sentences: Tensor | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "entries", Entries.of(self.entries))
        rows = len(self.entries.row_motion)
        if not len(self.entries) == len(self.motion) == len(self.parts) or rows != len(self.text):
            raise ValueError(
                f"{len(self.entries)} motions with {rows} captions need as many rows, not {len(self.motion)} motion,"
                f" {len(self.parts)} part and {len(self.text)} text rows"
            )
        if (self.tokens is None) != (self.steps is None):
            raise ValueError("tokens and steps go together")
        if self.tokens is not None and not len(self.entries) == len(self.tokens) == len(self.steps):
            raise ValueError(f"{len(self.entries)} motions need as many token rows, not {len(self.tokens)}")
        if self.sentences is not None and len(self.sentences) != rows:
            raise ValueError(f"{rows} captions need as many sentence vectors, not {len(self.sentences)}")

    @property
    def levels(self) -> int:
        """q, 0 without tokens."""
        return 0 if self.tokens is None else self.tokens.shape[3]

    def first_levels(self, count: int) -> Embedded:
        """The same with tokens of the first levels alone."""
        return self if self.tokens is None else replace(self, tokens=self.tokens[..., :count])

    def to(self, device: torch.device | str) -> Embedded:
        """The same on another device."""
        tensors = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **tensors)

    @staticmethod
    def join(parts: Sequence[Embedded]) -> Embedded:
        """The motions of all parts, one part after the other; token grids are padded to the longest."""
        tokens = steps = sentences = None
        if all(part.tokens is not None for part in parts):
            longest = max(part.tokens.shape[1] for part in parts)
            tokens = torch.cat([functional.pad(p.tokens, (0, 0, 0, 0, 0, longest - p.tokens.shape[1])) for p in parts])
            steps = torch.cat([part.steps for part in parts])
        if all(part.sentences is not None for part in parts):
            sentences = torch.cat([part.sentences for part in parts])
        return Embedded(
            joined_entries(parts),
            *(torch.cat([getattr(part, name) for part in parts]) for name in ("text", "motion", "parts")),
            tokens,
            steps,
            sentences,
        )


def joined_entries(parts: Iterable[Embedded]) -> Entries:
    """The motions of all parts, one part after the other."""
    return Entries.of(chain.from_iterable(part.entries for part in parts))


def held(embedded: Embedded, device: torch.device | str) -> Embedded:
    """The same motions in single precision on a device."""
    floats = {name: getattr(embedded, name).to(device, torch.float32) for name in ("text", "motion", "parts")}
    return replace(embedded.to(device), **floats)


def row_reader(
    text: Tensor,
    motion: Tensor,
    owners: Tensor,
    kind: RowKind,
    sentences: Tensor | None = None,
    score: Score | None = None,
) -> Read:
    """What reads the rows that stand for motions, see `RAGDatabase.rows`."""

    def mean(rows: slice | Tensor) -> Tensor:
        return (text[rows].float() + motion[owners[rows].long()].float()) / 2

    return {
        "motion": lambda rows: motion[rows].float(),
        "text": lambda rows: text[rows].float(),
        "both": mean,
        "score": lambda rows: scored_rows(mean(rows), sentences[rows], score),
    }[kind]


def searched_rows(scored: bool) -> tuple[RowKind, ...]:
    """The kinds of rows that searches of a library look through."""
    return ("motion", "text", "score" if scored else "both")


def counts_of(entries: Entries, sample: Embedded) -> dict[str, Any]:
    """What the manifest tells of the sizes of a library, of whose motions a sample is given."""
    counts: dict[str, Any] = {
        "motions": len(entries),
        "captions": len(entries.row_motion),
        "dimension": sample.motion.shape[1],
        "parts": list(sample.parts.shape[1:]),
    }
    return counts if sample.tokens is None else counts | {"tokens": list(sample.tokens.shape[1:])}


def pad_tokens(tokens: Sequence[np.ndarray | Tensor]) -> tuple[Tensor, Tensor]:
    """Codes of each motion, (N, J, q) of different N -> padded (M, N, J, q) int16 and steps (M,) int16."""
    rows = [torch.as_tensor(each).short() for each in tokens]
    return (
        torch.nn.utils.rnn.pad_sequence(rows, batch_first=True),
        torch.tensor([len(row) for row in rows], dtype=torch.int16),
    )
