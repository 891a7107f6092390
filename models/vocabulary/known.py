"""What a library knows, and what a prompt asks for beyond that.

A word that no caption holds tells little by itself: people write "the figure", "slightly", "in a square". What tells is
whether it is nearer to words that name a motion than to those that name none and to those that are known (in the
space of the frozen text encoder's own word vectors, which cost nothing), together with how near the whole prompt is to
the nearest caption. A logistic rule of these two numbers, fitted on captions that people wrote (`LISTS["rule"]`, see
tests/long/known_words.py), decides.

Letters: W words, D channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from models.text.encoder import TextEncoder
from models.vocabulary.words import (
    LISTS,
    SINGLE_LETTERS,
    belongs,
    family,
    is_without_motion,
    listed,
    suggestion,
    words_of,
)

STEEPNESS, MOTION_WEIGHT = 8.0, 1.4  # of the sigmoid that weighs an unknown word; chosen by cross validation
MISSPELT = 0.75  # weight of a word that looks like a known one and is in no dictionary
SURE, MOST_WORDS = 0.35, 2.0  # from which weight on a word is named; unknown words beyond this weight tell no more
UNLIKE = 0.5  # similarity below which the library holds nothing like the prompt
MOST_NAMED, LONGEST_NAMED = 5, 60  # words, letters


@dataclass(frozen=True)
class Remark:
    """What a library does not know of a prompt.

    Attributes:
        prompt: as it was given.
        unknown: words that change the motion and that no caption holds, each with the known one that may be meant.
        nearest: the caption that is nearest in meaning.
        similarity: of the two, 1: the same.
    """

    prompt: str
    unknown: tuple[tuple[str, str | None], ...]
    nearest: str
    similarity: float

    def __str__(self) -> str:
        words = [f"{_cut(word)} ({meant}?)" if meant else _cut(word) for word, meant in self.unknown[:MOST_NAMED]]
        unknown = f"I do not know: {', '.join(words)}{', ...' * (len(self.unknown) > MOST_NAMED)}"
        if self.similarity < UNLIKE or not words:
            parts = [f"nothing like {_cut(self.prompt)!r} in the library", unknown][: 1 + bool(words)]
        else:
            parts = [f"{_cut(self.prompt)!r}: {unknown}"]
        return "; ".join([*parts, f"nearest: {_cut(self.nearest)!r} ({self.similarity:.2f})"])

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        words = [{"word": word} | ({"meant": meant} if meant else {}) for word, meant in self.unknown]
        nearest = {"caption": self.nearest, "similarity": round(self.similarity, 4)}
        return {"text": str(self), "unknown": words, "nearest": nearest}


class Vocabulary:
    """The words of a library's captions.

    Args:
        counts: how often each occurs.
        encoder: frozen, with a table of word vectors: MiniLM.
    """

    def __init__(self, counts: Mapping[str, int], encoder: TextEncoder) -> None:
        self.counts, self.encoder = counts, encoder
        self._weights: dict[str, float] = {}

    @cached_property
    def families(self) -> frozenset[str]:
        """The words without their endings, words that mean the same as one."""
        return frozenset(map(family, self.counts))

    def unknown(self, prompt: str) -> dict[str, float]:
        """Words of a prompt that no caption holds, with their weights: 1 for what surely changes the motion."""
        words = list(dict.fromkeys(words_of(prompt)))
        told = self.families.intersection(map(family, words))
        words = [word for word in words if family(word) not in self.families and not belongs(word, told)]
        self._weigh([word for word in words if word not in self._weights and not is_without_motion(word)])
        return {word: self._weights[word] for word in words if word in self._weights}

    def remark(self, prompt: str, nearest: str, similarity: float) -> Remark | None:
        """What to say of a prompt, if there is something.

        Args:
            nearest, similarity: the caption that is nearest, and the cosine of the two in the encoder's space.
        """
        unknown, rule = self.unknown(prompt), LISTS["rule"]
        evidence = (
            rule["always"] + rule["far"] * (1 - similarity) + rule["words"] * min(sum(unknown.values()), MOST_WORDS)
        )
        if evidence < 0 and not self.families.isdisjoint(map(family, words_of(prompt))):
            return None
        named = [word for word, weight in unknown.items() if weight >= SURE]
        return Remark(prompt, tuple(self._joined(named or list(unknown), prompt)), nearest, similarity)

    def _joined(self, words: list[str], prompt: str) -> list[tuple[str, str | None]]:
        """Words to be named; letters of scripts without blanks that stand together become one."""
        runs, row = [], ""
        for letter in prompt.casefold():
            if letter in words and SINGLE_LETTERS.fullmatch(letter):
                row += letter
            elif row:
                runs, row = [*runs, row], ""
        singles = dict.fromkeys([*runs, row] if row else runs)
        return [(each, None) for each in singles] + [
            (word, suggestion(word, self._spellings)) for word in words if not SINGLE_LETTERS.fullmatch(word)
        ]

    def _weigh(self, words: list[str]) -> None:
        if not words:
            return
        vectors = self._vectors([listed(word) for word in words])
        motion, others = ((vectors @ table.T).amax(1) for table in self._tables)
        weights = torch.sigmoid(STEEPNESS * (MOTION_WEIGHT * motion - others - (MOTION_WEIGHT - 1) / 2))
        for word, weight, pieces in zip(words, weights.tolist(), self.encoder.tokenize(words), strict=True):
            # What is one piece between the marks is spelt rightly.
            meant = suggestion(word, self._spellings) if len(pieces) > 3 else None
            if meant is not None:
                weight = 0.0 if is_without_motion(meant) else max(weight, MISSPELT)
            self._weights[word] = weight

    @cached_property
    def _tables(self) -> tuple[Tensor, Tensor]:
        """(W, D) each: words that name a motion, and those that name none or are known."""
        return self._vectors(LISTS["motion"].split()), self._vectors(self._spellings)

    @cached_property
    def _spellings(self) -> list[str]:
        """Words that name no motion, and known ones."""
        return list(dict.fromkeys(chain(self.counts, *map(str.split, LISTS["without_motion"].values()))))

    @cached_property
    def _middle(self) -> Tensor:
        """(D,) which all words have in common."""
        return self._pieces(LISTS["motion"].split()).mean(0)

    def _pieces(self, words: Sequence[str]) -> Tensor:
        """(W, D): the mean of the pieces that the encoder makes of a word, before its first layer."""
        table = self.encoder.module.weights["token weight"]
        pieces = [torch.tensor(row[1:-1] or row) for row in self.encoder.tokenize(words)]
        sizes = torch.tensor([len(row) for row in pieces])
        return torch.segment_reduce(table[torch.cat(pieces)].float().cpu(), "mean", lengths=sizes)

    def _vectors(self, words: Sequence[str]) -> Tensor:
        """(W, D) of unit length."""
        return functional.normalize(self._pieces(words) - self._middle, dim=-1)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_NAMED else text[:LONGEST_NAMED] + "..."
