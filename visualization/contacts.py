"""When a foot stands on the ground: read from heights and speeds, with hysteresis against flicker."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from utils.skeleton import get_skeleton
from visualization.body import get_body

ANKLE_HEIGHT = 0.13  # metres above the floor below which an adult's ankle may be planted (heel down or slightly raised)
TOE_HEIGHT = 0.075
ENTER_SPEED, LEAVE_SPEED = 0.55, 0.85  # metres a second
MIN_SECONDS = 0.1  # shorter contacts and shorter gaps are noise


def detect_contacts(joints: np.ndarray, fps: float, dataset: str = "humanml3d") -> np.ndarray:
    """Contacts (T, 4) bool of left ankle, left toe, right ankle, right toe from joints (T, J, 3).

    The floor is taken where the lowest foot joint mostly is. A foot joint is planted while it is low and slow; speeds
    are smoothed over about a tenth of a second so that noise neither hides nor makes a contact.
    """
    skeleton, scale = get_skeleton(dataset), get_body(dataset).scale(joints)
    feet = np.array([*skeleton.left_foot, *skeleton.right_foot])
    positions = joints[:, feet]
    if len(joints) < 2:
        velocity = np.zeros(positions.shape[:2])
    else:
        smooth = gaussian_filter1d(positions, 0.05 * fps, axis=0, mode="nearest")
        velocity = np.linalg.norm(np.gradient(smooth, axis=0), axis=-1) * fps
    floor = np.percentile(positions[..., 1].min(axis=1), 10)
    height = (positions[..., 1] - floor) / scale
    limit = np.array([ANKLE_HEIGHT, TOE_HEIGHT] * 2)
    contacts = np.empty(velocity.shape, dtype=bool)
    for column in range(4):
        low = height[:, column] < limit[column]
        sure = low & (velocity[:, column] < ENTER_SPEED * scale)
        maybe = low & (velocity[:, column] < LEAVE_SPEED * scale)
        contacts[:, column] = _clean(_hysteresis(sure, maybe), max(2, round(MIN_SECONDS * fps)))
    return contacts


def contact_segments(contact: np.ndarray) -> list[tuple[int, int]]:
    """Runs of True in a boolean array (T,) as (first, last) frames, both inclusive."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], np.asarray(contact, dtype=bool), [False]]).astype(int)))
    return [(int(first), int(end) - 1) for first, end in zip(edges[::2], edges[1::2], strict=True)]


def _hysteresis(sure: np.ndarray, maybe: np.ndarray) -> np.ndarray:
    """Runs of `maybe` (T,) that hold at least one `sure` frame."""
    result = np.zeros_like(maybe)
    for first, last in contact_segments(maybe):
        result[first : last + 1] = sure[first : last + 1].any()
    return result


def _clean(contact: np.ndarray, shortest: int) -> np.ndarray:
    """Fills gaps and removes contacts shorter than `shortest` frames; those that touch the ends of the clip stay."""
    contact = contact.copy()
    for value in (False, True):
        for first, last in contact_segments(contact == value):
            inside = first > 0 and last < len(contact) - 1
            if inside and last - first + 1 < shortest:
                contact[first : last + 1] = not value
    return contact
