"""Gestures of the mini dataset: what arms and head do, standing or on the way. Angles in degrees, times in seconds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data.mini.actions import Action, Stage, blend_arms, keyed, varied
from data.mini.body import LEFT, SIGN
from data.mini.gait import pulse, smooth


def wave(rng: np.random.Generator, sides: Sequence[int], start: float, end: float) -> Action:
    """The forearm swings to and fro beside the head."""
    raised = rng.uniform(72, 112)
    base = varied(rng, (14.0, 0.0, 80.0, 0.0), 7.0)
    rate = rng.uniform(1.35, 1.95)
    swing = rng.uniform(25, 34)
    phase = rng.uniform(0, 2 * np.pi)
    mirrored = rng.random() < 0.7

    def play(stage: Stage, start: float, end: float) -> None:
        times = stage.times
        weight = pulse(times, start, end, 0.5, 0.5)
        for side in sides:
            turn = 2 * np.pi * rate * (times - start) + phase
            beat = np.sin(turn if side == LEFT or mirrored else turn + np.pi)
            angles = np.empty((len(times), 4))
            angles[:, 0], angles[:, 1], angles[:, 2] = base[0], raised, base[2]
            # The forearm stands upright whatever the height of the elbow.
            angles[:, 1] += 3.0 * beat
            angles[:, 3] = np.clip(180.0 - raised + 3.0 + swing * beat, 8.0, 140.0)
            blend_arms(stage, weight, angles, [side])
            stage.pose.shrug[:, side] += weight * 6.0
        if len(sides) == 1:
            stage.pose.lean += weight * 2.5 * SIGN[sides[0]]

    return Action(play, (start, end))


def raise_arms(rng: np.random.Generator, sides: Sequence[int], start: float, end: float) -> Action:
    """The arm goes up above the head and stays there for a while."""
    sideways = rng.random() < 0.3
    top = varied(rng, (8.0, 166.0, 0.0, 9.0) if sideways else (165.0, 8.0, 0.0, 9.0))
    ease = rng.uniform(0.6, 0.8)

    def play(stage: Stage, start: float, end: float) -> None:
        weight = pulse(stage.times, start, end, ease, ease)
        blend_arms(stage, weight, top, sides)
        stage.pose.shrug[:, sides] += weight[:, None] * 14.0

    return Action(play, (start, end))


def clap(rng: np.random.Generator, sides: Sequence[int], start: float, end: float) -> Action:
    """Both hands meet in front of the chest several times."""
    rate = rng.uniform(1.3, 1.8)
    raised = rng.uniform(38, 52)
    phase = rng.uniform(0, 2 * np.pi)
    open = rng.uniform(30, 38)

    def play(stage: Stage, start: float, end: float) -> None:
        times = stage.times
        weight = pulse(times, start, end, 0.45, 0.45)
        beat = 0.5 + 0.5 * np.cos(2 * np.pi * rate * (times - start) + phase)
        angles = np.empty((len(times), 4))
        angles[:, 0] = raised
        angles[:, 1] = 6.0 + 12.0 * beat
        angles[:, 2] = -50.0 + open * beat
        angles[:, 3] = 70.0
        blend_arms(stage, weight, angles)

    return Action(play, (start, end))


def punch(rng: np.random.Generator, sides: Sequence[int], start: float, end: float) -> Action:
    """One to three straight punches from a guard."""
    side = sides[0]
    room = end - start - 0.8
    count = int(np.clip(np.floor(room / rng.uniform(0.55, 0.75)), 1, 3))
    beat = room / count
    guard = varied(rng, (28.0, 10.0, -18.0, 122.0))
    out = varied(rng, (86.0, 2.0, -10.0, 7.0), 4.0)
    turn = rng.uniform(22, 30)

    def play(stage: Stage, start: float, end: float) -> None:
        times = stage.times
        weight = pulse(times, start, end, 0.4, 0.45)
        extended = np.zeros(len(times))
        for index in range(count):
            begin = start + 0.4 + index * beat
            extended += pulse(times, begin, begin + 0.52, 0.2, 0.26)
        angles = np.array(guard) + extended[:, None] * (np.array(out) - np.array(guard))
        blend_arms(stage, weight, angles, [side])
        blend_arms(stage, 0.9 * weight, guard, [1 - side])
        # Left of the body is the positive turn: a right punch turns the chest to the left.
        stage.pose.turn += -SIGN[side] * (turn * extended - 6.0) * weight
        stage.pose.shake += SIGN[side] * turn * 0.8 * extended * weight
        stage.pose.bend += 5.0 * extended * weight
        stage.shift(forward=0.03 * extended * weight)
        stage.pose.height -= 0.04 * weight

    return Action(play, (start, end))


def throw(rng: np.random.Generator, sides: Sequence[int], start: float, end: float) -> Action:
    """An overhand throw: the hand goes back behind the head, then forward and down."""
    side = sides[0]
    release = start + (end - start) * rng.uniform(0.48, 0.56)
    back = varied(rng, (8.0, 98.0, 96.0, 96.0), 4.0)
    out = varied(rng, (112.0, 18.0, 10.0, 16.0), 4.0)
    low = varied(rng, (42.0, -4.0, -15.0, 16.0), 4.0)
    turn = rng.uniform(26, 36)

    def play(stage: Stage, start: float, end: float, release: float) -> None:
        times = stage.times
        weight = pulse(times, start, end, 0.45, 0.5)
        keys = [(release - 0.24, back), (release, out), (release + 0.3, low)]
        blend_arms(stage, weight, keyed(times, keys), [side])
        forward = smooth((times - release + 0.3) / 0.4)
        swing = (1 - forward) * smooth((times - start) / 0.5) - forward * smooth((end - times) / 0.6)
        # Backward for the throwing side first, then through.
        stage.pose.turn += SIGN[side] * turn * swing
        stage.pose.shake -= SIGN[side] * turn * 0.8 * swing
        stage.pose.bend += -9.0 * np.maximum(swing, 0) + 20.0 * np.maximum(-swing, 0)
        stage.shift(forward=-0.07 * swing)
        stage.pose.height -= 0.03 * weight
        aim = pulse(times, start, release + 0.15, 0.5, 0.35)
        blend_arms(stage, 0.8 * aim, (52.0, 22.0, 0.0, 35.0), [1 - side])

    return Action(play, (start, end, release))


def point(rng: np.random.Generator, sides: Sequence[int], start: float, end: float) -> Action:
    """The straight arm points ahead and stays."""
    aim = varied(rng, (90.0, 7.0, 0.0, 6.0), 4.0)
    ease = rng.uniform(0.4, 0.55)

    def play(stage: Stage, start: float, end: float) -> None:
        weight = pulse(stage.times, start, end, ease, ease)
        level = np.tile(aim, (len(stage.times), 1))
        level[:, 0] += stage.pose.bend + stage.pose.tilt
        blend_arms(stage, weight, level, sides)

    return Action(play, (start, end))


def nod(rng: np.random.Generator, start: float, end: float) -> Action:
    """The head nods several times."""
    rate, swing = rng.uniform(1.1, 1.6), rng.uniform(22, 27)

    def play(stage: Stage, start: float, end: float) -> None:
        weight = pulse(stage.times, start, end, 0.3, 0.3)
        beat = np.sin(2 * np.pi * rate * (stage.times - start))
        stage.pose.nod += weight * (8.0 + swing * beat)
        stage.pose.bend += weight * 2.5 * beat

    return Action(play, (start, end))


def shake(rng: np.random.Generator, start: float, end: float) -> Action:
    """The head turns to and fro: "no"."""
    rate, swing = rng.uniform(1.1, 1.6), rng.uniform(46, 54)
    phase = 0.0 if rng.random() < 0.5 else np.pi

    def play(stage: Stage, start: float, end: float) -> None:
        weight = pulse(stage.times, start, end, 0.3, 0.3)
        beat = np.sin(2 * np.pi * rate * (stage.times - start) + phase)
        stage.pose.shake += weight * swing * beat
        stage.pose.turn += weight * 4.0 * beat
        stage.pose.nod += weight * 6.0

    return Action(play, (start, end))


def look(rng: np.random.Generator, side: int, start: float, end: float) -> Action:
    """The head and some of the chest turn to a side and stay for a while."""
    angle = rng.uniform(62, 74)

    def play(stage: Stage, start: float, end: float) -> None:
        weight = pulse(stage.times, start, end, 0.5, 0.5) * SIGN[side]
        stage.pose.shake += weight * angle
        stage.pose.turn += weight * 20.0
        stage.pose.nod += np.abs(weight) * 4.0

    return Action(play, (start, end))
