"""What is done to a motion before it is written, for all formats alike. Letters: T frames, J joints."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.ndimage import gaussian_filter1d

from utils.errors import UserError
from utils.motion_format import MotionFormat
from visualization.body import get_body
from visualization.bvh import rig_motion
from visualization.kinematics import forward

Trim = tuple[float, float | None] | Literal["auto"]  # (first second, last second; None: to the end)

STILL_SPEED = 0.25  # metres a second, of an adult's fastest joint: who is slower stands still
STILL_SMOOTHING = 0.1  # seconds over which speeds are smoothed
KEPT_STILL = 0.2  # seconds of standing that stay at either end


def trimmed(joints: np.ndarray, fps: float, form: MotionFormat, trim: Trim | None) -> np.ndarray:
    """Joints (T, J, 3) from one second to another, or without the standing still at their ends.

    Raises:
        UserError: these seconds lie outside the motion, or no frame is between them.
    """
    if trim is None:
        return joints
    if trim == "auto":
        first, end = _moving(joints, fps, form)
        return joints[first:end]
    seconds = len(joints) / fps
    start, stop = trim[0], seconds if trim[1] is None else trim[1]
    if stop > seconds + 0.5 / fps or start >= seconds:
        raise UserError(f"--trim {start:g},{stop:g} lies outside the motion, which lasts {seconds:.2f} s")
    first, end = round(start * fps), min(round(stop * fps), len(joints))
    if first >= end:
        raise UserError(f"--trim {start:g},{stop:g} leaves no frame at {fps:g} frames a second")
    return joints[first:end]


def locked(joints: np.ndarray, fps: float, form: MotionFormat) -> np.ndarray:
    """Joints (T, J, 3) whose planted feet stay in place, and whose bones keep their length."""
    rig, pose = rig_motion(joints, fps, form, foot_locking=True)
    return forward(rig, pose.root, pose.local)[:, rig.node_of_joint]


def in_place(joints: np.ndarray) -> np.ndarray:
    """Joints (T, J, 3) whose root stays over where it starts; heights are kept."""
    return joints - (joints[:, :1] - joints[:1, :1]) * [1.0, 0.0, 1.0]


def _moving(joints: np.ndarray, fps: float, form: MotionFormat) -> tuple[int, int]:
    """First and last frame (not included) between which somebody moves, with a little standing before and after; all of
    a motion in which nobody does."""
    if len(joints) < 2:
        return 0, len(joints)
    smooth = gaussian_filter1d(joints, STILL_SMOOTHING * fps, axis=0, mode="nearest")
    speed = np.linalg.norm(np.gradient(smooth, axis=0), axis=-1).max(axis=1) * fps
    frames = np.flatnonzero(speed > STILL_SPEED * get_body(form).scale(joints))
    if not len(frames):
        return 0, len(joints)
    kept = round(KEPT_STILL * fps)
    return max(int(frames[0]) - kept, 0), min(int(frames[-1]) + kept + 1, len(joints))
