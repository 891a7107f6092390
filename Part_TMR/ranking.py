"""How well a retriever ranks: recall and median rank, and the protocols of TMR (Petrovich et al., 2023). NumPy only.

Legend: Q queries, N candidates, D embedding. Recalls are percentages, ranks start at 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

RECALLS = (1, 2, 3, 5, 10)
DISSIMILAR_CAPTIONS = 100
SMALL_BATCH = 32
THRESHOLD = 0.95  # on the scale (1 + cosine) / 2
LEAST_GAIN = 1e-9


def best_ranks(similarity: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The rank of each query's best right candidate; candidates that tie share the mean of their ranks.

    Args:
        similarity: (Q, N). right: (Q, N) bool, at least one True a row.
    Returns: (Q,) float.
    """
    best = np.where(right, similarity, -np.inf).max(axis=1, keepdims=True)
    ahead = (similarity > best).sum(axis=1)
    tied = (similarity == best).sum(axis=1)
    return ahead + (tied + 1) / 2


def recall_table(ranks: np.ndarray) -> dict[str, float]:
    """Ranks (Q,) -> {"R1": percentage, ..., "MedR": median rank}."""
    table = {f"R{count}": float(100 * np.mean(ranks <= count)) for count in RECALLS}
    return table | {"MedR": float(np.median(ranks))}


def both_directions(similarity: np.ndarray, right: np.ndarray) -> dict[str, dict[str, float]]:
    """Tables of text -> motion and back, for similarity and right (texts, motions)."""
    return {
        "text_to_motion": recall_table(best_ranks(similarity, right)),
        "motion_to_text": recall_table(best_ranks(similarity.T, right.T)),
    }


def small_batches(similarity: np.ndarray, batch_size: int = SMALL_BATCH, seed: int = 0) -> dict[str, dict[str, float]]:
    """Every pair ranked among `batch_size` random ones; a last incomplete batch is filled up with pairs drawn before.

    Every number is the mean of the batches' numbers, the median rank too, as in TMR.

    Args:
        similarity: (N, N), pairs on the diagonal.
    """
    n_pairs = len(similarity)
    batch_size = min(batch_size, n_pairs)
    order = np.random.default_rng(seed).permutation(n_pairs)
    tables: dict[str, list[dict[str, float]]] = {"text_to_motion": [], "motion_to_text": []}
    shares: list[int] = []
    for start in range(0, n_pairs, batch_size):
        counted = order[start : start + batch_size]
        rows = np.concatenate([counted, order[: batch_size - len(counted)]])
        block = similarity[np.ix_(rows, rows)]
        own = np.eye(len(rows), dtype=bool)
        shares.append(len(counted))
        for direction, values in (("text_to_motion", block), ("motion_to_text", block.T)):
            tables[direction].append(recall_table(best_ranks(values, own)[: len(counted)]))
    return {
        direction: {name: float(np.average([table[name] for table in found], weights=shares)) for name in found[0]}
        for direction, found in tables.items()
    }


def least_similar(similarity: np.ndarray, count: int = DISSIMILAR_CAPTIONS) -> np.ndarray:
    """`count` rows whose similarities to each other have the least sum, nearly.

    That is a quadratic knapsack of `count` items: rows are chosen one by one, then exchanged while that helps.

    Args:
        similarity: (N, N), symmetric.
    Returns: (min(count, N),) row numbers, sorted.
    """
    similarity = similarity * (1.0 - np.eye(len(similarity)))
    chosen = np.zeros(len(similarity), dtype=bool)
    chosen[similarity.sum(axis=1).argmin()] = True
    sums = similarity[chosen].sum(axis=0)  # of each row with the chosen ones
    while chosen.sum() < min(count, len(chosen)):
        new = np.where(chosen, np.inf, sums).argmin()
        chosen[new] = True
        sums += similarity[new]
    while not chosen.all():
        inside, outside = np.flatnonzero(chosen), np.flatnonzero(~chosen)
        gains = sums[inside][:, None] - sums[outside] + similarity[np.ix_(inside, outside)]
        old, new = np.unravel_index(gains.argmax(), gains.shape)
        if gains[old, new] < LEAST_GAIN:
            break
        chosen[[inside[old], outside[new]]] = False, True
        sums += similarity[outside[new]] - similarity[inside[old]]
    return np.flatnonzero(chosen)


def evaluate_protocols(
    text: np.ndarray,
    motion: np.ndarray,
    text_similarity: np.ndarray,
    caption_numbers: np.ndarray,
    dissimilar: np.ndarray | None = None,
) -> dict[str, dict[str, dict[str, float]]]:
    """All protocols over N pairs.

    all: every motion is a candidate, one of them is right. distinct: every motion of the very same caption is right.
    threshold: so is one whose caption is more similar than `THRESHOLD`. small_batches: one is right among 32 random
    candidates. dissimilar: only the 100 pairs whose captions are least like each other.

    Args:
        text, motion: (N, D) unit vectors, pair by pair.
        text_similarity: (N, N) cosine between the captions' sentence embeddings.
        caption_numbers: (N,) equal for captions that read alike.
        dissimilar: the pairs of that protocol; none: `least_similar` chooses them.
    """
    similarity = text @ motion.T
    own = np.eye(len(similarity), dtype=bool)
    alike = caption_numbers[:, None] == caption_numbers
    few = least_similar(text_similarity) if dissimilar is None else dissimilar
    protocols: dict[str, Callable[[], dict[str, dict[str, float]]]] = {
        "all": lambda: both_directions(similarity, own),
        "distinct": lambda: both_directions(similarity, alike),
        "threshold": lambda: both_directions(similarity, (1 + text_similarity) / 2 > THRESHOLD),
        "small_batches": lambda: small_batches(similarity),
        "dissimilar": lambda: both_directions(*(each[np.ix_(few, few)] for each in (similarity, own))),
    }
    return {name: protocol() for name, protocol in protocols.items()}
