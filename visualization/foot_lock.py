"""Planted feet stay where they are: slides are taken out of contacts and blended away in between."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from utils.motion_format import MotionFormat
from utils.quaternion import normalize
from utils.series import smooth_step
from visualization.body import get_body
from visualization.contacts import contact_segments, detect_contacts

BLEND_SECONDS = 0.25  # a correction fades in before its contact and out after it
HEIGHT_SHARE = 0.5  # of that time for heights
LONGEST_SLIDE = 0.30  # metres from the middle of a contact; a longer slide is cut into several stands
STRAIGHT = 0.985  # of the leg's length: no knee is stretched further
DEEPEST_DROP = 0.20  # metres by which the body may sink so that both feet reach the ground


def lock_feet(joints: np.ndarray, knee_fronts: np.ndarray, fps: float, form: MotionFormat) -> np.ndarray:
    """Joints (T, J, 3) whose feet do not slide while they stand; bone lengths of the input are kept.

    Args:
        joints: (T, J, 3) metres, with constant bone lengths.
        knee_fronts: (T, 2, 3) where the front of the left and the right thigh points, steady also in straight legs.
    """
    scale = get_body(form).scale(joints)
    contacts = detect_contacts(joints, fps, form)
    blend = max(2.0, BLEND_SECONDS * fps)
    floor = float(np.percentile(joints[:, [*form.left_foot, *form.right_foot], 1].min(axis=1), 10))
    feet = {}
    for side, columns in (("left", (0, 1)), ("right", (2, 3))):
        feet[side] = _place_foot(joints, form, side, contacts[:, columns], blend, floor, scale)
    result = joints.copy()
    result[..., 1] -= _drop(joints, form, feet, scale, fps)[:, None]
    for index, (side, foot) in enumerate(feet.items()):
        _reach(result, joints, form, side, foot, knee_fronts[:, index])
    return result


def _place_foot(
    joints: np.ndarray,
    form: MotionFormat,
    side: str,
    contacts: np.ndarray,
    blend: float,
    floor: float,
    scale: float,
) -> np.ndarray:
    """Where the joints of one foot, ankle first, go: (T, F, 3)."""
    foot = form.foot(side)
    placed = joints[:, foot].copy()
    heel, toe = len(foot) - 2, len(foot) - 1  # the two joints that the contacts speak of
    ends = placed[:, [heel, toe]]
    slide = _slide(ends, contacts)
    stands = [
        part
        for first, last in contact_segments(contacts.any(axis=1))
        for part in _split(slide, first, last, LONGEST_SLIDE * scale, round(blend))
    ]
    own, weights = zip(
        *(_correction(ends[:, end], contacts[:, end], slide, stands, blend, floor) for end in range(2)), strict=True
    )
    for place, end in ((heel, 0), (toe, 1)):
        # An end that is in the air goes along with the one that stands: alone, it would let the foot turn about.
        correction = own[end] + (1 - weights[end])[:, None] * own[1 - end]
        placed[:, place] += correction
        if place == heel:
            placed[:, :heel] += correction[:, None]
    # Both ends may ask for different things: the one that stands firmer gives way less.
    length = np.median(np.linalg.norm(joints[:, foot[heel]] - joints[:, foot[toe]], axis=-1))
    along = placed[:, toe] - placed[:, heel]
    distance = np.linalg.norm(along, axis=-1, keepdims=True)
    missing = (distance - length) * along / np.maximum(distance, 1e-9)
    give = 1.01 - np.stack(weights, axis=1)
    share = give / give.sum(axis=1, keepdims=True)
    placed[:, : heel + 1] += (share[:, :1] * missing)[:, None]
    placed[:, toe] -= share[:, 1:] * missing
    for place in range(heel - 1, -1, -1):
        bone = placed[:, place] - placed[:, place + 1]
        wanted = np.median(np.linalg.norm(joints[:, foot[place]] - joints[:, foot[place + 1]], axis=-1))
        placed[:, place] = placed[:, place + 1] + wanted * bone / np.maximum(
            np.linalg.norm(bone, axis=-1, keepdims=True), 1e-9
        )
    return placed


def _slide(ends: np.ndarray, contacts: np.ndarray) -> np.ndarray:
    """How far a foot has slid along the ground, (T, 3): by the steps of those of its two ends (T, 2, 3) that stand."""
    both = (contacts[1:] & contacts[:-1])[..., None]
    step = (np.diff(ends, axis=0) * both).sum(axis=1) / np.maximum(both.sum(axis=1), 1)
    return np.concatenate([np.zeros((1, 3)), np.cumsum(step * [1, 0, 1], axis=0)])


def _correction(
    position: np.ndarray,
    contact: np.ndarray,
    slide: np.ndarray,
    stands: list[tuple[int, int]],
    blend: float,
    floor: float,
) -> tuple[np.ndarray, np.ndarray]:
    """How far one foot joint (T, 3) must move, (T, 3), and how firmly it stands, (T,) from 0 to 1.

    Both ends of a foot give back its slide from the middle of the same stand, so they keep their distance.
    """
    frames = len(position)
    correction, weight = np.zeros((frames, 3)), np.zeros(frames)
    pinned = [
        (first + start, first + end, slide[first : last + 1].mean(axis=0))
        for first, last in stands
        for start, end in contact_segments(contact[first : last + 1])
    ]
    time = np.arange(frames)
    for index, (first, last, middle) in enumerate(pinned):
        inside = slice(first, last + 1)
        pin = (position[inside] - slide[inside]).mean(axis=0) + middle
        correction[inside] = pin - position[inside]
        correction[inside, 1] = max(float(np.median(position[inside, 1])), floor) - position[inside, 1]
        weight[inside] = 1
        gap_before = first - pinned[index - 1][1] if index else np.inf
        gap_after = pinned[index + 1][0] - last if index + 1 < len(pinned) else np.inf
        for frames_away, gap, edge in ((first - time, gap_before, first), (time - last, gap_after, last)):
            width = min(blend, gap)
            outside = (frames_away > 0) & (frames_away < width)
            fade = smooth_step(1 - frames_away[outside] / width)
            correction[outside] += fade[:, None] * correction[edge] * [1, 0, 1]
            weight[outside] = np.maximum(weight[outside], fade)
            # Heights fade sooner: a foot that lifts must not be pulled down in its swing.
            fade = smooth_step(1 - frames_away[outside] / (HEIGHT_SHARE * width))
            correction[outside, 1] += fade * correction[edge, 1]
    return correction, weight


def _split(position: np.ndarray, first: int, last: int, longest: float, pause: int) -> list[tuple[int, int]]:
    """One contact as several stands where it slides too far to be pinned at one place; `pause` frames lie between."""
    stretch = position[first : last + 1]
    if np.linalg.norm(stretch - stretch.mean(axis=0), axis=-1).max() <= longest or last - first < 3 * pause:
        return [(first, last)]
    middle = (first + last) // 2
    return _split(position, first, middle - pause // 2, longest, pause) + _split(
        position, middle + pause - pause // 2, last, longest, pause
    )


def _drop(joints: np.ndarray, form: MotionFormat, feet: dict[str, np.ndarray], scale: float, fps: float) -> np.ndarray:
    """How far (T,) the body must sink, metres, so that its legs reach the placed feet."""
    drop = np.zeros(len(joints))
    for side, foot in feet.items():
        hip, length = joints[:, form.leg(side)[0]], _leg_lengths(joints, form, side).sum()
        away = foot[:, 0] - hip
        upright = np.sqrt(np.maximum((STRAIGHT * length) ** 2 - away[:, 0] ** 2 - away[:, 2] ** 2, 0))
        drop = np.maximum(drop, -away[:, 1] - upright)
    drop = np.clip(drop, 0, DEEPEST_DROP * scale)
    if not drop.any():
        return drop
    width = max(1, round(0.1 * fps))
    return gaussian_filter1d(maximum_filter1d(drop, 2 * width + 1, mode="nearest"), width / 2, mode="nearest")


def _leg_lengths(joints: np.ndarray, form: MotionFormat, side: str) -> np.ndarray:
    """Lengths (2,) of thigh and shin."""
    hip, knee, ankle = (joints[:, joint] for joint in form.leg(side))
    return np.array([np.median(np.linalg.norm(hip - knee, axis=-1)), np.median(np.linalg.norm(knee - ankle, axis=-1))])


def _reach(
    result: np.ndarray, joints: np.ndarray, form: MotionFormat, side: str, foot: np.ndarray, bend: np.ndarray
) -> None:
    """Bends one leg of `result` (T, J, 3), in place, so that its foot gets to `foot` (T, F, 3), ankle first.

    The knee goes towards `bend` (T, 3).
    """
    hip, knee, ankle = form.leg(side)
    thigh, shin = _leg_lengths(joints, form, side)
    start = result[:, hip]
    away = foot[:, 0] - start
    wanted = np.linalg.norm(away, axis=-1, keepdims=True)
    axis = away / np.maximum(wanted, 1e-9)
    distance = np.clip(wanted, abs(thigh - shin) + 1e-3, STRAIGHT * (thigh + shin))
    bend = bend - (bend * axis).sum(-1, keepdims=True) * axis
    bend = normalize(bend)
    along = (thigh**2 - shin**2 + distance**2) / (2 * np.maximum(distance, 1e-9))
    result[:, knee] = start + along * axis + np.sqrt(np.maximum(thigh**2 - along**2, 0)) * bend
    shift = start + distance * axis - foot[:, 0]  # where even the bent body cannot reach
    foot_joints = form.foot(side)
    result[:, foot_joints] = foot + shift[:, None]
    for joint in range(form.n_joints):  # what else hangs on the leg
        way = form.way(hip, joint)
        above = next((each for each in reversed(way) if each in (hip, knee, *foot_joints)), joint)
        if above == joint:
            continue
        end = next((each for each in (knee, ankle) if form.way(joint, each)), None)
        if end is None:
            result[:, joint] = joints[:, joint] + result[:, above] - joints[:, above]
        else:
            away, whole = np.linalg.norm(joints[:, [joint, end]] - joints[:, [above]], axis=-1).T
            share = np.median(away / whole)
            result[:, joint] = (1 - share) * result[:, above] + share * result[:, end]
