"""Quaternions in NumPy: arrays (..., 4), real part first, unit length."""

from __future__ import annotations

import numpy as np


def multiply(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Hamilton product: `rotate(multiply(a, b), v) == rotate(a, rotate(b, v))`."""
    w1, x1, y1, z1 = np.moveaxis(left, -1, 0)
    w2, x2, y2, z2 = np.moveaxis(right, -1, 0)
    return np.stack(
        [
            w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2,
            w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2,
            w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2,
            w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2,
        ],
        axis=-1,
    )


def inverse(quaternion: np.ndarray) -> np.ndarray:
    """The conjugate, which inverts a unit quaternion."""
    return quaternion * np.array([1, -1, -1, -1], dtype=quaternion.dtype)


def normalize(quaternion: np.ndarray) -> np.ndarray:
    """Scaled to unit length, as vectors of any width are; zero stays zero."""
    return quaternion / np.maximum(np.linalg.norm(quaternion, axis=-1, keepdims=True), 1e-12)


def rotate(quaternion: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Rotates vectors (..., 3); leading dimensions broadcast."""
    real, imaginary = quaternion[..., :1], quaternion[..., 1:]
    twice = 2 * np.cross(imaginary, vector)
    return vector + real * twice + np.cross(imaginary, twice)


def between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The shortest rotation that turns `start` (..., 3) into the direction of `end` (..., 3).

    Opposite vectors turn by half a circle about an axis perpendicular to `start` (published code returns NaN there).
    """
    start, end = np.broadcast_arrays(start, end)
    scale = np.linalg.norm(start, axis=-1, keepdims=True) * np.linalg.norm(end, axis=-1, keepdims=True)
    real = scale + (start * end).sum(-1, keepdims=True)
    quaternion = np.concatenate([real, np.cross(start, end)], axis=-1)
    opposite = (real <= 1e-8 * np.maximum(scale, 1e-12))[..., 0]
    if opposite.any():
        along_x = np.abs(start[..., :1]) < 0.9 * np.linalg.norm(start, axis=-1, keepdims=True)
        helper = np.where(along_x, np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]))
        half_turn = np.concatenate([np.zeros_like(real), np.cross(start, helper)], axis=-1)
        quaternion = np.where(opposite[..., None], half_turn, quaternion)
    zero = np.linalg.norm(quaternion, axis=-1, keepdims=True) < 1e-12
    quaternion = np.where(zero, np.array([1.0, 0.0, 0.0, 0.0]), quaternion)
    return normalize(quaternion)


def from_axis_angle(axis: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Rotation by `angle` (...) radians about the unit vector `axis` (..., 3)."""
    half = np.asarray(angle)[..., None] / 2
    axis = np.broadcast_to(axis, (*half.shape[:-1], 3))
    return np.concatenate([np.cos(half), np.sin(half) * axis], axis=-1)


def from_rotation_vector(vector: np.ndarray) -> np.ndarray:
    """Quaternions (..., 4) of axis-angles (..., 3), whose length is the angle in radians."""
    return from_axis_angle(normalize(vector), np.linalg.norm(vector, axis=-1))


def from_euler(angles: np.ndarray, order: str) -> np.ndarray:
    """Quaternions (..., 4) from angles (..., A) in radians about the A axes of `order`, multiplied left to right.

    "ZXY" is Rz Rx Ry; an empty order gives the identity.
    """
    result = np.zeros((*angles.shape[:-1], 4))
    result[..., 0] = 1.0
    for place, letter in enumerate(order):
        result = multiply(result, from_axis_angle(np.eye(3)["XYZ".index(letter)], angles[..., place]))
    return result


def slerp(start: np.ndarray, end: np.ndarray, weight: np.ndarray | float) -> np.ndarray:
    """Spherical interpolation along the shorter arc: `weight` 0 gives `start`, 1 gives `end`."""
    weight = np.asarray(weight)
    weight = weight[..., None] if weight.ndim else weight
    cosine = (start * end).sum(-1, keepdims=True)
    end = np.where(cosine < 0, -end, end)
    angle = np.arccos(np.clip(np.abs(cosine), 0, 1))
    sine = np.sin(angle)
    nearly_equal = sine < 1e-6
    safe_sine = np.where(nearly_equal, 1, sine)
    first = np.where(nearly_equal, 1 - weight, np.sin((1 - weight) * angle) / safe_sine)
    second = np.where(nearly_equal, weight, np.sin(weight * angle) / safe_sine)
    return normalize(first * start + second * end)


def to_matrix(quaternion: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3), acting on column vectors."""
    w, x, y, z = np.moveaxis(quaternion, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def from_matrix(matrix: np.ndarray) -> np.ndarray:
    """Quaternions with a non-negative real part from rotation matrices (..., 3, 3)."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = np.moveaxis(matrix, (-2, -1), (0, 1))
    rows = [
        [1 + (xx + yy + zz), zy - yz, xz - zx, yx - xy],
        [zy - yz, 1 + xx - yy - zz, xy + yx, xz + zx],
        [xz - zx, xy + yx, 1 - xx + yy - zz, yz + zy],
        [yx - xy, xz + zx, yz + zy, 1 - xx - yy + zz],
    ]
    candidates = np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
    # The candidate with the largest own component is the numerically safe one.
    diagonal = np.diagonal(candidates, axis1=-2, axis2=-1)
    best = diagonal.argmax(-1)
    chosen = np.take_along_axis(candidates, best[..., None, None], axis=-2)[..., 0, :]
    chosen = normalize(chosen)
    return np.where(chosen[..., :1] < 0, -chosen, chosen)


def to_sixd(quaternion: np.ndarray) -> np.ndarray:
    """The first two matrix COLUMNS one after the other, (..., 6) (Zhou et al., CVPR 2019)."""
    matrix = to_matrix(quaternion)
    return np.concatenate([matrix[..., 0], matrix[..., 1]], axis=-1)


def unroll(quaternion: np.ndarray) -> np.ndarray:
    """Chooses signs so that neighbours along the first axis (time) lie in one hemisphere: no jumps from q to -q."""
    cosine = (quaternion[1:] * quaternion[:-1]).sum(-1)
    signs = np.cumprod(np.where(cosine < 0, -1.0, 1.0), axis=0)
    return np.concatenate([quaternion[:1], quaternion[1:] * signs[..., None]], axis=0)


def accumulate(quaternion: np.ndarray) -> np.ndarray:
    """Running products along the first axis: row t is q[t] q[t-1] ... q[0], in log2(T) vectorised passes."""
    result, reach = quaternion, 1
    while reach < len(result):
        result = np.concatenate([result[:reach], normalize(multiply(result[reach:], result[:-reach]))])
        reach *= 2
    return result
