"""When a foot stands on the ground: read from heights and speeds, with hysteresis against flicker."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_propagation, gaussian_filter1d

from utils.formats import HUMANML3D
from utils.motion_format import MotionFormat
from utils.series import runs
from visualization.body import get_body

RAISED = 0.045  # metres above its standing height up to which a foot joint of an adult may be planted
STANDING_QUANTILE = 15  # per cent of its frames that a foot joint is taken to stand or be lower
ENTER_SPEED, LEAVE_SPEED = 0.90, 1.10  # metres a second, of an adult
ENTER_SHARE, LEAVE_SHARE = 0.35, 0.50  # of the body's own speed: a runner's stance is short and never quite still
SOLE = 0.034  # metres from the toe joint down to the sole of an adult's drawn foot
MIN_SECONDS = 0.1  # shorter contacts and shorter gaps are noise


def detect_contacts(joints: np.ndarray, fps: float, form: MotionFormat = HUMANML3D) -> np.ndarray:
    """Contacts (T, 4) bool of left ankle, left toe, right ankle, right toe from joints (T, J, 3).

    A foot joint is planted while it is slow and about as low as this kind of joint stands: its standing height is where
    the lower of left and right mostly is. Speeds are smoothed over about a tenth of a second so that noise neither
    hides nor makes a contact.
    """
    scale = get_body(form).scale(joints)
    positions = joints[:, form.feet]
    if len(joints) < 2:
        velocity, body_speed = np.zeros(positions.shape[:2]), np.zeros(len(joints))
    else:
        smooth = gaussian_filter1d(positions, 0.03 * fps, axis=0, mode="nearest")
        velocity = np.linalg.norm(np.gradient(smooth, axis=0), axis=-1) * fps
        root = gaussian_filter1d(joints[:, 0], 0.2 * fps, axis=0, mode="nearest")
        body_speed = np.linalg.norm(np.gradient(root, axis=0), axis=-1) * fps
    enter = np.maximum(ENTER_SPEED * scale, ENTER_SHARE * body_speed)
    leave = np.maximum(LEAVE_SPEED * scale, LEAVE_SHARE * body_speed)
    lowest = np.minimum(positions[:, [0, 1], 1], positions[:, [2, 3], 1])
    standing = np.tile(np.percentile(lowest, STANDING_QUANTILE, axis=0), 2)
    height = (positions[..., 1] - standing) / scale
    contacts = np.empty(velocity.shape, dtype=bool)
    for column in range(4):
        low = height[:, column] < RAISED
        sure = low & (velocity[:, column] < enter)
        maybe = low & (velocity[:, column] < leave)
        contacts[:, column] = _clean(binary_propagation(sure, mask=maybe), max(2, round(MIN_SECONDS * fps)))
    return contacts


def standing_floor(joints: np.ndarray, form: MotionFormat) -> float:
    """Height of the ground under the figure (T, J, 3), metres: a sole below where its lowest joint mostly is."""
    return float(np.percentile(joints[..., 1].min(axis=1), 5)) - SOLE * get_body(form).scale(joints)


def contact_segments(contact: np.ndarray) -> list[tuple[int, int]]:
    """Runs of True in a boolean array (T,) as (first, last) frames, both inclusive."""
    return [(first, end - 1) for first, end in runs(contact)]


def _clean(contact: np.ndarray, shortest: int) -> np.ndarray:
    """Fills gaps and removes contacts shorter than `shortest` frames; those that touch the ends of the clip stay."""
    contact = contact.copy()
    for value in (False, True):
        for first, last in contact_segments(contact == value):
            inside = first > 0 and last < len(contact) - 1
            if inside and last - first + 1 < shortest:
                contact[first : last + 1] = not value
    return contact
