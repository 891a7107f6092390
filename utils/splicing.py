"""Motions put together from two: what is kept stays bit by bit, what is new joins it without a jump.

A motion is taken apart into the path and heading of the root and a bone a joint in the frame of the heading, so that
each body part can come from another motion. Letters: T frames, J joints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from utils import quaternion
from utils.facing import heading, yaw_quaternion
from utils.metrics import seam_ratio
from utils.motion_format import MotionFormat
from utils.series import runs, smooth_step

SEAM_SECONDS = 0.5  # within which a difference at a seam is made up for
LONGER_SEAMS = (0.75, 1.0)  # where that would jump
SMOOTH = 1.5  # largest acceleration at a seam, as a multiple of what the motion has at most
STAYS = 0.1  # metres
LIFT_FRAMES = 8  # over which a body is lifted beside a frame in which it must be
BONE_CHANGE = 0.15  # a bone that is drawn may be so much longer or shorter than it mostly is


@dataclass(frozen=True)
class Articulation:
    """A motion taken apart.

    Attributes:
        yaw: (T,) heading in radians, continuous.
        root: (T, 3) metres.
        bones: (T, J, 3) from each joint's parent to it, metres, in the frame of the heading; the root's is zero.
    """

    yaw: np.ndarray
    root: np.ndarray
    bones: np.ndarray

    @classmethod
    def of(cls, joints: np.ndarray, form: MotionFormat) -> Articulation:
        """Of joints (T, J, 3)."""
        joints = np.asarray(joints, dtype=np.float64)
        yaw = np.unwrap(heading(joints, form))
        bones = np.zeros_like(joints)
        bones[:, 1:] = joints[:, 1:] - joints[:, list(form.parents[1:])]
        return cls(yaw, joints[:, 0].copy(), quaternion.rotate(yaw_quaternion(-yaw)[:, None], bones))

    def joints(self, form: MotionFormat) -> np.ndarray:
        """(T, J, 3) metres."""
        turned = quaternion.rotate(yaw_quaternion(self.yaw)[:, None], self.bones)
        joints = np.empty_like(turned)
        joints[:, 0] = self.root
        for joint in range(1, form.n_joints):
            joints[:, joint] = joints[:, form.parents[joint]] + turned[:, joint]
        return joints

    def steps(self) -> tuple[np.ndarray, np.ndarray]:
        """From each frame to the next: the turn (T - 1,) in radians, the way (T - 1, 3) in the frame of the heading."""
        return np.diff(self.yaw), quaternion.rotate(yaw_quaternion(-self.yaw[:-1]), np.diff(self.root, axis=0))


def splice(old: np.ndarray, new: np.ndarray, drawn: np.ndarray, form: MotionFormat) -> np.ndarray:
    """`old` with the joints `drawn` taken from `new`.

    The new motion is fitted to the old one's bones and joined to it: where a stretch begins or ends, half a second, or
    up to one where that would jump, leads from pose and speed of the one to those of the other. Where the root is drawn
    its path goes on from the old one; a path that must come back to the old one is turned and moved a little in every
    frame. Feet that would go through the floor lift the body.

    Args:
        old, new: (T, J, 3) metres.
        drawn: (T, J) joints that are taken from `new`; a joint moves with its parent, whosever that is.

    Returns:
        (T, J, 3) of the type of `old`; what hangs on nothing that is drawn is that of `old`, bit by bit.
    """
    cuts = np.flatnonzero((drawn[1:] != drawn[:-1]).any(axis=1)) + 1
    tried = []
    for seconds in (SEAM_SECONDS, *LONGER_SEAMS):
        joints = _spliced(old, new, drawn, form, max(2, round(seconds * form.fps)))
        tried.append((max((seam_ratio(joints, int(cut), old) for cut in cuts), default=0.0), joints))
        if tried[-1][0] <= SMOOTH:
            break
    return min(tried, key=lambda one: one[0])[1]


def _spliced(old: np.ndarray, new: np.ndarray, drawn: np.ndarray, form: MotionFormat, fade: int) -> np.ndarray:
    """`splice` with `fade` frames from the one to the other."""
    before, made = Articulation.of(old, form), Articulation.of(new, form)
    lengths = [np.linalg.norm(each.bones, axis=-1).mean(axis=0) for each in (before, made)]
    size = lengths[0] / lengths[1].clip(1e-6)
    bones, yaw, root = before.bones.copy(), before.yaw.copy(), before.root.copy()
    for joint in range(1, form.n_joints):
        for start, end in runs(drawn[:, joint]):
            pair = before.bones[:, joint], made.bones[:, joint] * size[joint]
            bone = bridged(*pair, start, end, fade)
            length = bridged(*(np.linalg.norm(each, axis=-1, keepdims=True) for each in pair), start, end, fade)
            length = length.clip((1 - BONE_CHANGE) * lengths[0][joint], (1 + BONE_CHANGE) * lengths[0][joint])
            bones[start:end, joint] = quaternion.normalize(bone) * length
    legs = [joint for side in ("left", "right") for joint in form.leg(side)[1:]]
    made = replace(made, root=made.root * size[legs].mean())
    for start, end in runs(drawn[:, 0]):
        yaw[start:end], root[start:end] = _way(before, made, start, end, fade)
        root[start:end, 1] = bridged(before.root[:, 1], made.root[:, 1], start, end, fade)
    moved = drawn.copy()
    for joint in range(1, form.n_joints):
        moved[:, joint] |= moved[:, form.parents[joint]]
    joints = Articulation(yaw, root, bones).joints(form)
    feet = list(form.feet)
    below = old[:, feet, 1].min() - joints[:, feet, 1].min(axis=1)
    lift = gaussian_filter1d(maximum_filter1d(below.clip(0) * drawn[:, 0], LIFT_FRAMES), LIFT_FRAMES / 4)
    joints[..., 1] += (lift * _inside(drawn[:, 0], fade))[:, None]
    return np.where(moved[..., None], joints.astype(old.dtype), old)


def _inside(drawn: np.ndarray, fade: int) -> np.ndarray:
    """(T,) 0 where nothing is drawn (T,), rising to 1 within `fade` frames on either side of a seam."""
    share = np.zeros(len(drawn))
    for start, end in runs(drawn):
        since = np.arange(1, end - start + 1) / (fade + 1) if start else np.inf
        until = np.arange(end - start, 0, -1) / (fade + 1) if end < len(drawn) else np.inf
        share[start:end] = smooth_step(np.minimum(since, until).clip(max=1))
    return share


def _way(before: Articulation, made: Articulation, start: int, end: int, fade: int) -> tuple[np.ndarray, np.ndarray]:
    """Heading (T',) and root (T', 3) of the frames start..end of `made`, between the frames of `before` beside them."""
    first, last = max(start - 1, 0), min(end, len(made.yaw) - 1)
    ways = zip(before.steps(), made.steps(), strict=True)
    turning, going = (bridged(old, new, first, last, fade) for old, new in ways)
    is_led = start > 0 or end == len(made.yaw)  # else it only leads to what comes after
    anchor = (0, first) if is_led else (-1, last)
    meets_twice = start > 0 and end < len(made.yaw)
    share = smooth_step(np.arange(last - first + 1) / max(last - first, 1))
    yaw = np.concatenate([[0.0], np.cumsum(turning)])
    yaw += before.yaw[anchor[1]] - yaw[anchor[0]]
    if meets_twice:
        yaw += share * ((before.yaw[last] - yaw[-1] + np.pi) % (2 * np.pi) - np.pi)
    root = np.concatenate([np.zeros((1, 3)), np.cumsum(quaternion.rotate(yaw_quaternion(yaw[:-1]), going), axis=0)])
    root += before.root[anchor[1]] - root[anchor[0]]
    if meets_twice:
        root += share[:, None] * (before.root[last] - root[-1])
    return yaw[start - first : end - first], root[start - first : end - first]


def joined(old: np.ndarray, new: np.ndarray, start: int, end: int, fade: int) -> np.ndarray:
    """Frames start..end of `new` (T, ...), joined to `old` on both sides; at an end of the motion there is nothing."""
    result = new[start:end].copy()
    if start > 0:
        result += _fading(old, new, start - 1, -1, end - start, fade)
    if end < len(old):
        result += _fading(old, new, end, 1, end - start, fade)[::-1]
    return result


def bridged(old: np.ndarray, new: np.ndarray, start: int, end: int, frames: int) -> np.ndarray:
    """Frames start..end of `new` (T, ...), the first and last `frames` of them a cubic between `old` and `new`, in
    value and speed: motions that were drawn apart differ by more than fading hides."""
    result = new[start:end].copy()
    count = end - start
    both = start > 0 and end < len(old)
    frames = min(frames, count // 2 if both else count - 1)
    if frames < 1:
        return joined(old, new, start, end, 2)
    if start > 0:
        result[:frames] = _cubic(old[max(start - 2, 0) : start], new[start + frames : start + frames + 2], frames)
    if end < len(old):
        back = old[end : end + 2][::-1], new[max(end - frames - 2, 0) : end - frames][::-1]
        result[count - frames :] = _cubic(*back, frames)[::-1]
    return result


def _cubic(leaving: np.ndarray, reaching: np.ndarray, frames: int) -> np.ndarray:
    """(frames, ...) between the last of `leaving` and the first of `reaching`, one or two frames each (Hermite)."""
    time = (np.arange(1, frames + 1) / (frames + 1)).reshape(-1, *[1] * (leaving.ndim - 1))
    speeds = [np.diff(each, axis=0)[0] if len(each) > 1 else 0 * each[0] for each in (leaving, reaching)]
    return (
        (1 + 2 * time) * (1 - time) ** 2 * leaving[-1]
        + time * (1 - time) ** 2 * (frames + 1) * speeds[0]
        + time**2 * (3 - 2 * time) * reaching[0]
        - time**2 * (1 - time) * (frames + 1) * speeds[1]
    )


def looped(joints: np.ndarray, form: MotionFormat) -> np.ndarray:
    """Joints (T, J, 3) whose last frame leads to the first: within half a second the pose comes back to it. The path
    and the heading stay, so that a walk goes on from where it is."""
    whole = Articulation.of(joints, form)
    fade = max(2, round(SEAM_SECONDS * form.fps))

    def closed(values: np.ndarray) -> np.ndarray:
        going_on = np.stack([2 * values[-1] - values[-2], 3 * values[-1] - 2 * values[-2]])
        ways = (np.concatenate([values, after]) for after in (values[:2], going_on))
        return values + _fading(*ways, len(values), 1, len(values), fade)[::-1]

    root = whole.root.copy()
    root[:, 1] = closed(root[:, 1])
    return Articulation(whole.yaw, root, closed(whole.bones)).joints(form).astype(joints.dtype)


def _fading(old: np.ndarray, new: np.ndarray, seam: int, way: int, frames: int, fade: int) -> np.ndarray:
    """(frames, ...) what `old` is ahead of `new` at the frame `seam` beside a stretch, in value and speed, fading."""
    gap, beside = old[seam] - new[seam], seam + way
    speed = (old[seam] - old[beside]) - (new[seam] - new[beside]) if 0 <= beside < len(old) else np.zeros_like(gap)
    fade = min(fade, frames + 1)
    time = np.minimum(np.arange(1, frames + 1) / fade, 1.0).reshape(-1, *[1] * gap.ndim)
    return gap * (1 + 2 * time) * (1 - time) ** 2 + speed * fade * time * (1 - time) ** 2


def led_along(joints: np.ndarray, waypoints: Sequence[tuple[int, float, float]], form: MotionFormat) -> np.ndarray:
    """Joints (T, J, 3) whose root passes over waypoints (frame, x, z in metres), given in the order of their frames.

    Between two of them the path is turned and stretched as a whole, so that it keeps its shape, and the body turns with
    it, smoothly.
    """
    whole = Articulation.of(joints, form)
    flat = whole.root[:, 0] + 1j * whole.root[:, 2]
    frames, aims = [frame for frame, *_ in waypoints], np.array([x + 1j * z for _, x, z in waypoints])
    if frames[0] > 0:
        frames, aims = [0, *frames], np.concatenate([flat[:1], aims])
    places, turn, moved = np.arange(len(flat)), np.zeros(len(flat)), flat + (aims[0] - flat[0])
    if len(frames) > 1:
        had = np.diff(flat[frames])
        goes = np.abs(had) > STAYS  # what stays has no direction: it is moved as it is
        ratio = np.where(goes, np.diff(aims) / np.where(goes, had, 1), 1)
        middle = np.add(frames[:-1], frames[1:]) / 2
        turn = np.interp(places, middle, np.unwrap(np.angle(ratio)))
        steps = np.diff(flat) * np.interp(places, middle, np.abs(ratio))[1:] * np.exp(1j * turn[1:])
        moved = np.concatenate([[0], np.cumsum(steps)]) + aims[0]
        left = (aims - moved[frames])[:, None].view(float)
        left = PchipInterpolator(frames, left)(places.clip(max=frames[-1]))
        moved = moved + left[:, 0] + 1j * left[:, 1]
    root = np.stack([moved.real, whole.root[:, 1], moved.imag], axis=-1)
    # x + iz turns from +x towards +z, a heading from +z towards +x.
    return Articulation(whole.yaw - turn, root, whole.bones).joints(form).astype(joints.dtype)
