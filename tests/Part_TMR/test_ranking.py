"""Ranks, recalls and protocols on cases whose answer is known."""

from itertools import combinations

import numpy as np
import pytest

from Part_TMR.ranking import best_ranks, both_directions, evaluate_protocols, least_similar, recall_table, small_batches


def test_ranks_and_ties() -> None:
    similarity = np.array([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1], [0.5, 0.5, 0.5]])
    right = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 1]], dtype=bool)
    assert best_ranks(similarity, right).tolist() == [1.0, 2.0, 2.0]


def test_recall_table() -> None:
    table = recall_table(np.array([1.0, 2.0, 4.0, 20.0]))
    assert table == {"R1": 25.0, "R2": 50.0, "R3": 50.0, "R5": 75.0, "R10": 75.0, "MedR": 3.0}


def test_directions_differ() -> None:
    similarity = np.array([[0.9, 0.8], [0.7, 0.6]])
    tables = both_directions(similarity, np.eye(2, dtype=bool))
    assert tables["text_to_motion"]["R1"] == 50.0 and tables["motion_to_text"]["R1"] == 50.0


@pytest.mark.parametrize("n_pairs", [5, 32, 50, 64])
def test_small_batches_count_every_pair_once(n_pairs: int) -> None:
    assert small_batches(np.eye(n_pairs))["text_to_motion"]["R1"] == 100.0
    chance = small_batches(np.random.default_rng(0).normal(size=(n_pairs, n_pairs)))["text_to_motion"]
    assert chance["R1"] <= chance["R5"] <= chance["R10"]


def test_least_similar_takes_one_of_each_kind() -> None:
    kinds = np.repeat(np.arange(4), 5)
    similarity = (kinds[:, None] == kinds).astype(float)
    chosen = least_similar(similarity, 4)
    assert sorted(kinds[chosen]) == [0, 1, 2, 3] and len(least_similar(similarity, 99)) == 20


def test_least_similar_has_almost_the_least_sum() -> None:
    """Rows that are merely far from the nearest of the others are on average 0.8 above the least sum."""
    gaps = []
    for seed in range(20):
        vectors = np.random.default_rng(seed).normal(size=(14, 3))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        similarity = vectors @ vectors.T
        sums = [similarity[np.ix_(rows, rows)].sum() for rows in combinations(range(14), 5)]
        rows = least_similar(similarity, 5)
        gaps.append(similarity[np.ix_(rows, rows)].sum() - min(sums))
    assert np.mean(gaps) < 0.15 and max(gaps) < 0.5


def test_threshold_is_that_of_tmr() -> None:
    """Right is what is similar by the sentence model alone, and more than 0.95 on a scale from 0 to 1."""
    motion = np.eye(4)
    same = np.eye(4)
    same[2, 3] = same[3, 2] = 2 * 0.95 - 1
    results = evaluate_protocols(motion[[1, 0, 3, 2]], motion, same, np.array([0, 0, 1, 2]))
    assert results["distinct"]["text_to_motion"]["R1"] == 50.0
    assert results["threshold"]["text_to_motion"]["R1"] == 0.0
    same[2, 3] = same[3, 2] = 0.91
    results = evaluate_protocols(motion[[1, 0, 3, 2]], motion, same, np.array([0, 0, 1, 2]))
    assert results["threshold"]["text_to_motion"]["R1"] == 50.0


def test_given_dissimilar_pairs_are_used() -> None:
    motion = np.eye(4)
    results = evaluate_protocols(motion[[1, 0, 3, 2]], motion, np.eye(4), np.arange(4), np.array([0, 2]))
    assert results["dissimilar"]["text_to_motion"]["R1"] == 0.0
    assert results["dissimilar"]["text_to_motion"]["R2"] == 100.0


def test_small_batches_average_the_batches() -> None:
    """Of three batches one is the wrong way round: the median rank is the mean of 1, 1 and 2."""
    similarity = np.eye(6)
    wrong = np.random.default_rng(0).permutation(6)[4:]
    similarity[wrong, wrong] = -1.0
    table = small_batches(similarity, batch_size=2)["text_to_motion"]
    assert table["MedR"] == pytest.approx(4 / 3) and table["R1"] == pytest.approx(200 / 3)


def test_threshold_counts_like_captions_as_right() -> None:
    motion = np.eye(4)
    text = motion[[1, 0, 2, 3]]  # the first two captions find each other's motion
    same = np.eye(4)
    same[0, 1] = same[1, 0] = 0.97
    results = evaluate_protocols(text, motion, same, np.arange(4))
    assert results["all"]["text_to_motion"]["R1"] == results["distinct"]["text_to_motion"]["R1"] == 50.0
    assert results["threshold"]["text_to_motion"]["R1"] == 100.0
    assert set(results) == {"all", "distinct", "threshold", "small_batches", "dissimilar"}


def test_motions_of_the_same_caption_are_all_right() -> None:
    motion = np.eye(4)
    results = evaluate_protocols(motion[[1, 0, 3, 2]], motion, np.eye(4), np.array([0, 0, 1, 2]))
    for direction in ("text_to_motion", "motion_to_text"):
        assert results["distinct"][direction]["R1"] == 50.0 and results["all"][direction]["R1"] == 0.0


def test_equal_embeddings_share_their_ranks() -> None:
    same = np.ones((5, 3))
    results = evaluate_protocols(same, same, np.eye(5), np.arange(5))
    assert results["all"]["text_to_motion"] == {"R1": 0.0, "R2": 0.0, "R3": 100.0, "R5": 100.0, "R10": 100.0, "MedR": 3}
