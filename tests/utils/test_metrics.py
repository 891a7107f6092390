"""Metrics against independent references, and where naive formulas break."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from scipy.linalg import sqrtm

from utils import metrics
from utils.errors import UserError

GENERATOR = np.random.default_rng(0)
CLOSE = {"rtol": 1e-6, "atol": 0.0}


def mixed(n_samples: int, n_dimensions: int, seed: int) -> np.ndarray:
    """Correlated samples with a mean."""
    generator = np.random.default_rng(seed)
    mixing = generator.normal(size=(n_dimensions, n_dimensions))
    return generator.normal(size=(n_samples, n_dimensions)) @ mixing + generator.normal(size=n_dimensions)


def reference_frechet(real: np.ndarray, generated: np.ndarray) -> float:
    offset = real.mean(0) - generated.mean(0)
    first, second = np.cov(real.T), np.cov(generated.T)
    return float(offset @ offset + np.trace(first) + np.trace(second) - 2 * np.trace(sqrtm(first @ second)).real)


def reference_precision(text: np.ndarray, motion: np.ndarray, top_k: int, batch_size: int) -> list[float]:
    """Whole batches only, one pair at a time."""
    hits = [0] * top_k
    for start in range(0, len(text), batch_size):
        for own in range(batch_size):
            distances = [
                np.sqrt(((text[start + own] - other) ** 2).sum()) for other in motion[start : start + batch_size]
            ]
            rank = sorted(range(batch_size), key=distances.__getitem__).index(own)
            for k in range(top_k):
                hits[k] += rank <= k
    return [count / len(text) for count in hits]


@pytest.mark.parametrize(("n_real", "n_generated", "n_dimensions"), [(200, 150, 12), (400, 300, 64), (50, 60, 2)])
def test_frechet_distance(n_real: int, n_generated: int, n_dimensions: int) -> None:
    real, generated = mixed(n_real, n_dimensions, 1), mixed(n_generated, n_dimensions, 2)
    np.testing.assert_allclose(metrics.frechet_distance(real, generated), reference_frechet(real, generated), **CLOSE)
    np.testing.assert_allclose(
        metrics.frechet_distance(generated, real), metrics.frechet_distance(real, generated), **CLOSE
    )


def test_frechet_distance_in_one_dimension() -> None:
    real, generated = mixed(40, 1, 1), mixed(50, 1, 2)
    expected = (real.mean() - generated.mean()) ** 2 + (real.std(ddof=1) - generated.std(ddof=1)) ** 2
    np.testing.assert_allclose(metrics.frechet_distance(real, generated), expected, **CLOSE)


def test_frechet_distance_of_degenerate_sets() -> None:
    """Few samples, equal vectors, half precision: never NaN, never complex, zero for equal sets."""
    few = mixed(20, 64, 3)
    with pytest.warns(RuntimeWarning, match="20 (real|generated) samples for 64 dimensions") as warned:
        assert metrics.frechet_distance(few, few) == pytest.approx(0, abs=1e-9 * np.trace(np.cov(few.T)))
    assert len(warned) == 2
    constant = np.full((100, 8), 3.0)
    assert metrics.frechet_distance(constant, constant) == 0
    assert metrics.frechet_distance(constant, constant + 1) == pytest.approx(8)
    flat = mixed(300, 8, 4)
    flat[:, 5:] = 0  # a singular covariance
    np.testing.assert_allclose(
        metrics.frechet_distance(flat, flat * 2),
        (flat.mean(0) ** 2).sum() + np.trace(np.cov(flat.T)),  # (2 - 1)^2 of mean and of spread
        **CLOSE,
    )


def test_enough_samples_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.frechet_distance(mixed(20, 4, 1), mixed(21, 4, 2))
        metrics.r_precision(mixed(32, 4, 1), mixed(32, 4, 2))


@pytest.mark.parametrize("batch_size", [32, 8])
def test_r_precision_of_whole_batches(batch_size: int) -> None:
    text, noise = mixed(96, 6, 1), np.random.default_rng(5).normal(size=(96, 6))
    motion = text + 2 * noise
    found = metrics.r_precision(text, motion, top_k=3, batch_size=batch_size)
    np.testing.assert_allclose(found, reference_precision(text, motion, 3, batch_size), **CLOSE)
    assert 0.1 < found[0] < found[1] < found[2] < 1


def test_r_precision_counts_the_last_incomplete_batch() -> None:
    """40 pairs: the last 8 are ranked among the last 32."""
    text = mixed(40, 6, 1)
    motion = text + 2 * np.random.default_rng(5).normal(size=(40, 6))
    first = np.array(reference_precision(text[:32], motion[:32], 3, 32)) * 32
    ranks = [
        (np.linalg.norm(text[row] - motion[8:], axis=1) < np.linalg.norm(text[row] - motion[row])).sum()
        for row in range(32, 40)
    ]
    expected = (first + [sum(rank <= k for rank in ranks) for k in range(3)]) / 40
    np.testing.assert_allclose(metrics.r_precision(text, motion), expected, **CLOSE)


def test_r_precision_of_few_pairs_and_of_equal_embeddings() -> None:
    perfect = np.eye(5)
    with pytest.warns(RuntimeWarning, match="5 candidates instead of 32"):
        np.testing.assert_array_equal(metrics.r_precision(perfect, perfect), [1, 1, 1])
    equal = np.ones((64, 7))
    np.testing.assert_allclose(metrics.r_precision(equal, equal), np.arange(1, 4) / 32, **CLOSE)
    # A caption's own motion and one twin of it: the first place is shared.
    twins = np.repeat(np.eye(16), 2, axis=0)
    np.testing.assert_allclose(metrics.r_precision(twins, twins, top_k=2), [0.5, 1.0], **CLOSE)


def test_matching_score() -> None:
    text, motion = mixed(30, 5, 1), mixed(30, 5, 2)
    expected = sum(float(np.sqrt(((a - b) ** 2).sum())) for a, b in zip(text, motion, strict=True)) / 30
    np.testing.assert_allclose(metrics.matching_score(text, motion), expected, **CLOSE)
    assert metrics.matching_score(text, text) == 0


def test_diversity_and_multimodality_follow_their_draws() -> None:
    motion, motions = mixed(50, 5, 1), GENERATOR.normal(size=(7, 12, 5))
    rng = np.random.default_rng(9)
    first, second = rng.choice(50, 20, replace=False), rng.choice(50, 20, replace=False)
    expected = np.mean([np.sqrt(((motion[a] - motion[b]) ** 2).sum()) for a, b in zip(first, second, strict=True)])
    np.testing.assert_allclose(metrics.diversity(motion, 20, np.random.default_rng(9)), expected, **CLOSE)

    rng = np.random.default_rng(9)
    order, shift = rng.permutation(12), rng.integers(1, 12)
    first, second = order[:10], np.roll(order, shift)[:10]
    expected = np.mean(
        [
            np.sqrt(((caption[a] - caption[b]) ** 2).sum())
            for caption in motions
            for a, b in zip(first, second, strict=True)
        ]
    )
    np.testing.assert_allclose(metrics.multimodality(motions, 10, np.random.default_rng(9)), expected, **CLOSE)
    assert metrics.diversity(np.ones((50, 5)), 20, rng) == metrics.multimodality(np.ones((2, 12, 5)), 10, rng) == 0


@pytest.mark.parametrize(("repeats", "n_pairs"), [(30, 10), (10, 10), (2, 1)])
def test_multimodality_pairs_no_motion_with_itself(repeats: int, n_pairs: int) -> None:
    """Corners of a simplex: all pairs are sqrt(2) apart, and a motion is 0 from itself."""
    corners = np.eye(repeats)[None]
    rng = np.random.default_rng(0)
    for _ in range(50):
        assert metrics.multimodality(corners, n_pairs, rng) == pytest.approx(np.sqrt(2))
    assert metrics.multimodality(corners, n_pairs, np.random.default_rng(1)) > 0
    with pytest.raises(UserError, match="at least two repeats"):
        metrics.multimodality(corners[:, :1], 1, rng)


def test_joint_errors() -> None:
    reference, other = GENERATOR.normal(size=(9, 22, 3)), GENERATOR.normal(size=(9, 22, 3))
    distances = [
        [np.sqrt(sum((reference[t, j, a] - other[t, j, a]) ** 2 for a in range(3))) for j in range(22)]
        for t in range(9)
    ]
    np.testing.assert_allclose(metrics.joint_error(reference, other), np.mean(distances), **CLOSE)
    moved = reference + np.array([1.0, 2.0, 2.0])
    assert metrics.joint_error(reference, moved) == pytest.approx(3)
    assert metrics.root_aligned_joint_error(reference, moved) == pytest.approx(0, abs=1e-12)
    batch = np.stack([reference, other]), np.stack([other, reference])
    assert metrics.joint_error(*batch) == pytest.approx(metrics.joint_error(reference, other))


def test_foot_skate_is_the_way_of_feet_in_contact() -> None:
    feet = np.zeros((5, 2, 3))
    feet[:, 0, 0], feet[:, 0, 2] = 0.03 * np.arange(5), 0.04 * np.arange(5)
    feet[:, :, 1] = np.arange(5)[:, None]  # upwards is no sliding
    contacts = np.array([[True, True], [True, True], [False, True], [False, False], [True, True]])
    assert metrics.foot_skate(feet, contacts, 20) == pytest.approx((0.05 + 0.05 + 0 + 0 + 0) / 5)
    assert metrics.foot_skate(feet[:, :1], contacts[:, :1], 60) == pytest.approx(0.15)
    assert np.isnan(metrics.foot_skate(feet, np.zeros((5, 2), dtype=bool), 20))
    with pytest.raises(UserError, match="do not fit|must be"):
        metrics.foot_skate(feet, contacts[:3], 20)


def test_seam_ratio_sees_a_jump_near_its_cut_alone() -> None:
    joints = np.zeros((60, 2, 3))
    joints[:, :, 1] = 0.01 * np.arange(60)[:, None] ** 2 / 2  # a hundredth everywhere
    assert metrics.seam_ratio(joints, 30, joints) == pytest.approx(1)
    jump = joints.copy()
    jump[30:, 0, 0] += 0.05
    away = [metrics.seam_ratio(jump, cut, joints) for cut in (27, 28, 30, 32, 33)]
    assert away == pytest.approx([1, *[np.hypot(5, 1)] * 3, 1])
    assert metrics.seam_ratio(jump, 1, joints) == pytest.approx(1) == metrics.seam_ratio(jump, 59, joints)
    with pytest.raises(UserError, match="both sides"):
        metrics.seam_ratio(joints, 60, joints)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.frechet_distance(np.zeros((4, 3)), np.zeros((4, 2))), "3 dimensions and generated 2"),
        (lambda: metrics.frechet_distance(np.zeros((1, 3)), np.zeros((4, 3))), "at least two samples, real has 1"),
        (
            lambda: metrics.frechet_distance(np.zeros(3), np.zeros((4, 3))),
            "real must be a filled array of 2 dimensions",
        ),
        (lambda: metrics.matching_score(np.zeros((4, 3)), np.zeros((5, 3))), "pairs of one shape"),
        (
            lambda: metrics.r_precision(np.full((40, 3), np.nan), np.zeros((40, 3))),
            "text has values that are not finite",
        ),
        (lambda: metrics.r_precision(np.zeros((40, 3)), np.zeros((40, 3)), top_k=0), "at least 1"),
        (lambda: metrics.diversity(np.zeros((4, 3)), 5, GENERATOR), "between 1 and the number of motions, 4, not 5"),
        (lambda: metrics.multimodality(np.zeros((4, 3, 2)), 5, GENERATOR), "number of repeats, 3, not 5"),
        (lambda: metrics.joint_error(np.zeros((4, 3)), np.zeros((4, 3))), "one shape"),
    ],
)
def test_mistakes_are_named(call: Callable[[], float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()
