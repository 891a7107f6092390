"""What the models do not know of a prompt: their library's words, and its captions that are nearest in meaning."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import chain

import torch
from torch import Tensor

from models.rag.captions import unit
from models.rag.database import RAGDatabase
from models.rag.queries import Queries
from models.text.encoder import TextEncoder
from models.text_encoder import build_text_encoder
from models.vocabulary.known import Remark, Vocabulary
from models.vocabulary.words import count_words
from Part_TMR.retriever import Retriever
from utils.errors import UserError

MOTIONS, CAPTIONS = 8, 6  # that the retriever finds nearest, and of their captions those that are looked at closely
MOST_COUNTED = 1 << 16  # captions, evenly spread; what is rarer than one in so many was hardly learned


class Remarks:
    """Says of prompts what lies outside of a library. It only informs: nothing is refused.

    Args:
        database: the library.
        retriever: that embedded it.
        text_encoder: taken if it is MiniLM, in whose space texts are compared; else that is loaded when it is needed.
    """

    def __init__(self, database: RAGDatabase, retriever: Retriever, text_encoder: TextEncoder) -> None:
        self.database, self.retriever, self._given = database, retriever, text_encoder

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The words of the library's captions, or of as many of a very large one's as are counted at once, and of those
        that a thinned one was drawn from."""
        encoder = build_text_encoder("minilm", self._given.device, shared=self._given)
        captions = self.database.entries.captions
        counted = range(0, len(captions), -(-len(captions) // MOST_COUNTED))
        words = count_words(captions[number] for number in counted)
        for word, count in self.database.facts.get("words", {}).items():
            words[word] = max(count, words.get(word, 0))
        return Vocabulary(words, encoder)

    def of(self, prompts: Sequence[str]) -> list[Remark | None]:
        """A remark a prompt; None where all of it is known, or MiniLM, which compares texts, is missing."""
        try:
            _ = self.vocabulary
        except UserError:
            return [None] * len(prompts)
        return [
            self.vocabulary.remark(prompt, *near) for prompt, near in zip(prompts, self.nearest(prompts), strict=True)
        ]

    def nearest(self, prompts: Sequence[str]) -> list[tuple[str, float]]:
        """The nearest caption of each prompt and their similarity, 1: the same.

        What the library holds of all captions, sentence vectors or else the retriever's, finds candidates; texts that
        are compared anew decide among them.
        """
        vectors = self.database.embedded.sentences
        asked = self.retriever.queries(prompts) if vectors is not None else Queries(self.retriever.encode_text(prompts))
        found = self.database.search(asked, MOTIONS, by="both" if vectors is not None else "text").indices.tolist()
        queries = asked.learned if vectors is None else asked.sentences
        candidates = [self._captions_near(query, motions) for query, motions in zip(queries, found, strict=True)]
        # Encoded anew for every batch: a vector depends, to rounding, on its company, and a remark must not.
        texts = list(dict.fromkeys([*prompts, *chain.from_iterable(candidates)]))
        vectors = dict(zip(texts, self.vocabulary.encoder.encode(texts).cpu(), strict=True))
        best = []
        for prompt, texts in zip(prompts, candidates, strict=True):
            similarity, place = (torch.stack([vectors[text] for text in texts]) @ vectors[prompt]).max(0)
            best.append((texts[int(place)], float(similarity)))
        return best

    def _captions_near(self, query: Tensor, motions: list[int]) -> list[str]:
        """The captions (of some motions) whose vectors are nearest to a query (D,)."""
        entries, library = self.database.entries, self.database.embedded
        rows = list(chain.from_iterable(map(entries.rows, motions)))
        vectors = library.text[rows].float() if library.sentences is None else unit(library.sentences[rows])
        scores = vectors @ query.to(vectors.device)
        return [entries.captions[rows[place]] for place in scores.topk(min(CAPTIONS, len(rows))).indices.tolist()]
