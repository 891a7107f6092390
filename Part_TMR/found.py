"""What a search found, as people and models want to be told it."""

from __future__ import annotations

from typing import NamedTuple

from models.rag.captions import normal_form, unit
from models.rag.database import RAGDatabase
from models.rag.queries import Queries
from models.rag.search import SearchResult
from Part_TMR.retriever import Retriever


class Found(NamedTuple):
    """A motion of the library that was found for a text.

    Attributes:
        id: the motion's.
        caption: the one that means most nearly what the text means; the very caption, if the motion has it.
        score: what it was ranked by; NaN if it was not searched for.
        text: 0 to 1, how near that caption is to the text in the frozen sentence space; 1 for the very caption.
        motion: -1 to 1, how near the motion is to the text, by the retriever.
        exact: a caption reads like the text, so that the motion comes before all that have none.
    """

    id: str
    caption: str
    score: float
    text: float
    motion: float
    exact: bool


def describe(
    retriever: Retriever, database: RAGDatabase, asked: Queries, found: SearchResult
) -> list[tuple[Found, ...]]:
    """What was found for each query, best first.

    Args:
        retriever: made the database; where that holds no sentence vectors, the captions of what was found are encoded.
        asked: captions, with texts and sentence vectors.
    """
    numbers = found.indices.tolist()
    entries = {number: database.entries[number] for row in numbers for number in row}
    stored = database.embedded.sentences
    if stored is None:
        captions = list(dict.fromkeys(caption for entry in entries.values() for caption in entry.captions))
        encoded = unit(retriever.sentences.encode(captions)).cpu()
        row = {caption: number for number, caption in enumerate(captions)}
        vectors = {number: encoded[[row[caption] for caption in entry.captions]] for number, entry in entries.items()}
    else:
        vectors = {number: unit(stored[database.entries.rows(number)]).cpu() for number in entries}
    described = []
    for place, row in enumerate(numbers):
        wanted = normal_form(asked.texts[place])
        near = database.embedded.motion[row].float() @ asked.learned[place].to(database.device)
        told = []
        for number, score, motion in zip(row, found.scores[place].tolist(), near.tolist(), strict=True):
            meaning = vectors[number] @ asked.sentences[place].cpu()
            captions = entries[number].captions
            same = [row for row, caption in enumerate(captions) if normal_form(caption) == wanted]
            best = same[0] if same else int(meaning.argmax())
            text = 1.0 if same else min(max(float(meaning[best]), 0.0), 1.0)
            told.append(Found(entries[number].id, captions[best], score, text, motion, bool(same)))
        described.append(tuple(told))
    return described
