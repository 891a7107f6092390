"""Rotations as Euler angles without jumps: the order that stays farthest from gimbal lock, angles unrolled in time."""

from __future__ import annotations

import numpy as np

from utils import quaternion

ORDERS = ("ZXY", "ZYX", "YXZ", "YZX", "XZY", "XYZ")
COMFORTABLE = np.deg2rad(65.0)  # the first order is kept while its middle angle stays below this


def to_euler(rotations: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Euler angles of local rotations.

    Args:
        rotations: (T, N, 4) quaternions, signs continuous in time.

    Returns:
        One order a node, e.g. "ZXY" for the product Rz Rx Ry, and angles (T, N, 3) in radians in that order. Angles
        are continuous in time: they pass 180 degrees instead of wrapping.
    """
    matrices = quaternion.to_matrix(rotations)
    candidates = np.stack([_decompose(matrices, order) for order in ORDERS])
    worst = np.abs(candidates[..., 1]).max(axis=1)  # (orders, N)
    choice = np.where(worst[0] < COMFORTABLE, 0, worst.argmin(axis=0))
    nodes = np.arange(rotations.shape[1])
    angles = candidates[choice, :, nodes].swapaxes(0, 1)
    return [ORDERS[index] for index in choice], _unroll(angles)


def _decompose(matrices: np.ndarray, order: str) -> np.ndarray:
    """Principal angles (..., 3) of rotation matrices (..., 3, 3)."""
    i, j, k = ("XYZ".index(letter) for letter in order)
    sign = 1.0 if (j - i) % 3 == 1 else -1.0
    middle = np.arcsin(np.clip(sign * matrices[..., i, k], -1, 1))
    first = np.arctan2(-sign * matrices[..., j, k], matrices[..., k, k])
    last = np.arctan2(-sign * matrices[..., i, j], matrices[..., i, i])
    return np.stack([first, middle, last], axis=-1)


def _unroll(angles: np.ndarray) -> np.ndarray:
    """Of the two triples that mean the same rotation, and of all their full turns, the one nearest the frame before.

    Between two frames it is as far from the first triple to the first as from the second to the second, and from first
    to second as from second to first. So every frame only says whether to change over, and the choice is their parity.
    """
    other = np.stack([angles[..., 0] + np.pi, np.pi - angles[..., 1], angles[..., 2] + np.pi], axis=-1)
    change = _turn(angles[:-1], other[1:]).sum(-1) < _turn(angles[:-1], angles[1:]).sum(-1)
    changed = np.concatenate([np.zeros((1, *change.shape[1:]), dtype=bool), np.cumsum(change, axis=0) % 2 == 1])
    return np.unwrap(np.where(changed[..., None], other, angles), axis=0)


def _turn(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Radians from angle to angle, the shorter way, from 0 to pi."""
    return np.abs((end - start + np.pi) % (2 * np.pi) - np.pi)
