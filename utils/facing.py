"""Where a body faces. Needs NumPy alone, since it also runs in Blender's Python. Letters: T frames, J joints."""

from __future__ import annotations

import numpy as np

from utils import quaternion
from utils.motion_format import MotionFormat

UP = np.array([0.0, 1.0, 0.0])


def facing(joints: np.ndarray, form: MotionFormat) -> np.ndarray:
    """The horizontal direction the body faces, unit vectors (..., 3), from hips and shoulders of joints (..., J, 3)."""
    right_hip, left_hip, right_shoulder, left_shoulder = (joints[..., joint, :] for joint in form.face_joints)
    return quaternion.normalize(np.cross(left_hip - right_hip + left_shoulder - right_shoulder, UP))


def heading(joints: np.ndarray, form: MotionFormat) -> np.ndarray:
    """The same as radians about y (...): 0 is +z, a quarter turn is +x."""
    forward = facing(joints, form)
    return np.arctan2(forward[..., 0], forward[..., 2])


def yaw_quaternion(angle: np.ndarray) -> np.ndarray:
    """Rotation by `angle` (...) radians about the up axis; +z turns towards +x."""
    return quaternion.from_axis_angle(UP, angle)
