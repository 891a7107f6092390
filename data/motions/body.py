"""What joints alone tell of a body: its size, its unit, the axis along which it stands, how its recording begins.

Letters: T frames, J joints.
"""

from __future__ import annotations

import numpy as np

from data.motions.settings import METRES
from utils.errors import UserError
from utils.formats import HUMANML3D
from utils.motion_format import MotionFormat

USUAL_SIZE = 1.4  # metres from ankle to head along the bones; bodies from 0.7 to 2.8 are believed
FLOOR = 0.15  # of a body's size: how far from zero a floor may lie
FLAT = 0.6  # of a body's size: a body that lies is never higher
STRONGEST = 100.0  # metres a second squared: no trunk is thrown with ten times its weight
BEGINNING = 2.0  # seconds in which a recording may hold a pose before the motion
FIRST_JUMP = 0.25  # metres: less from one frame to the next is no jump from such a pose
# Rows that turn the axis into y; proper rotations, so that left stays left.
TURNS: dict[str, tuple[tuple[int, int], ...]] = {  # (source axis, sign) of x, y and z
    "y": ((0, 1), (1, 1), (2, 1)),
    "z": ((0, 1), (2, 1), (1, -1)),
    "x": ((1, -1), (0, 1), (2, 1)),
    "minus_y": ((0, 1), (1, -1), (2, -1)),
    "minus_z": ((0, 1), (2, -1), (1, 1)),
    "minus_x": ((1, 1), (0, -1), (2, 1)),
}


def sized_bones(form: MotionFormat) -> list[int]:
    """Joints whose bones add up to a body's size: one leg, and the trunk up to the head.

    Raises:
        UserError: the format does not say where the head is.
    """
    leg, trunk = form.way(form.face_joints[1], form.left_foot[0]), form.way(0, form.landmark("head"))
    return [*leg[:0:-1], *trunk[:0:-1]]


def body_size(joints: np.ndarray, form: MotionFormat = HUMANML3D) -> float:
    """Length of a leg and of the trunk up to the head along the bones, medians over time, of joints (T, J, 3)."""
    ends = np.array(sized_bones(form))
    bones = joints[:, ends] - joints[:, np.array(form.parents)[ends]]
    return float(np.median(np.linalg.norm(bones, axis=-1), axis=0).sum())


def likely_unit(joints: np.ndarray, form: MotionFormat = HUMANML3D) -> str:
    """The unit in which the body of joints (T, J, 3) is nearest to an adult's size.

    Raises:
        UserError: none makes it human.
    """
    size = body_size(joints, form)
    if not size > 0:
        raise UserError("wrong size: all joints are at one place")
    unit, error = min(
        ((unit, abs(np.log(size * metres / USUAL_SIZE))) for unit, metres in METRES.items()), key=lambda each: each[1]
    )
    if error > np.log(2):
        raise UserError(f"wrong size: the body measures {size:.4g}, which no unit makes human: give --units")
    return unit


def turn_up(places: np.ndarray, up: str) -> np.ndarray:
    """Places (..., 3) turned so that the axis `up` becomes y."""
    return np.stack([sign * places[..., axis] for axis, sign in TURNS[up]], axis=-1)


def turn_back(places: np.ndarray, up: str) -> np.ndarray:
    """The inverse of `turn_up`."""
    turned = np.empty_like(places)
    for place, (axis, sign) in enumerate(TURNS[up]):
        turned[..., axis] = sign * places[..., place]
    return turned


def upright_axis(joints: np.ndarray, form: MotionFormat = HUMANML3D) -> tuple[str, float]:
    """The axis along which the body of joints (T, J, 3) is stretched, and how clearly, 0 to 1."""
    feet = joints[:, [form.left_foot[0], form.right_foot[0]]].mean(axis=1)
    up = np.median(joints[:, form.landmark("neck")] - feet, axis=0)
    axis = int(np.abs(up).argmax())
    name = ("" if up[axis] > 0 else "minus_") + "xyz"[axis]
    return name, float(abs(up[axis]) / max(np.linalg.norm(up), 1e-12))


def likely_up(joints: np.ndarray, form: MotionFormat = HUMANML3D) -> tuple[str, float]:
    """The axis that points up: that of `upright_axis`, unless the body lies flat on a floor at y = 0."""
    name, clearness = upright_axis(joints, form)
    size = body_size(joints, form)
    low, high = joints[..., 1].min(), joints[..., 1].max()
    end = turn_up(joints, name)[..., 1].min()
    if name != "y" and abs(low) < FLOOR * size < abs(end) and high - low < FLAT * size:
        return "y", clearness
    return name, clearness


def root_steps(root: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far a root (T, 3) gets from each frame to the next, (T - 1,), and by how much each step differs from the one
    before and from the one after, the lesser of the two, (T - 1,)."""
    steps = np.diff(root, axis=0)
    change = np.linalg.norm(np.diff(steps, axis=0), axis=-1)
    sudden = np.minimum(np.concatenate([change[:1], change]), np.concatenate([change, change[-1:]]))
    return np.linalg.norm(steps, axis=-1), sudden


def frames_before_motion(root: np.ndarray, fps: float) -> tuple[int, float]:
    """How many frames at the beginning hold another pose, such as a T-pose at the origin, before the motion starts
    elsewhere, and how far from it, metres; 0 for a root (T, 3) that moves on from the first frame."""
    length, sudden = root_steps(root[: round(BEGINNING * fps) + 2])
    if len(length) < 2:
        return 0, 0.0
    limit = max(FIRST_JUMP, STRONGEST / fps**2)
    jumps = (sudden > limit) & (length > limit)
    # At few frames a second much is possible within one: what follows tells how fast this body is.
    jumps[0] |= length[0] > 2 * FIRST_JUMP and length[0] > 5 * length[1:].max()
    if not jumps.any():
        return 0, 0.0
    last = int(np.flatnonzero(jumps)[-1])
    return last + 1, float(length[last])
