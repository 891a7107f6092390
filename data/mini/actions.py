"""Movements of the whole body and of the legs in the mini dataset, and the stage on which every action is played.

An action writes into the pose channels of one clip (see `data.mini.body.Pose`). Angles in degrees, times in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from data.mini.body import LEFT, RIGHT, SIGN, Foot, Pose, forward_of, left_of
from data.mini.gait import Swing, Travel, pulse, smooth, stand_place

GRAVITY = 9.81

Angles = tuple[float, float, float, float]  # flexion, abduction, outward twist, elbow


@dataclass
class Stage:
    """What an action may touch: frame times (T,), the pose, both feet and the root path."""

    times: np.ndarray
    pose: Pose
    feet: tuple[Foot, Foot]
    trip: Travel

    def shift(self, forward: np.ndarray | float = 0.0, left: np.ndarray | float = 0.0) -> None:
        """Moves the pelvis by metres along its heading."""
        yaw = self.pose.yaw
        self.pose.path += np.asarray(forward)[..., None] * forward_of(yaw) + np.asarray(left)[..., None] * left_of(yaw)


def keyed(times: np.ndarray, keys: Sequence[tuple[float, Angles]]) -> np.ndarray:
    """(T, 4) angles that pass the keys (time, angles) at rest in each."""
    result = np.tile(np.array(keys[0][1], dtype=np.float64), (len(times), 1))
    for (start, before), (end, after) in pairwise(keys):
        share = smooth((times - start) / (end - start))[:, None]
        inside = times >= start
        result[inside] = (np.array(before) * (1 - share) + np.array(after) * share)[inside]
    return result


def blend_arm(stage: Stage, side: int, weight: np.ndarray, angles: np.ndarray) -> None:
    """Takes an arm from what it does to `angles` (T, 4) by `weight` (T,)."""
    arm = stage.pose.arms[:, side]
    stage.pose.arms[:, side] = arm + weight[:, None] * (angles - arm)


def varied(rng: np.random.Generator, angles: Angles, spread: float = 5.0) -> Angles:
    """The angles, each off by up to `spread`."""
    return tuple(float(angle + rng.uniform(-spread, spread)) for angle in angles)  # type: ignore[return-value]


class Kick:
    """The leg swings back, then up in front of the body."""

    def __init__(self, rng: np.random.Generator, side: int, start: float, end: float) -> None:
        self.side, self.start, self.end = side, start, end
        self.strike = start + (end - start) * rng.uniform(0.48, 0.54)
        self.height = rng.uniform(68, 92)

    def apply(self, stage: Stage) -> None:
        """Writes the action into the pose and the foot."""
        times, side, strike = stage.times, self.side, self.strike
        foot = stage.feet[side]
        leg = keyed(
            times,
            [
                (strike - 0.68, (0.0, 0.0, 12.0, 0.0)),
                (strike - 0.32, (-18.0, 3.0, 64.0, 0.0)),
                (strike, (self.height, 0.0, 6.0, 0.0)),
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
        for arm in (LEFT, RIGHT):
            blend_arm(stage, arm, 0.75 * weight, np.tile((16.0, 30.0, 0.0, 42.0), (len(times), 1)))


class Squat:
    """The hips go down and back between flat feet, then up again; once or twice."""

    def __init__(self, rng: np.random.Generator, start: float, end: float) -> None:
        self.start, self.end = start, end
        self.count = 2 if end - start > 3.4 else 1
        self.depth = rng.uniform(0.40, 0.50)
        self.arms = rng.random() < 0.75
        self.hold = rng.uniform(0.0, 0.3)

    def apply(self, stage: Stage) -> None:
        """Writes the action into the pose."""
        times = stage.times
        each = (self.end - self.start) / self.count
        ease = (each - self.hold) / 2
        down = sum(
            pulse(times, self.start + index * each, self.start + (index + 1) * each, ease, ease)
            for index in range(self.count)
        )
        stage.pose.height -= self.depth * down
        stage.shift(forward=-0.13 * down)
        stage.pose.tilt += 26.0 * down
        stage.pose.bend += 14.0 * down
        stage.pose.nod -= 24.0 * down
        target = (104.0, 6.0, 0.0, 14.0) if self.arms else (52.0, 4.0, -30.0, 92.0)
        for side in (LEFT, RIGHT):
            blend_arm(stage, side, down, np.tile(target, (len(times), 1)))


class Sit:
    """Sits down on an unseen chair and stays."""

    def __init__(self, rng: np.random.Generator, start: float, end: float) -> None:
        self.start, self.end = start, end
        self.height, self.back = rng.uniform(0.48, 0.54), rng.uniform(0.36, 0.41)
        self.knees = varied(rng, (36.0, 6.0, -12.0, 42.0), 4.0)

    def apply(self, stage: Stage) -> None:
        """Writes the action into the pose."""
        times = stage.times
        share = smooth((times - self.start) / (self.end - self.start))
        stage.pose.height += (self.height - stage.pose.height) * share
        stage.shift(forward=-self.back * share)
        leaning = np.sin(np.pi * np.clip((times - self.start) / (self.end - self.start) * 0.94, 0, 1)) ** 2
        stage.pose.bend += 26.0 * leaning + 3.0 * share
        stage.pose.tilt += 16.0 * leaning - 6.0 * share
        stage.pose.nod -= 16.0 * leaning
        for side in (LEFT, RIGHT):
            blend_arm(stage, side, share, np.tile(self.knees, (len(times), 1)))


class Lunge:
    """A long step ahead, the hips sink, and back again; with `kneel` the other knee goes to the floor and stays."""

    def __init__(self, rng: np.random.Generator, side: int, start: float, end: float, kneel: bool) -> None:
        self.side, self.start, self.end, self.kneel = side, start, end, kneel
        self.reach = rng.uniform(0.58, 0.63) if kneel else rng.uniform(0.70, 0.80)
        self.forward = self.reach - 0.19 if kneel else 0.52 * self.reach
        self.height = 0.515 if kneel else rng.uniform(0.63, 0.68)
        self.hips = rng.random() < 0.5

    def steps(self, trip: Travel) -> list[tuple[int, Swing]]:
        """The steps that belong to it."""
        place, yaw = stand_place(trip, self.side, self.start)
        ahead = place + self.reach * forward_of(np.array(yaw - SIGN[self.side] * np.radians(7.0)))
        steps = [
            (self.side, Swing(self.start + 0.1, self.start + 0.62, ahead, yaw, 0.09, 0.8, 14.0, -12.0, 0.15)),
        ]
        if not self.kneel:
            steps.append((self.side, Swing(self.end - 0.62, self.end - 0.1, place, yaw, 0.09, 1.0, 8.0, 10.0, 0.15)))
        return steps

    def apply(self, stage: Stage) -> None:
        """Writes the action into the pose and the standing foot's heel."""
        times = stage.times
        if self.kneel:
            forward, down = (
                smooth((times - self.start) / 0.9),
                smooth((times - self.start - 0.35) / (self.end - self.start - 0.35)),
            )
        else:
            forward = pulse(times, self.start + 0.1, self.end - 0.05, 0.75, 0.75)
            down = pulse(times, self.start + 0.25, self.end - 0.2, 0.75, 0.75)
        stage.shift(forward=self.forward * forward)
        stage.pose.height += (self.height - stage.pose.height) * down
        stage.feet[1 - self.side].pitch += (66.0 if self.kneel else 50.0) * np.maximum(forward * 0.45, down)
        stage.pose.bend += 4.0 * down
        target = (14.0, 26.0, -30.0, 92.0) if self.hips and not self.kneel else (24.0, 8.0, 0.0, 30.0)
        for side in (LEFT, RIGHT):
            blend_arm(stage, side, down, np.tile(target, (len(times), 1)))


