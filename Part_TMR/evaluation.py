"""A retriever on a split: recalls by protocol, and the table that is printed. Legend: N pairs, D embedding."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from models.rag.captions import normal_form
from models.rag.database import RAGDatabase
from models.rag.queries import Score
from models.rag.scoring import Weighed
from Part_TMR.ranking import RECALLS, best_ranks, evaluate_protocols, recall_table
from Part_TMR.retriever import Retriever

TOP = 5
SHOWN_QUERIES, SHOWN_NEIGHBOURS = 4, 3
NOTES = (
    "all, threshold, dissimilar and small_batches as TMR defines them, distinct is ours. What differs: MiniLM says how"
    " similar captions are, TMR asks MPNet; the pairs of a last incomplete batch count too"
)
CHOSEN_HERE = "; dissimilar pairs are chosen from this split, TMR's own are those of its nsim_test.txt"
DIRECTIONS = {"text_to_motion": "text -> motion", "motion_to_text": "motion -> text"}


def evaluate(
    retriever: Retriever,
    motions: Sequence[np.ndarray],
    captions: Sequence[str],
    caption_vectors: np.ndarray,
    signatures: Sequence[Hashable] | None = None,
    dissimilar: np.ndarray | None = None,
) -> dict[str, Any]:
    """All protocols over pairs of a motion and one of its captions.

    Args:
        motions: N raw features (T, D_features). captions: their captions.
        caption_vectors: (N, D) sentence embeddings, unit length, that say which captions mean about the same.
        signatures: what is equal for motions that show the same; adds `same_attributes_top5`, in percent.
        dissimilar: the pairs of the protocol of that name, if they are given.
    """
    text = retriever.encode_text(captions).cpu().numpy()
    motion = retriever.encode_motion(motions).motion.cpu().numpy()
    results: dict[str, Any] = {"pairs": len(captions)}
    numbers = caption_numbers(captions)
    results |= evaluate_protocols(text, motion, caption_vectors @ caption_vectors.T, numbers, dissimilar)
    results["notes"] = NOTES + ("" if dissimilar is not None else CHOSEN_HERE)
    if signatures is not None:
        results["same_attributes_top5"] = share_with_same(text @ motion.T, signatures)
    results["neighbours"] = neighbours(text @ motion.T, captions)
    return results


def caption_numbers(captions: Sequence[str]) -> np.ndarray:
    """(N,) the same number for captions that differ in case and full stops only."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(text.lower().strip(" ."), len(numbers)) for text in captions])


def neighbours(similarity: np.ndarray, captions: Sequence[str]) -> list[dict[str, Any]]:
    """For a few captions, spread over the split, the captions of the motions that are found for them, best first.

    Args:
        similarity: (N, N) of captions and motions.
    """
    queries = np.linspace(0, len(captions) - 1, min(SHOWN_QUERIES, len(captions))).astype(int)
    best = np.argsort(-similarity[queries], axis=1, kind="stable")[:, :SHOWN_NEIGHBOURS]
    return [
        {"caption": captions[query], "found": [captions[place] for place in row]}
        for query, row in zip(queries, best, strict=True)
    ]


def share_with_same(similarity: np.ndarray, signatures: Sequence[Hashable]) -> float:
    """Percentage of captions with a motion of the same signature among their `TOP` best, for similarity (N, N)."""
    best = np.argsort(-similarity, axis=1, kind="stable")[:, :TOP]
    found = [any(signatures[place] == own for place in row) for own, row in zip(signatures, best, strict=True)]
    return float(100 * np.mean(found))


def by_other_captions(clips: RAGDatabase, score: Score) -> dict[str, float]:
    """Recalls and median rank of each motion when one of its captions asks and only what others say is known of it.

    Args:
        clips: motions of several captions, with sentence vectors. Captions that read like the query's are nobody's.
    """
    clips, asked = clips.with_score(score), clips.own_queries()
    rows = clips.rows("score").read(slice(None))
    similarity = (asked.vectors(score) @ rows.T).cpu().numpy()
    _, reads = np.unique([normal_form(text) for text in asked.texts], return_inverse=True)
    similarity[reads[:, None] == reads] = -np.inf
    owners = clips.entries.row_motion
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    best, own = np.maximum.reduceat(similarity, starts, axis=1), owners[:, None] == np.arange(len(clips))
    told = np.isfinite(best[own])
    return recall_table(best_ranks(best[told], own[told]))


def format_score(clips: RAGDatabase, library: RAGDatabase, found: Weighed, split: str) -> str:
    """What validation says of the shares of the captions in a score, as a table."""
    lines = [
        f"score = (1 - c) * what the retriever says + c * similarity of the sentences; {split} captions ask the",
        f"library (is what they find like their motions?) and the {len(clips)} clips by their other captions (recalls)",
        f"{'c':>5}{'likeness':>10}{'less':>8}{'error':>8}{'R1':>8}{'R3':>8}{'MedR':>6}",
    ]
    for row in found.table():
        recalls = by_other_captions(clips, Score(row["captions"], found.score.usual))
        lines.append(
            f"{row['captions']:>5.1f}{row['likeness']:>10.4f}{row['less']:>8.4f}{row['error']:>8.4f}"
            f"{recalls['R1']:>8.2f}{recalls['R3']:>8.2f}{recalls['MedR']:>6.1f}"
        )
    used = "the former: no sentence vectors" if library.score is None else f"{library.score.captions:g}"
    lines.append(f"by these captions: {found.score.captions:g}; the library's: {used}")
    return "\n".join(lines)


def format_table(results: dict[str, Any]) -> str:
    """The results as a table for the terminal."""
    columns = [*(f"R{count}" for count in RECALLS), "MedR"]
    lines = [f"{'protocol':<14}{'direction':<16}" + "".join(f"{column:>8}" for column in columns)]
    for protocol, directions in results.items():
        if isinstance(directions, dict):
            for direction, shown in DIRECTIONS.items():
                values = "".join(f"{directions[direction][column]:>8.2f}" for column in columns)
                lines.append(f"{protocol:<14}{shown:<16}{values}")
    lines.append(f"({results['notes']})")
    return "\n".join(lines)


def format_neighbours(results: dict[str, Any]) -> str:
    """The nearest neighbours in words."""
    lines = []
    for each in results["neighbours"]:
        lines += [f"'{each['caption']}' finds", *(f"    {rank}  {text}" for rank, text in enumerate(each["found"], 1))]
    return "\n".join(lines)
