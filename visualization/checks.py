"""What every exporter refuses before it writes anything."""

from __future__ import annotations

import numpy as np

from utils.errors import UserError
from utils.motion_format import MotionFormat


def check_joints(joints: np.ndarray, form: MotionFormat) -> np.ndarray:
    """Returns `joints` as float64 (T, J, 3) with T >= 1.

    Raises:
        UserError: not numeric, wrong shape, no frame, or a value that is not finite.
    """
    count = form.n_joints
    try:
        joints = np.asarray(joints, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"joints must be an array of numbers of shape (frames, {count}, 3): {error}") from error
    if joints.ndim != 3 or joints.shape[1:] != (count, 3):
        raise UserError(f"joints have shape {joints.shape}, but {form.name} needs (frames, {count}, 3)")
    if len(joints) == 0:
        raise UserError("the motion has no frames: there is nothing to export")
    bad = ~np.isfinite(joints).all(axis=(1, 2))
    if bad.any():
        raise UserError(f"joints hold NaN or infinity, first in frame {int(bad.argmax())}: refuse to export them")
    return joints


def check_fps(fps: float) -> float:
    """Returns `fps` as a float.

    Raises:
        UserError: not a number between 1 and 240.
    """
    try:
        value = float(fps)
    except (TypeError, ValueError):
        value = float("nan")
    if not 1 <= value <= 240:
        raise UserError(f"fps is {fps!r}: give the frames per second, between 1 and 240")
    return value
