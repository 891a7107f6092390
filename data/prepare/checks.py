"""Whether a motion can be one: long enough, finite, of rigid bones, without jumps."""

from __future__ import annotations

import numpy as np

from data.motions.body import STRONGEST, USUAL_SIZE, body_size, root_steps, upright_axis
from data.prepare.settings import ClipSettings
from utils.errors import UserError
from utils.facing import facing
from utils.motion_format import MotionFormat
from utils.quaternion import normalize

SMALLEST_JUMP = 0.1  # metres; less is a tremor of the capture
SMALLEST_STRETCH = 0.02  # metres
CLEARLY = 0.8  # how clearly a body stands along another axis


def check_motion(joints: np.ndarray, settings: ClipSettings) -> list[str]:
    """Refuses joints (T, J, 3) in metres, y up, that are no usable motion.

    Returns:
        remarks about what looks odd but may be meant.

    Raises:
        UserError: NaN, too short, a root that teleports, bones that change their length.
    """
    if not np.isfinite(joints).all():
        raise UserError(f"NaN: first in frame {int((~np.isfinite(joints).all(axis=(1, 2))).argmax())}")
    rows = len(joints) - 1
    if rows < max(settings.min_frames, 1):
        raise UserError(
            f"too short: {rows} rows of features at {settings.fps:g} fps ({rows / settings.fps:.2f} s), "
            f"--min_frames is {settings.min_frames}"
        )
    check_root(joints[:, 0], settings)
    check_bones(joints, settings.max_stretch, settings.form)
    return odd_looks(joints, settings.form)


def check_root(root: np.ndarray, settings: ClipSettings) -> None:
    """Raises `UserError` when the root (T, 3) is somewhere else from one frame to the next.

    It may neither be faster than `max_speed` nor jump: a step that differs by more than a body can be accelerated from
    the one before and from the one after.
    """
    length, sudden = root_steps(root)
    limit = max(SMALLEST_JUMP, STRONGEST / settings.fps**2)
    jumps = (length * settings.fps > settings.max_speed) | ((sudden > limit) & (length > limit))
    if jumps.any():
        frame = int(jumps.argmax())
        raise UserError(f"teleporting root: {length[frame]:.2f} m from frame {frame} to {frame + 1}")


def check_bones(joints: np.ndarray, max_stretch: float, form: MotionFormat) -> None:
    """Raises `UserError` when a bone is ever much longer or shorter than its median."""
    bones = np.linalg.norm(joints[:, 1:] - joints[:, list(form.parents[1:])], axis=-1)
    usual = np.median(bones, axis=0)
    worst = np.abs(bones - usual).max(axis=0) - np.maximum(max_stretch * usual, SMALLEST_STRETCH)
    bone = int(worst.argmax())
    if worst[bone] > 0:
        low, high = bones[:, bone].min(), bones[:, bone].max()
        name = form.joint_names[bone + 1]
        raise UserError(f"bone lengths change: {name} {low:.3f} to {high:.3f} m, usually {usual[bone]:.3f} m")


def odd_looks(joints: np.ndarray, form: MotionFormat) -> list[str]:
    """Signs of a wrong unit or wrong axes: a giant, a body that lies, toes that point backwards."""
    remarks = []
    size = body_size(joints, form)
    if not USUAL_SIZE / 2 <= size <= USUAL_SIZE * 2:
        remarks.append(f"the body measures {size:.3g} m from ankle to head: --units?")
    axis, clearness = upright_axis(joints, form)
    if axis != "y" and clearness > CLEARLY:
        remarks.append(f"the body is not upright but along {axis.replace('minus_', '-')}: lying down, or --up_axis?")
    feet = (form.left_foot, form.right_foot)
    toes = normalize(np.stack([joints[:, toe] - joints[:, ankle] for ankle, toe in feet], axis=1))
    ahead = np.median((toes * facing(joints, form)[:, None]).sum(-1))
    if axis == "y" and ahead < -0.3:
        remarks.append("the toes point backwards: are left and right exchanged, or are the axes left-handed?")
    return remarks
