"""How single bones turn: where they aim, and how a limb twists, smoothly over time.

Letters: T frames, N nodes.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_banded

from utils import quaternion
from utils.quaternion import normalize

FULL_BEND = np.sin(np.deg2rad(25.0))  # a limb bent by this much shows its plane fully
PRIOR_WEIGHT = 0.02  # pull towards the untwisted limb where nothing else tells
MOST_CORRECTED = 0.35  # of a bone's length: by how much it makes up for the bones above it
SPINE_BEND = 0.3  # radians by which the spine between hips and chest bends otherwise than evenly
STEADY_SECONDS = 0.1  # time over which the aim of a bone is smoothed whose noise is as large as that
TWIST_SECONDS = 0.06  # time over which the twist is smoothed where the plane is clear


def aim(target: np.ndarray, position: np.ndarray, node: int, child: int) -> np.ndarray:
    """Where the bone from `node` to `child` points, (T, 3): at its target (T, N, 3) from where it starts in `position`.

    A start that lies far off, for so short a bone, is made up for in part only: it would swing the bone about.
    """
    bone, error = target[:, child] - target[:, node], target[:, node] - position[:, node]
    most = MOST_CORRECTED * np.median(np.linalg.norm(bone, axis=-1))
    return bone + error * np.minimum(1, most / np.maximum(np.linalg.norm(error, axis=-1, keepdims=True), 1e-12))


def steadied(aim: np.ndarray, likely: np.ndarray, bone: np.ndarray, fps: float) -> np.ndarray:
    """Aims (T, 3) of a bone of the spine without the jitter of its joints: a short bone makes much of little noise.

    How noisy its joints are is seen from `bone` (T, 3), whose length should not change: a bone of constant length aims
    as it does. Of others the aims are drawn towards `likely` (T, 3), which the hips and the chest tell, and smoothed.
    """
    length = np.linalg.norm(bone, axis=-1)
    noise = float(np.std(length) / max(np.median(length), 1e-9))  # radians, about
    doubt = (noise / SPINE_BEND) ** 2
    frames = len(aim)
    if frames < 3 or doubt < 1e-6:
        return aim
    stiffness = doubt * (STEADY_SECONDS * fps) ** 4
    # (1 + doubt + stiffness D'D) x = aim + doubt likely, where D takes second differences
    bands = np.zeros((5, frames))
    for offset, weight in ((0, 1.0), (1, -2.0), (2, 1.0)):
        for other, factor in ((0, 1.0), (1, -2.0), (2, 1.0)):
            rows = np.arange(frames - 2)
            bands[2 + offset - other, rows + other] += stiffness * weight * factor
    bands[2] += 1 + doubt
    return solve_banded((2, 2), bands, normalize(aim) + doubt * normalize(likely))


def swing(before: np.ndarray, offset: np.ndarray, aim: np.ndarray) -> np.ndarray:
    """`before` (T, 4) turned the shortest way so that the rest vector `offset` (3,) points along `aim` (T, 3)."""
    return quaternion.multiply(quaternion.between(quaternion.rotate(before, offset), aim), before)


def rigid_fit(rest: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Rotation matrices (T, 3, 3) that turn `rest` (K, 3) best into `seen` (T, K, 3) (Kabsch)."""
    u, _, vt = np.linalg.svd(np.einsum("ki,tkj->tij", rest, seen))
    sign = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    vt[:, 2] *= np.where(sign == 0, 1, sign)[:, None]
    return np.swapaxes(u @ vt, -1, -2)


def limb_rotation(
    before: np.ndarray, offset: np.ndarray, aim: np.ndarray, flexed: np.ndarray, hinge: np.ndarray, fps: float
) -> np.ndarray:
    """World rotations (T, 4) of a thigh or upper arm.

    Args:
        before: (T, 4) rotation of the parent.
        offset: (3,) rest vector of the bone; `aim`: (T, 3) where it points now.
        flexed: (T, 3) the bone below it.
        hinge: (3,) rest axis of the joint between the two.
    """
    frames = len(aim)
    to_parent = quaternion.inverse(before)
    axis, lower = normalize(quaternion.rotate(to_parent, aim)), normalize(quaternion.rotate(to_parent, flexed))
    rest = np.broadcast_to(normalize(offset), axis.shape)
    untwisted = quaternion.between(rest, axis)
    # Carried along from frame to frame without any twist of its own: nothing here can jump.
    steps = quaternion.between(axis[:-1], axis[1:])
    carried = quaternion.accumulate(np.concatenate([untwisted[:1], steps]))
    reference = quaternion.rotate(carried, hinge)
    normal = np.cross(axis, lower)
    bend = np.linalg.norm(normal, axis=-1)
    seen = _angle_about(axis, reference, normal)
    prior = _angle_about(axis, reference, quaternion.rotate(untwisted, hinge))
    clear = np.minimum(bend / FULL_BEND, 1) ** 4
    # The untwisted limb means nothing where the limb points against its rest direction.
    trusted = PRIOR_WEIGHT * np.clip((1 + (axis * rest).sum(-1)) / 2, 1e-3, 1)
    stiffness = (TWIST_SECONDS * fps) ** 2
    weight = clear + trusted
    bands = np.zeros((3, frames))
    bands[0, 1:] = bands[2, :-1] = -stiffness
    bands[1] = weight + 2 * stiffness
    bands[1, [0, -1]] -= stiffness
    if frames == 1:
        bands[1] = weight
    wanted = clear * np.exp(1j * seen) + trusted * np.exp(1j * prior)
    twist = np.angle(solve_banded((1, 1), bands, wanted))
    turned = quaternion.multiply(quaternion.from_axis_angle(axis, twist), carried)
    return normalize(quaternion.multiply(before, turned))


def _angle_about(axis: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Signed angles (T,) from `start` to `end` about `axis`, all (T, 3) with the first two perpendicular."""
    return np.arctan2((np.cross(start, end) * axis).sum(-1), (start * end).sum(-1))
