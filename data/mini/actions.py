"""Movements of the whole body and of the legs in the mini dataset, and the stage on which every action is played.

An action writes into the pose channels of one clip (see `data.mini.body.Pose`). Angles in degrees, times in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from data.mini.body import SIDES, SIGN, Foot, Pose, forward_of, left_of
from data.mini.gait import Swing, Travel, pulse, smooth, stand_place

GRAVITY = 9.81
CROUCH, SUNK = 0.24, 0.20  # metres, before a jump and after its landing
TOES = 0.045  # how much higher the pelvis is on the toes, at take-off and landing

Angles = tuple[float, float, float, float]  # flexion, abduction, outward twist, elbow


@dataclass
class Stage:
    """What an action may touch: frame times (T,), the pose and both feet."""

    times: np.ndarray
    pose: Pose
    feet: tuple[Foot, Foot]

    def shift(self, forward: np.ndarray | float = 0.0, left: np.ndarray | float = 0.0) -> None:
        """Moves the pelvis by metres along its heading."""
        yaw = self.pose.yaw
        self.pose.path += np.asarray(forward)[..., None] * forward_of(yaw) + np.asarray(left)[..., None] * left_of(yaw)


@dataclass(frozen=True)
class Action:
    """A movement at some moments of a clip.

    Attributes:
        play: writes it into the pose and the feet, given the moments.
        moments: seconds.
        steps: the footsteps that belong to it, given the moments.
    """

    play: Callable[..., None]
    moments: tuple[float, ...]
    steps: Callable[..., list[tuple[int, Swing]]] = lambda trip, *moments: []


def keyed(times: np.ndarray, keys: Sequence[tuple[float, Angles]]) -> np.ndarray:
    """(T, 4) angles that pass the keys (time, angles) at rest in each."""
    result = np.tile(np.array(keys[0][1], dtype=np.float64), (len(times), 1))
    for (start, before), (end, after) in pairwise(keys):
        share = smooth((times - start) / (end - start))[:, None]
        inside = times >= start
        result[inside] = (np.array(before) * (1 - share) + np.array(after) * share)[inside]
    return result


def blend_arms(stage: Stage, weight: np.ndarray, angles: np.ndarray | Angles, sides: Sequence[int] = SIDES) -> None:
    """Takes arms from what they do to `angles` (T, 4) or (4,) by `weight` (T,)."""
    for side in sides:
        arm = stage.pose.arms[:, side]
        stage.pose.arms[:, side] = arm + weight[:, None] * (np.asarray(angles) - arm)


def varied(rng: np.random.Generator, angles: Angles, spread: float = 5.0) -> Angles:
    """The angles, each off by up to `spread`."""
    return tuple(float(angle + rng.uniform(-spread, spread)) for angle in angles)  # type: ignore[return-value]


def kick(rng: np.random.Generator, side: int, start: float, end: float) -> Action:
    """The leg swings back, then up in front of the body."""
    strike = start + (end - start) * rng.uniform(0.48, 0.54)
    height = rng.uniform(68, 92)

    def play(stage: Stage, strike: float) -> None:
        times = stage.times
        foot = stage.feet[side]
        leg = keyed(
            times,
            [
                (strike - 0.68, (0.0, 0.0, 12.0, 0.0)),
                (strike - 0.32, (-18.0, 3.0, 64.0, 0.0)),
                (strike, (height, 0.0, 6.0, 0.0)),
                (strike + 0.34, (34.0, 0.0, 62.0, 0.0)),
                (strike + 0.68, (0.0, 0.0, 14.0, 0.0)),
            ],
        )
        foot.free[:] = pulse(times, strike - 0.62, strike + 0.74, 0.2, 0.26)
        foot.flex[:], foot.abduct[:], foot.knee[:] = leg[:, 0], leg[:, 1], leg[:, 2]
        foot.planted &= foot.free <= 0
        foot.ankle[:, 1] += 0.07 * pulse(times, strike - 0.72, strike + 0.86, 0.2, 0.18)
        weight = pulse(times, strike - 0.9, strike + 1.0, 0.45, 0.5)
        stage.shift(left=-SIGN[side] * 0.075 * weight)
        up = pulse(times, strike - 0.25, strike + 0.4, 0.25, 0.35)
        stage.pose.height -= 0.035 * weight
        stage.pose.bend -= 13.0 * up
        stage.pose.tilt -= 7.0 * up
        stage.pose.roll -= SIGN[side] * -3.0 * weight
        blend_arms(stage, 0.75 * weight, (16.0, 30.0, 0.0, 42.0))

    return Action(play, (strike,))


def squat(rng: np.random.Generator, start: float, end: float) -> Action:
    """The hips go down and back between flat feet, then up again; once or twice."""
    count = 2 if end - start > 3.4 else 1
    depth = rng.uniform(0.40, 0.50)
    arms = rng.random() < 0.75
    hold = rng.uniform(0.0, 0.3)

    def play(stage: Stage, start: float, end: float) -> None:
        times = stage.times
        each = (end - start) / count
        ease = (each - hold) / 2
        down = sum(pulse(times, start + index * each, start + (index + 1) * each, ease, ease) for index in range(count))
        stage.pose.height -= depth * down
        stage.shift(forward=-0.13 * down)
        stage.pose.tilt += 26.0 * down
        stage.pose.bend += 14.0 * down
        stage.pose.nod -= 24.0 * down
        target = (104.0, 6.0, 0.0, 14.0) if arms else (52.0, 4.0, -30.0, 92.0)
        blend_arms(stage, down, target)

    return Action(play, (start, end))


def sit(rng: np.random.Generator, start: float, end: float) -> Action:
    """Sits down on an unseen chair and stays."""
    height, back = rng.uniform(0.48, 0.54), rng.uniform(0.36, 0.41)
    knees = varied(rng, (36.0, 6.0, -12.0, 42.0), 4.0)

    def play(stage: Stage, start: float, end: float) -> None:
        times = stage.times
        share = smooth((times - start) / (end - start))
        stage.pose.height += (height - stage.pose.height) * share
        stage.shift(forward=-back * share)
        leaning = np.sin(np.pi * np.clip((times - start) / (end - start) * 0.94, 0, 1)) ** 2
        stage.pose.bend += 26.0 * leaning + 3.0 * share
        stage.pose.tilt += 16.0 * leaning - 6.0 * share
        stage.pose.nod -= 16.0 * leaning
        blend_arms(stage, share, knees)

    return Action(play, (start, end))


def lunge(rng: np.random.Generator, side: int, start: float, end: float, kneel: bool) -> Action:
    """A long step ahead, the hips sink, and back again; with `kneel` the other knee goes to the floor and stays."""
    reach = rng.uniform(0.58, 0.63) if kneel else rng.uniform(0.70, 0.80)
    travelled = reach - 0.19 if kneel else 0.52 * reach
    height = 0.515 if kneel else rng.uniform(0.63, 0.68)
    hips = rng.random() < 0.5

    def steps(trip: Travel, start: float, end: float) -> list[tuple[int, Swing]]:
        place, yaw = stand_place(trip, side, start)
        ahead = place + reach * forward_of(np.array(yaw - SIGN[side] * np.radians(7.0)))
        there = Swing(start + 0.1, start + 0.62, ahead, yaw, 0.09, 0.8, 14.0, -12.0, 0.15)
        back = Swing(end - 0.62, end - 0.1, place, yaw, 0.09, 1.0, 8.0, 10.0, 0.15)
        return [(side, there)] if kneel else [(side, there), (side, back)]

    def play(stage: Stage, start: float, end: float) -> None:
        times = stage.times
        if kneel:
            forward, down = smooth((times - start) / 0.9), smooth((times - start - 0.35) / (end - start - 0.35))
        else:
            forward = pulse(times, start + 0.1, end - 0.05, 0.75, 0.75)
            down = pulse(times, start + 0.25, end - 0.2, 0.75, 0.75)
        stage.shift(forward=travelled * forward)
        stage.pose.height += (height - stage.pose.height) * down
        stage.feet[1 - side].pitch += (66.0 if kneel else 50.0) * np.maximum(forward * 0.45, down)
        stage.pose.bend += 4.0 * down
        blend_arms(stage, down, (14.0, 26.0, -30.0, 92.0) if hips and not kneel else (24.0, 8.0, 0.0, 30.0))

    return Action(play, (start, end), steps)


def kneel_both(start: float, end: float) -> Action:
    """Goes down on both knees and stays."""
    forward, height = 0.46, 0.515

    def play(stage: Stage, start: float, end: float) -> None:
        times = stage.times
        share = smooth((times - start) / (end - start))
        early = smooth((times - start) / (0.75 * (end - start)))
        stage.shift(forward=forward * share)
        stage.pose.height += (height - stage.pose.height) * share
        stage.pose.bend += 18.0 * np.sin(np.pi * share) ** 2
        for foot in stage.feet:
            foot.pitch += 66.0 * early
        blend_arms(stage, share, (12.0, 6.0, -10.0, 34.0))

    return Action(play, (start, end))


def jump(rng: np.random.Generator, start: float, flight: float) -> Action:
    """Crouch, take off with both feet, fly for some seconds, land and recover."""
    takeoff_speed = GRAVITY * flight / 2
    dip = rng.uniform(0.45, 0.6)
    push = 2 * (CROUCH + TOES) / takeoff_speed
    absorb = 2 * (SUNK + TOES) / takeoff_speed
    takeoff = start + dip + push
    land = takeoff + flight
    arm_top = rng.uniform(110, 165)

    def steps(trip: Travel, start: float, takeoff: float, land: float, end: float) -> list[tuple[int, Swing]]:
        peak = GRAVITY * flight**2 / 8
        result = []
        for side in SIDES:
            place, yaw = stand_place(trip, side, end)
            result.append((side, Swing(takeoff, land, place, yaw, peak + 0.035, 1.0, 48.0, 22.0, push, 0.09, True)))
        return result

    def play(stage: Stage, start: float, takeoff: float, land: float, end: float) -> None:
        times = stage.times
        rise = np.zeros(len(times))
        dipping = times < takeoff - push
        rise[dipping] = -CROUCH * smooth((times[dipping] - start) / dip)
        pushing = (times >= takeoff - push) & (times < takeoff)
        share = (times[pushing] - takeoff + push) / push
        rise[pushing] = -CROUCH + (CROUCH + TOES) * share**2
        flying = (times >= takeoff) & (times < land)
        since = times[flying] - takeoff
        rise[flying] = TOES + takeoff_speed * since - 0.5 * GRAVITY * since**2
        sinking = (times >= land) & (times < land + absorb)
        share = 1 - (times[sinking] - land) / absorb
        rise[sinking] = -SUNK + (SUNK + TOES) * share**2
        late = times >= land + absorb
        rise[late] = -SUNK * (1 - smooth((times[late] - land - absorb) / 0.55))
        stage.pose.height += rise
        crouched = np.clip(-rise / CROUCH, 0, 1)
        stage.pose.tilt += 16.0 * crouched
        stage.pose.bend += 16.0 * crouched
        stage.pose.nod -= 14.0 * crouched
        stage.shift(forward=-0.05 * crouched)
        back = pulse(times, start, takeoff - 0.4 * push, dip, push)
        up = pulse(times, takeoff - push, land + 0.25, push + 0.12, 0.45)
        blend_arms(stage, back, (-38.0, 12.0, 0.0, 18.0))
        blend_arms(stage, up, (arm_top, 14.0, 0.0, 26.0))

    return Action(play, (start, takeoff, land, land + absorb + 0.55), steps)