class KneelBoth:
    """Goes down on both knees and stays."""

    def __init__(self, rng: np.random.Generator, start: float, end: float) -> None:
        self.start, self.end = start, end
        self.forward, self.height = 0.46, 0.515

    def apply(self, stage: Stage) -> None:
        """Writes the action into the pose and both heels."""
        times = stage.times
        share = smooth((times - self.start) / (self.end - self.start))
        early = smooth((times - self.start) / (0.75 * (self.end - self.start)))
        stage.shift(forward=self.forward * share)
        stage.pose.height += (self.height - stage.pose.height) * share
        stage.pose.bend += 18.0 * np.sin(np.pi * share) ** 2
        for foot in stage.feet:
            foot.pitch += 66.0 * early
        for side in (LEFT, RIGHT):
            blend_arm(stage, side, share, np.tile((12.0, 6.0, -10.0, 34.0), (len(times), 1)))


class Jump:
    """Crouch, take off with both feet, fly, land and recover; `distance` metres ahead."""

    CROUCH = 0.24
    TOES = 0.045  # how much higher the pelvis is on the toes, at take-off and landing

    def __init__(self, rng: np.random.Generator, start: float, distance: float) -> None:
        self.start, self.distance = start, distance
        self.flight = rng.uniform(0.43, 0.53)
        self.takeoff_speed = GRAVITY * self.flight / 2
        self.dip = rng.uniform(0.45, 0.6)
        self.push = 2 * (self.CROUCH + self.TOES) / self.takeoff_speed
        self.takeoff = start + self.dip + self.push
        self.land = self.takeoff + self.flight
        self.absorb = 2 * (0.20 + self.TOES) / self.takeoff_speed
        self.end = self.land + self.absorb + 0.55
        self.arm_top = rng.uniform(110, 165)

    def steps(self, trip: Travel) -> list[tuple[int, Swing]]:
        """Both feet leave and reach the floor together."""
        peak = GRAVITY * self.flight**2 / 8
        result = []
        for side in (LEFT, RIGHT):
            place, yaw = stand_place(trip, side, self.end)
            swing = Swing(self.takeoff, self.land, place, yaw, peak + 0.035, 1.0, 48.0, 22.0, self.push, 0.09, True)
            result.append((side, swing))
        return result

    def apply(self, stage: Stage) -> None:
        """Writes the action into the pose."""
        times = stage.times
        rise = np.zeros(len(times))
        dipping = times < self.takeoff - self.push
        rise[dipping] = -self.CROUCH * smooth((times[dipping] - self.start) / self.dip)
        pushing = (times >= self.takeoff - self.push) & (times < self.takeoff)
        share = (times[pushing] - self.takeoff + self.push) / self.push
        rise[pushing] = -self.CROUCH + (self.CROUCH + self.TOES) * share**2
        flying = (times >= self.takeoff) & (times < self.land)
        since = times[flying] - self.takeoff
        rise[flying] = self.TOES + self.takeoff_speed * since - 0.5 * GRAVITY * since**2
        sinking = (times >= self.land) & (times < self.land + self.absorb)
        share = 1 - (times[sinking] - self.land) / self.absorb
        rise[sinking] = -0.20 + (0.20 + self.TOES) * share**2
        late = times >= self.land + self.absorb
        rise[late] = -0.20 * (1 - smooth((times[late] - self.land - self.absorb) / 0.55))
        stage.pose.height += rise
        crouched = np.clip(-rise / self.CROUCH, 0, 1)
        stage.pose.tilt += 16.0 * crouched
        stage.pose.bend += 16.0 * crouched
        stage.pose.nod -= 14.0 * crouched
        stage.shift(forward=-0.05 * crouched)
        back = pulse(times, self.start, self.takeoff - 0.4 * self.push, self.dip, self.push)
        up = pulse(times, self.takeoff - self.push, self.land + 0.25, self.push + 0.12, 0.45)
        for side in (LEFT, RIGHT):
            blend_arm(stage, side, back, np.tile((-38.0, 12.0, 0.0, 18.0), (len(times), 1)))
            blend_arm(stage, side, up, np.tile((self.arm_top, 14.0, 0.0, 26.0), (len(times), 1)))
