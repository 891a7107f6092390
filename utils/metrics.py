"""Measures of motions and of embeddings as the field computes them: NumPy in, NumPy out, all in double precision.

Letters: N and M samples, D dimensions, R repeats of one caption, T frames, J joints. Distances are Euclidean.
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy.linalg import eigh, svdvals
from scipy.spatial.distance import cdist

from utils.errors import UserError

SKATE_RATE = 20.0  # foot skate is told for so many frames a second


def frechet_distance(real: np.ndarray, generated: np.ndarray) -> float:
    """FID: squared Fréchet distance of the normal distributions fitted to two sets of embeddings.

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)). The last trace is the sum of the singular values of S1^(1/2) S2^(1/2)
    with symmetric roots, which is real and not negative for every pair of covariances, singular ones included.

    Args:
        real: (N, D). generated: (M, D).

    Raises:
        UserError: wrong shapes, fewer than two samples, values that are not finite.

    Warns:
        RuntimeWarning: a set has no more samples than dimensions: its covariance is singular, and the distance of two
            such sets is far from zero even when both come from the same distribution.
    """
    real, generated = _embeddings(real, "real"), _embeddings(generated, "generated")
    if real.shape[1] != generated.shape[1]:
        raise UserError(f"real has {real.shape[1]} dimensions and generated {generated.shape[1]}: they must agree")
    roots, traces = [], []
    for name, rows in (("real", real), ("generated", generated)):
        if len(rows) < 2:
            raise UserError(f"a Fréchet distance needs at least two samples, {name} has {len(rows)}")
        if len(rows) <= rows.shape[1]:
            warnings.warn(
                f"{len(rows)} {name} samples for {rows.shape[1]} dimensions: the Fréchet distance is not reliable",
                RuntimeWarning,
                stacklevel=2,
            )
        covariance = np.atleast_2d(np.cov(rows, rowvar=False))
        traces.append(np.trace(covariance))
        roots.append(_square_root(covariance))
    offset = real.mean(axis=0) - generated.mean(axis=0)
    return max(0.0, float(offset @ offset + sum(traces) - 2 * svdvals(roots[0] @ roots[1]).sum()))


def r_precision(text: np.ndarray, motion: np.ndarray, top_k: int = 3, batch_size: int = 32) -> np.ndarray:
    """Share of captions whose own motion is among the 1, 2, .., top_k nearest of `batch_size` candidates.

    The candidates of a pair are the motions of its batch, in the given order (shuffle the pairs first). Every pair
    counts exactly once: the pairs of a last incomplete batch are ranked among the last `batch_size` motions, so that
    they too have `batch_size` candidates. Fewer pairs than `batch_size` are ranked among each other (with a warning:
    chance is higher then). Candidates at the very same distance share their ranks evenly: equal embeddings score as
    chance.

    Args:
        text: (N, D). motion: (N, D), pair by pair.

    Returns:
        (top_k,) between 0 and 1.

    Raises:
        UserError: wrong shapes, values that are not finite, top_k or batch_size below 1.
    """
    text, motion = _pairs(text, motion)
    if top_k < 1 or batch_size < 1:
        raise UserError(f"top_k and batch_size must be at least 1, not {top_k} and {batch_size}")
    n_pairs = len(text)
    if n_pairs < batch_size:
        warnings.warn(f"R-precision among {n_pairs} candidates instead of {batch_size}", RuntimeWarning, stacklevel=2)
    hits = np.zeros(top_k)
    for start in range(0, n_pairs, batch_size):
        stop = min(start + batch_size, n_pairs)
        first = max(0, stop - batch_size)
        distances = cdist(text[start:stop], motion[first:stop])
        own = distances[np.arange(stop - start), np.arange(start, stop) - first][:, None]
        nearer = (distances < own).sum(axis=1)[:, None]
        tied = (distances == own).sum(axis=1)[:, None]
        hits += np.clip((np.arange(1, top_k + 1) - nearer) / tied, 0, 1).sum(axis=0)
    return hits / n_pairs


def matching_score(text: np.ndarray, motion: np.ndarray) -> float:
    """MM-distance: mean distance of each caption to its motion.

    Args:
        text: (N, D). motion: (N, D), pair by pair.

    Raises:
        UserError: wrong shapes or values that are not finite.
    """
    text, motion = _pairs(text, motion)
    return float(np.linalg.norm(text - motion, axis=1).mean())


def diversity(motion: np.ndarray, n_pairs: int, rng: np.random.Generator) -> float:
    """Mean distance of `n_pairs` random pairs: two independent draws without replacement, as published code does.

    Args:
        motion: (N, D).
        n_pairs: at most N.
        rng: of the draws.

    Raises:
        UserError: wrong shape, values that are not finite, more pairs than motions.
    """
    motion = _embeddings(motion, "motion")
    _check_pairs(len(motion), n_pairs, "motions")
    first, second = (rng.choice(len(motion), n_pairs, replace=False) for _ in range(2))
    return float(np.linalg.norm(motion[first] - motion[second], axis=1).mean())


def multimodality(motions: np.ndarray, n_pairs: int, rng: np.random.Generator) -> float:
    """Mean distance of motions of one caption: `n_pairs` random pairs of its repeats, the same for all captions.

    No repeat is in two pairs on the same side, and none is paired with itself. Published code draws both sides
    independently, so that one pair in R is a motion with itself: with its 30 repeats it reads 3 % lower.

    Args:
        motions: (N, R, D), R >= 2 repeats of N captions.
        n_pairs: at most R.
        rng: of the draws.

    Raises:
        UserError: wrong shape, values that are not finite, one repeat, more pairs than repeats.
    """
    motions = _embeddings(motions, "motions", ndim=3)
    repeats = motions.shape[1]
    if repeats < 2:
        raise UserError("multimodality needs at least two repeats of a caption")
    _check_pairs(repeats, n_pairs, "repeats")
    order = rng.permutation(repeats)
    first, second = order[:n_pairs], np.roll(order, rng.integers(1, repeats))[:n_pairs]
    return float(np.linalg.norm(motions[:, first] - motions[:, second], axis=2).mean())


def joint_error(reference: np.ndarray, other: np.ndarray) -> float:
    """MPJPE of the motion as it stands: mean distance of corresponding joints (..., T, J, 3), in the joints' unit.

    Drift of the root path counts.

    Raises:
        UserError: the shapes differ or are no joints (as for the other joint errors).
    """
    reference, other = _joints(reference, other)
    return float(np.linalg.norm(reference - other, axis=-1).mean())


def root_aligned_joint_error(reference: np.ndarray, other: np.ndarray) -> float:
    """MPJPE as the field computes it: mean distance of joints (..., T, J, 3) relative to the root, in their unit."""
    reference, other = _joints(reference, other)
    return joint_error(reference - reference[..., :1, :], other - other[..., :1, :])


def foot_skate(feet: np.ndarray, contacts: np.ndarray, fps: float) -> float:
    """Mean horizontal way of foot joints while they are in contact, metres in a twentieth of a second (a frame of
    HumanML3D, whatever the motion's own rate): 0 for feet that stand.

    Args:
        feet: (T, F, 3) positions, metres, y up.
        contacts: (T, F) True where the joint is in contact from a frame to the next.
        fps: frames a second.

    Returns:
        NaN where nothing is in contact.

    Raises:
        UserError: shapes that do not fit.
    """
    feet, contacts = np.asarray(feet, dtype=np.float64), np.asarray(contacts, dtype=bool)
    if feet.ndim != 3 or feet.shape[2] != 3 or feet.shape[:2] != contacts.shape:
        raise UserError(f"feet must be (T, F, 3) and contacts (T, F), not {feet.shape} and {contacts.shape}")
    ways = np.linalg.norm(np.diff(feet[..., [0, 2]], axis=0), axis=-1)[contacts[:-1]]
    return float(ways.mean()) * fps / SKATE_RATE if len(ways) else float("nan")


def seam_ratio(joints: np.ndarray, cut: int, of: np.ndarray) -> float:
    """Largest acceleration of a joint within two frames of a cut, as a multiple of what a motion has at most: the 99th
    percentile over its joints and frames.

    Args:
        joints: (T, J, 3).
        cut: the first frame after it.
        of: (T', J, 3) the motion that it is compared with, at the same rate.

    Raises:
        UserError: wrong shapes, or a cut at an end of the motion.
    """
    joints, of = (np.asarray(each, dtype=np.float64) for each in (joints, of))
    if joints.ndim != 3 or of.ndim != 3 or min(len(joints), len(of)) < 3 or not 0 < cut < len(joints):
        raise UserError(f"joints must be (at least 3 frames, J, 3) on both sides of a cut, not {joints.shape} at {cut}")
    moved, usual = (np.linalg.norm(np.diff(each, n=2, axis=0), axis=-1) for each in (joints, of))
    # Row i is the acceleration at frame i + 1.
    return float(moved[max(cut - 3, 0) : cut + 1].max() / max(np.percentile(usual, 99), 1e-9))


def _square_root(covariance: np.ndarray) -> np.ndarray:
    """The symmetric square root of a symmetric positive semidefinite matrix (D, D).

    Eigenvalues that are zero but for rounding are made zero: their roots would be noise of half the digits.
    """
    values, vectors = eigh(covariance)
    floor = max(float(values[-1]), 0.0) * len(values) * np.finfo(np.float64).eps
    return (vectors * np.sqrt(np.where(values > floor, values, 0.0))) @ vectors.T


def _check_pairs(count: int, n_pairs: int, what: str) -> None:
    if not 1 <= n_pairs <= count:
        raise UserError(f"n_pairs must be between 1 and the number of {what}, {count}, not {n_pairs}")


def _embeddings(values: np.ndarray, name: str, ndim: int = 2) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != ndim or not values.size:
        raise UserError(f"{name} must be a filled array of {ndim} dimensions, not of shape {values.shape}")
    if not (finite := np.isfinite(values)).all():
        raise UserError(f"{name} has values that are not finite, first in row {int(np.argwhere(~finite)[0, 0])}")
    return values


def _pairs(text: np.ndarray, motion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    text, motion = _embeddings(text, "text"), _embeddings(motion, "motion")
    if text.shape != motion.shape:
        raise UserError(f"text {text.shape} and motion {motion.shape} must be pairs of one shape")
    return text, motion


def _joints(reference: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    reference, other = np.asarray(reference, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if reference.shape != other.shape or reference.ndim < 3 or reference.shape[-1] != 3 or not reference.size:
        raise UserError(f"joints must have one shape (..., T, J, 3), not {reference.shape} and {other.shape}")
    return reference, other
