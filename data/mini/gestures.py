"""Gestures of the mini dataset: what arms and head do, standing or on the way. Angles in degrees, times in seconds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data.mini.actions import Stage, blend_arm, keyed, varied
from data.mini.body import LEFT, RIGHT, SIGN
from data.mini.gait import pulse, smooth


class Wave:
    """The forearm swings to and fro beside the head."""

    def __init__(self, rng: np.random.Generator, sides: Sequence[int], start: float, end: float) -> None:
        self.sides, self.start, self.end = sides, start, end
        self.raised = rng.uniform(72, 112)
        self.base = varied(rng, (14.0, 0.0, 80.0, 0.0), 7.0)
        self.rate = rng.uniform(1.35, 1.95)
        self.swing = rng.uniform(25, 34)
        self.phase = rng.uniform(0, 2 * np.pi)
        self.mirrored = rng.random() < 0.7

    def apply(self, stage: Stage) -> None:
        """Writes the action into the pose."""
        times = stage.times
        weight = pulse(times, self.start, self.end, 0.5, 0.5)
        for side in self.sides:
            turn = 2 * np.pi * self.rate * (times - self.start) + self.phase
            beat = np.sin(turn if side == LEFT or self.mirrored else turn + np.pi)
            angles = np.empty((len(times), 4))
            angles[:, 0], angles[:, 1], angles[:, 2] = self.base[0], self.raised, self.base[2]
            # The forearm stands upright whatever the height of the elbow.
            angles[:, 1] += 3.0 * beat
            angles[:, 3] = np.clip(180.0 - self.raised + 3.0 + self.swing * beat, 8.0, 140.0)
            blend_arm(stage, side, weight, angles)
            stage.pose.shrug[:, side] += weight * 6.0
        if len(self.sides) == 1:
            stage.pose.lean += weight * 2.5 * SIGN[self.sides[0]]


class Raise:
    """The arm goes up above the head and stays there for a while."""

    def __init__(self, rng: np.random.Generator, sides: Sequence[int], start: float, end: float) -> None:
        self.sides, self.start, self.end = sides, start, end
        sideways = rng.random() < 0.3
        self.top = varied(rng, (8.0, 166.0, 0.0, 9.0) if sideways else (165.0, 8.0, 0.0, 9.0))
        self.ease = rng.uniform(0.6, 0.8)

    def apply(self, stage: Stage) -> None:
        """Writes the action into the pose."""
        weight = pulse(stage.times, self.start, self.end, self.ease, self.ease)
        for side in self.sides:
            blend_arm(stage, side, weight, np.tile(self.top, (len(stage.times), 1)))
            stage.pose.shrug[:, side] += weight * 14.0


class Clap:
    """Both hands meet in front of the chest several times."""

    def __init__(self, rng: np.random.Generator, sides: Sequence[int], start: float, end: float) -> None:
        self.start, self.end = start, end
        self.rate = rng.uniform(1.3, 1.8)
        self.raised = rng.uniform(38, 52)
        self.phase = rng.uniform(0, 2 * np.pi)
        self.open = rng.uniform(30, 38)

    def apply(self, stage: Stage) -> None:
        """Writes the action into the pose."""
        times = stage.times
        weight = pulse(times, self.start, self.end, 0.45, 0.45)
        beat = 0.5 + 0.5 * np.cos(2 * np.pi * self.rate * (times - self.start) + self.phase)
        for side in (LEFT, RIGHT):
            angles = np.empty((len(times), 4))
            angles[:, 0] = self.raised
            angles[:, 1] = 6.0 + 12.0 * beat
            angles[:, 2] = -50.0 + self.open * beat
            angles[:, 3] = 70.0
            blend_arm(stage, side, weight, angles)


class Punch:
    """One to three straight punches from a guard."""

    def __init__(self, rng: np.random.Generator, sides: Sequence[int], start: float, end: float) -> None:
        self.side, self.start, self.end = sides[0], start, end
        room = end - start - 0.8
        self.count = int(np.clip(np.floor(room / rng.uniform(0.55, 0.75)), 1, 3))
        self.beat = room / self.count
        self.guard = varied(rng, (28.0, 10.0, -18.0, 122.0))
        self.out = varied(rng, (86.0, 2.0, -10.0, 7.0), 4.0)
        self.turn = rng.uniform(22, 30)

    def apply(self, stage: Stage) -> None:
        """Writes the action into the pose."""
        times = stage.times
        weight = pulse(times, self.start, self.end, 0.4, 0.45)
        extended = np.zeros(len(times))
        for index in range(self.count):
            begin = self.start + 0.4 + index * self.beat
            extended += pulse(times, begin, begin + 0.52, 0.2, 0.26)
        angles = np.array(self.guard) + extended[:, None] * (np.array(self.out) - np.array(self.guard))
        blend_arm(stage, self.side, weight, angles)
        other = 1 - self.side
        blend_arm(stage, other, 0.9 * weight, np.tile(self.guard, (len(times), 1)))
        # Left of the body is the positive turn: a right punch turns the chest to the left.
        stage.pose.turn += -SIGN[self.side] * (self.turn * extended - 6.0) * weight
        stage.pose.shake += SIGN[self.side] * self.turn * 0.8 * extended * weight
        stage.pose.bend += 5.0 * extended * weight
        stage.shift(forward=0.03 * extended * weight)
        stage.pose.height -= 0.04 * weight


class Throw:
    """An overhand throw: the hand goes back behind the head, then forward and down."""

    def __init__(self, rng: np.random.Generator, sides: Sequence[int], start: float, end: float) -> None:
        self.side, self.start, self.end = sides[0], start, end
        self.release = start + (end - start) * rng.uniform(0.48, 0.56)
        self.back = varied(rng, (8.0, 98.0, 96.0, 96.0), 4.0)
        self.out = varied(rng, (112.0, 18.0, 10.0, 16.0), 4.0)
        self.low = varied(rng, (42.0, -4.0, -15.0, 16.0), 4.0)
        self.turn = rng.uniform(26, 36)

    def apply(self, stage: Stage) -> None:
        """Writes the action into the pose."""
        times, side = stage.times, self.side
        release = self.release
        weight = pulse(times, self.start, self.end, 0.45, 0.5)
        keys = [(release - 0.24, self.back), (release, self.out), (release + 0.3, self.low)]
        blend_arm(stage, side, weight, keyed(times, keys))
        forward = smooth((times - release + 0.3) / 0.4)
        swing = (1 - forward) * smooth((times - self.start) / 0.5) - forward * smooth((self.end - times) / 0.6)
        # Backward for the throwing side first, then through.
        stage.pose.turn += SIGN[side] * self.turn * swing
        stage.pose.shake -= SIGN[side] * self.turn * 0.8 * swing
        stage.pose.bend += -9.0 * np.maximum(swing, 0) + 20.0 * np.maximum(-swing, 0)
        stage.shift(forward=-0.07 * swing)
        stage.pose.height -= 0.03 * weight
        aim = pulse(times, self.start, release + 0.15, 0.5, 0.35)
        blend_arm(stage, 1 - side, 0.8 * aim, np.tile((52.0, 22.0, 0.0, 35.0), (len(times), 1)))


class Point:
    """The straight arm points ahead and stays."""

    def __init__(self, rng: np.random.Generator, sides: Sequence[int], start: float, end: float) -> None:
        self.sides, self.start, self.end = sides, start, end
        self.aim = varied(rng, (90.0, 7.0, 0.0, 6.0), 4.0)
        self.ease = rng.uniform(0.4, 0.55)

    def apply(self, stage: Stage) -> None:
        """Writes the action into the pose."""
        weight = pulse(stage.times, self.start, self.end, self.ease, self.ease)
        for side in self.sides:
            level = np.tile(self.aim, (len(stage.times), 1))
            level[:, 0] += stage.pose.bend + stage.pose.tilt
            blend_arm(stage, side, weight, level)


class Nod:
    """The head nods several times."""

    def __init__(self, rng: np.random.Generator, start: float, end: float) -> None:
        self.start, self.end = start, end
        self.rate, self.swing = rng.uniform(1.1, 1.6), rng.uniform(22, 27)

    def apply(self, stage: Stage) -> None:
        """Writes the action into the pose."""
        weight = pulse(stage.times, self.start, self.end, 0.3, 0.3)
        beat = np.sin(2 * np.pi * self.rate * (stage.times - self.start))
        stage.pose.nod += weight * (8.0 + self.swing * beat)
        stage.pose.bend += weight * 2.5 * beat


class Shake:
    """The head turns to and fro: "no"."""

    def __init__(self, rng: np.random.Generator, start: float, end: float) -> None:
        self.start, self.end = start, end
        self.rate, self.swing = rng.uniform(1.1, 1.6), rng.uniform(46, 54)
        self.phase = 0.0 if rng.random() < 0.5 else np.pi

    def apply(self, stage: Stage) -> None:
        """Writes the action into the pose."""
        weight = pulse(stage.times, self.start, self.end, 0.3, 0.3)
        beat = np.sin(2 * np.pi * self.rate * (stage.times - self.start) + self.phase)
        stage.pose.shake += weight * self.swing * beat
        stage.pose.turn += weight * 4.0 * beat
        stage.pose.nod += weight * 6.0


class Look:
    """The head and some of the chest turn to a side and stay for a while."""

    def __init__(self, rng: np.random.Generator, side: int, start: float, end: float) -> None:
        self.side, self.start, self.end = side, start, end
        self.angle = rng.uniform(62, 74)

    def apply(self, stage: Stage) -> None:
        """Writes the action into the pose."""
        weight = pulse(stage.times, self.start, self.end, 0.5, 0.5) * SIGN[self.side]
        stage.pose.shake += weight * self.angle
        stage.pose.turn += weight * 20.0
        stage.pose.nod += np.abs(weight) * 4.0
