"""The rules of the semantic oracle: one function an attribute value, from joints to the events that show it.

A rule gets the `Signals` of a clip and the segment's attributes, and yields the events it found: the time, and for
each detail that the segment asks for (side, direction, ...) whether this event has it. T frames; metres, seconds,
degrees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from data.oracle.signals import LEFT, RIGHT, Signals, beats, runs, smoothed

NAMES = ("left", "right")
STAND = 0.96  # metres, the pelvis of a stand
JUMP_FLIGHT = 0.29  # seconds: longer flights are jumps, shorter ones a run's
RUN_SPEED = 2.45  # m/s, faster than a jog
SLOW_SPEED, FAST_SPEED = 0.82, 1.5  # m/s, of a walk

Segment = Mapping[str, str]


@dataclass(frozen=True)
class Finding:
    """An event: its time in seconds and which of the asked details it shows."""

    time: float
    details: dict[str, bool] = field(default_factory=dict)


Rule = Callable[[Signals, Segment], Iterator[Finding]]


def _middle(signals: Signals, stretch: slice) -> float:
    return 0.5 * (stretch.start + stretch.stop - 1) / signals.fps


# -- travelling ----------------------------------------------------------------------------------------------------


def _in_flight(signals: Signals) -> np.ndarray:
    """(T,) both feet are clear of the floor."""
    return signals.floor_gap.min(axis=1) > 0.035


def _flights(signals: Signals, shortest: int, longest: int) -> list[slice]:
    return [run for run in runs(_in_flight(signals), shortest, gap=0) if run.stop - run.start <= longest]


def _gait(signals: Signals, segment: Segment) -> Iterator[Finding]:
    fps = signals.fps
    speed = np.hypot(signals.ahead, signals.aside)
    sideways = np.abs(signals.aside) > np.abs(signals.ahead)
    for stretch in runs((speed > 0.28) & ~sideways, 0.8 * fps, gap=4):
        pace = float(np.percentile(speed[stretch], 75))
        airborne = _in_flight(signals)[stretch]
        # A jump is no stride: leave its flight out.
        for flight in _flights(signals, int(JUMP_FLIGHT * fps) + 1, 10**6):
            airborne = airborne & ~np.isin(np.arange(stretch.start, stretch.stop), np.arange(flight.start, flight.stop))
        flights = runs(airborne, 1, gap=0)
        running = len(flights) >= max(2, (stretch.stop - stretch.start) / fps * 0.8) and pace > 1.45
        kind = ("run" if pace > RUN_SPEED else "jog") if running else "walk"
        if kind == segment["locomotion"] and not (kind == "walk" and pace > 2.3):
            yield Finding(_middle(signals, stretch), _gait_details(signals, segment, stretch))


def _gait_details(signals: Signals, segment: Segment, stretch: slice) -> dict[str, bool]:
    turned = signals.yaw[stretch.stop - 1] - signals.yaw[stretch.start]
    length = signals.path[stretch.stop - 1] - signals.path[stretch.start]
    ahead = float(np.median(signals.ahead[stretch]))
    pace = float(np.percentile(np.abs(signals.ahead[stretch]), 65))
    details: dict[str, bool] = {}
    circle = abs(turned) >= 250 and length >= 1.8
    details["path"] = circle
    direction = segment.get("direction")
    if direction == "clockwise":
        details["direction"] = turned <= -200
    elif direction == "counterclockwise":
        details["direction"] = turned >= 200
    elif direction in NAMES:
        signed = turned if direction == "left" else -turned
        details["direction"] = ahead > 0 and 45 <= signed <= 160
    elif direction == "forward":
        details["direction"] = ahead > 0.3 and length >= 0.5 and abs(turned) < 75
    elif direction == "backward":
        details["direction"] = ahead < -0.25
    lean = float(np.median(signals.lean[stretch]))
    height = float(np.median(signals.pelvis[stretch, 1]))
    swing = float(np.ptp(signals.wrist[stretch, :, 2], axis=0).max())
    bounce = float(np.ptp(np.percentile(signals.pelvis[stretch, 1], [8, 92])))
    details["speed"] = pace < SLOW_SPEED if segment.get("speed") == "slow" else pace > FAST_SPEED
    details["manner"] = {
        "tired": lean > 8.5 and height > 0.855,
        "sneaky": lean > 6 and height < 0.855,
        "happy": swing > 0.6 and lean < 1.5 and bounce > 0.03,
        None: False,
    }[segment.get("manner")]
    return details


def _sidestep(signals: Signals, segment: Segment) -> Iterator[Finding]:
    for side, sign in zip(NAMES, (1, -1), strict=True):
        going = (sign * signals.aside > 0.22) & (np.abs(signals.ahead) < 0.8 * np.abs(signals.aside))
        for stretch in runs(going, 0.7 * signals.fps):
            moved = signals.aside[stretch].sum() / signals.fps
            if abs(moved) >= 0.35:
                yield Finding(_middle(signals, stretch), {"direction": side == segment.get("direction")})


def _turn(signals: Signals, segment: Segment) -> Iterator[Finding]:
    for side, sign in zip(NAMES, (1, -1), strict=True):
        for stretch in runs(sign * signals.yaw_rate > 14, 0.4 * signals.fps):
            turned = abs(signals.yaw[stretch.stop - 1] - signals.yaw[stretch.start])
            travelled = signals.path[stretch.stop - 1] - signals.path[stretch.start]
            wanted = segment.get("direction")
            if turned < 50 or travelled > 0.55 + 0.002 * turned:
                continue
            fits = turned >= 130 if wanted == "around" else side == wanted and turned < 145
            yield Finding(_middle(signals, stretch), {"direction": fits})


# -- the whole body ------------------------------------------------------------------------------------------------


def _jump(signals: Signals, segment: Segment) -> Iterator[Finding]:
    for flight in _flights(signals, int(JUMP_FLIGHT * signals.fps), int(1.2 * signals.fps)):
        if signals.pelvis[flight, 1].max() < STAND + 0.06:
            continue
        start, stop = max(flight.start - 2, 0), min(flight.stop + 1, signals.n_frames - 1)
        moved = float(np.linalg.norm((signals.pelvis[stop] - signals.pelvis[start])[[0, 2]]))
        fits = moved > 0.3 if segment.get("direction") == "forward" else moved < 0.3
        yield Finding(_middle(signals, flight), {"direction": fits})


def _split_stance(signals: Signals) -> np.ndarray:
    return signals.ankle[:, LEFT, 2] - signals.ankle[:, RIGHT, 2]


def _squat(signals: Signals, segment: Segment) -> Iterator[Finding]:
    low = (signals.pelvis[:, 1] < STAND - 0.27) & (np.abs(_split_stance(signals)) < 0.3)
    low &= signals.knee_height.min(axis=1) > 0.2
    for stretch in runs(low, 0.2 * signals.fps):
        after = signals.pelvis[stretch.stop :, 1]
        if (
            len(after)
            and after.max() > STAND - 0.16
            and not _in_flight(signals)[stretch.stop : stretch.stop + 10].any()
        ):
            yield Finding(_middle(signals, stretch))


def _sit(signals: Signals, segment: Segment) -> Iterator[Finding]:
    low = (signals.pelvis[:, 1] < 0.66) & (signals.ankle[..., 2].min(axis=1) > 0.12)
    low &= signals.knee_height.min(axis=1) > 0.3
    for stretch in runs(low, 0.45 * signals.fps):
        if signals.lean[stretch][-3:].mean() < 28:
            yield Finding(stretch.start / signals.fps)


def _kneel(signals: Signals, segment: Segment) -> Iterator[Finding]:
    low = (signals.pelvis[:, 1] < 0.66) & (signals.knee_height.min(axis=1) < 0.16)
    for stretch in runs(low, 0.35 * signals.fps):
        yield Finding(stretch.start / signals.fps)


def _lunge(signals: Signals, segment: Segment) -> Iterator[Finding]:
    split = _split_stance(signals)
    for side, sign in zip(NAMES, (1, -1), strict=True):
        deep = (sign * split > 0.5) & (signals.pelvis[:, 1] < 0.79) & (np.abs(signals.ahead) < 0.8)
        for stretch in runs(deep, 0.25 * signals.fps):
            if signals.knee_height[stretch].min() > 0.12:
                yield Finding(_middle(signals, stretch), {"leg_side": side == segment.get("leg_side")})


def _stand(signals: Signals, segment: Segment) -> Iterator[Finding]:
    moved = np.linalg.norm(signals.pelvis - signals.pelvis.mean(axis=0), axis=-1).max()
    quiet = moved < 0.12 and np.ptp(signals.yaw) < 25 and signals.pelvis[:, 1].min() > 0.86
    hands = smoothed(signals.wrist, 0.1 * signals.fps)
    quiet = quiet and np.ptp(hands, axis=0).max() < 0.2 and np.percentile(signals.floor_gap, 98) < 0.08
    head = smoothed(signals.head, 0.1 * signals.fps)
    if quiet and np.ptp(head[:, [0, 2]], axis=0).max() / 2 < 0.028:
        yield Finding(_middle(signals, slice(0, signals.n_frames)))


# -- arms ----------------------------------------------------------------------------------------------------------


def _by_arm(find: Callable[[Signals, int], Iterator[float]]) -> Rule:
    """The rule of what an arm does, of the times at which `find` sees it in the arm of a side.

    `side` holds when the wanted arm has one there and the other has none.
    """

    def rule(signals: Signals, segment: Segment) -> Iterator[Finding]:
        times = [list(find(signals, side)) for side in (LEFT, RIGHT)]
        for side in (LEFT, RIGHT):
            for time in times[side]:
                together = any(abs(time - other) < 0.8 for other in times[1 - side])
                yield Finding(time, {"side": ("both" if together else NAMES[side]) == segment.get("side")})

    return rule


@_by_arm
def _wave(signals: Signals, side: int) -> Iterator[float]:
    wrist, elbow = signals.wrist[:, side], signals.elbow[:, side]
    up = (wrist[:, 1] > 0.0) & (wrist[:, 1] > elbow[:, 1] + 0.08)
    for stretch in runs(up, 0.7 * signals.fps, gap=3):
        swing = wrist[stretch] - elbow[stretch]
        count = max(beats(swing[:, 0], 0.075), beats(swing[:, 2], 0.09))
        if count >= 4:
            yield _middle(signals, stretch)


@_by_arm
def _raise(signals: Signals, side: int) -> Iterator[float]:
    wrist, elbow = signals.wrist[:, side], signals.elbow[:, side]
    up = (wrist[:, 1] > 0.36) & (elbow[:, 1] > 0.12)
    for stretch in runs(up, 0.4 * signals.fps, gap=3):
        swing = wrist[stretch] - elbow[stretch]
        if beats(swing[:, 0], 0.09) <= 3 and not _in_flight(signals)[stretch].any():
            yield _middle(signals, stretch)


def _clap(signals: Signals, segment: Segment) -> Iterator[Finding]:
    front = (signals.wrist[..., 2].min(axis=1) > 0.12) & (signals.hands < 0.55)
    for stretch in runs(front, 0.6 * signals.fps, gap=3):
        hands = signals.hands[stretch]
        if hands.min() < 0.21 and beats(hands, 0.085) >= 3:
            yield Finding(_middle(signals, stretch))


@_by_arm
def _punch(signals: Signals, side: int) -> Iterator[float]:
    for stretch in _thrusts(signals, side):
        # From a guard before the chest, and back to it.
        before = signals.wrist[max(stretch.start - 5, 0) : stretch.start, side]
        after = signals.wrist[stretch.stop : stretch.stop + 7, side]
        if _has_guard(before) and _has_guard(after) and before[:, 1].max() < 0.17:
            yield _middle(signals, stretch)


def _has_guard(wrist: np.ndarray) -> bool:
    return bool(((wrist[:, 2] < 0.36) & (wrist[:, 1] > -0.28)).any())


def _thrusts(signals: Signals, side: int) -> list[slice]:
    wrist = signals.wrist[:, side]
    out = (wrist[:, 2] > 0.40) & (np.abs(wrist[:, 1]) < 0.22)
    return [stretch for stretch in runs(out, 1, gap=0) if stretch.stop - stretch.start <= 0.45 * signals.fps]


@_by_arm
def _throw(signals: Signals, side: int) -> Iterator[float]:
    wrist = signals.wrist[:, side]
    wound = (wrist[:, 2] < 0.02) & (wrist[:, 1] > 0.02)
    for stretch in runs(wound, 2, gap=1):
        end = stretch.stop
        follow = slice(end, min(end + int(0.45 * signals.fps), signals.n_frames))
        if follow.stop - follow.start < 3:
            continue
        if wrist[follow, 2].max() > 0.33 and signals.wrist_speed[follow, side].max() > 2.6:
            yield end / signals.fps


@_by_arm
def _point(signals: Signals, side: int) -> Iterator[float]:
    wrist = signals.wrist[:, side]
    out = (wrist[:, 2] > 0.40) & (np.abs(wrist[:, 1]) < 0.19) & (np.abs(wrist[:, 0]) < 0.32)
    for stretch in runs(out, 0.5 * signals.fps, gap=2):
        if signals.pelvis[stretch, 1].min() > STAND - 0.3 or signals.pelvis[stretch, 1].max() < 0.7:
            yield _middle(signals, stretch)


# -- legs and head -------------------------------------------------------------------------------------------------


def _kick(signals: Signals, segment: Segment) -> Iterator[Finding]:
    for side in (LEFT, RIGHT):
        ankle = signals.ankle[:, side]
        high = (ankle[:, 1] > 0.38) & (ankle[:, 2] > 0.4)
        for stretch in runs(high, 2, gap=1):
            if signals.floor_gap[stretch, 1 - side].min() < 0.1:
                yield Finding(_middle(signals, stretch), {"leg_side": NAMES[side] == segment.get("leg_side")})


def _head_beats(signals: Signals, segment: Segment, axis: int, size: float) -> Iterator[Finding]:
    """Stretches of 1.2 s of a body that hardly travels in which the head swings along an axis at least four times."""
    values = signals.head[:, axis] - smoothed(signals.head[:, axis], 0.5 * signals.fps)
    pace = np.hypot(signals.ahead, signals.aside)
    window = int(1.5 * signals.fps)
    found = np.zeros(signals.n_frames, dtype=bool)
    for start in range(0, max(signals.n_frames - window, 0) + 1, 2):
        part = slice(start, min(start + window, signals.n_frames))
        if beats(values[part], size) >= 3 and pace[part].mean() < 0.45:
            found[part] = True
    for stretch in runs(found, 1):
        yield Finding(_middle(signals, stretch))


def _look(signals: Signals, segment: Segment) -> Iterator[Finding]:
    sign = 1 if segment["head"] == "look_left" else -1
    aside = sign * smoothed(signals.head[:, 0], 1.0)
    turned = sign * smoothed(signals.chest_yaw, 1.5)
    for stretch in runs((aside > 0.028) & (turned > 8), 0.6 * signals.fps):
        yield Finding(_middle(signals, stretch))


RULES: dict[tuple[str, str], Rule] = {
    ("locomotion", "walk"): _gait, ("locomotion", "jog"): _gait, ("locomotion", "run"): _gait,
    ("locomotion", "sidestep"): _sidestep, ("locomotion", "turn"): _turn, ("locomotion", "jump"): _jump,
    ("locomotion", "squat"): _squat, ("locomotion", "sit"): _sit, ("locomotion", "kneel"): _kneel,
    ("locomotion", "lunge"): _lunge, ("locomotion", "stand"): _stand,
    ("arm", "wave"): _wave, ("arm", "raise"): _raise, ("arm", "clap"): _clap, ("arm", "punch"): _punch,
    ("arm", "throw"): _throw, ("arm", "point"): _point, ("leg", "kick"): _kick,
    ("head", "nod"): partial(_head_beats, axis=1, size=0.035),
    ("head", "shake"): partial(_head_beats, axis=0, size=0.05),
    ("head", "look_left"): _look, ("head", "look_right"): _look,
}  # fmt: skip
