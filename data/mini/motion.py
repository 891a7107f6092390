"""One clip of the mini dataset: what its segments ask for, laid out in time, turned into joints.

A clip is one or two segments. A segment is a flat dict of attributes (see `data.mini.captions` for the words and
`data.oracle` for the rules); what a caption does not say is free and drawn from the clip's generator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from data.mini import actions as act
from data.mini import gestures as gesture
from data.mini.body import LEFT, RIGHT, SIDES, SIGN, STAND_HEIGHT, Pose, forward_of, left_of, pose_joints
from data.mini.gait import Gait, GaitSpan, Travel, feet_of, scaled, travel
from storage.files import read_json
from utils.representation import canonicalize

FPS = 20
MIN_FRAMES, MAX_FRAMES = 41, 121  # joints; features have one row less, a multiple of four
PAUSES = {"jump": (0.05, 0.25), "squat": (0.1, 0.3), "sit": (0.6, 1.4), "kneel": (0.5, 1.3), "lunge": (0.05, 0.3)}
ALWAYS = 60.0  # seconds: a span that reaches beyond the clip

Segment = Mapping[str, str]

_TABLE = read_json(Path(__file__).with_name("gaits.json"))
WALK, JOG, RUN, SIDESTEP, TURN = (Gait(**_TABLE[name]) for name in ("walk", "jog", "run", "sidestep", "turn"))
BACKWARD = replace(WALK, **_TABLE["backward"])


ARMS = {
    "wave": gesture.wave, "raise": gesture.raise_arms, "clap": gesture.clap, "punch": gesture.punch,
    "throw": gesture.throw, "point": gesture.point,
}  # fmt: skip


class Scene:
    """Collects the spans, steps and actions of a clip while its segments are laid out; time 0 is the clip's start."""

    def __init__(self, rng: np.random.Generator, n_segments: int) -> None:
        self.rng = rng
        self.alone = n_segments == 1
        self.spans: list[GaitSpan] = []
        self.actions: list[act.Action] = []
        self.clock = 0.0
        self.end: float | None = None

    # -- segments ----------------------------------------------------------------------------------------------

    def add(self, segment: Segment, first: bool, last: bool) -> None:
        """Lays out one segment after what is there."""
        rng = self.rng
        locomotion = segment.get("locomotion")
        begin = self.clock
        if locomotion in ("walk", "jog", "run", "sidestep"):
            self._travel(segment, first, last)
        elif locomotion == "turn":
            self._turn(segment, first)
        elif locomotion is not None:
            self._body(locomotion, segment, first)
        gestures = [name for name in ("arm", "leg", "head") if name in segment]
        if locomotion is None or locomotion == "stand":
            self.clock += rng.uniform(0.1, 0.35)
            for name in gestures:
                length = self._gesture_length(segment, name)
                self._gesture(segment, name, self.clock, self.clock + length)
                self.clock += length
            if locomotion == "stand" and not gestures:
                self.clock += rng.uniform(2.2, 5.2)
            self.clock += rng.uniform(0.05, 0.35)
        elif gestures:
            # While travelling: the gesture fills most of the segment.
            start = begin + rng.uniform(0.0, 0.35)
            end = max(self.clock - rng.uniform(0.0, 0.3), start + 1.7)
            self.clock = max(self.clock, end)
            for name in gestures:
                self._gesture(segment, name, start, end)

    def _travel(self, segment: Segment, first: bool, last: bool) -> None:
        rng = self.rng
        gait = travelling(segment, rng)
        circle = segment.get("path") == "circle"
        length = rng.uniform(2.4, 5.0) if self.alone else rng.uniform(1.7, 2.5)
        if segment["locomotion"] == "run":
            length = min(length, 3.8)
        if circle:
            length = rng.uniform(5.2, 5.9)
            side = {"counterclockwise": 1.0, "clockwise": -1.0}.get(
                segment.get("direction", ""), rng.choice([1.0, -1.0])
            )
            gait = replace(gait, turn_rate=side * rng.uniform(315, 385) / length)
            gait = replace(gait, chest_lean=gait.chest_lean - side * 2.5 * gait.speed)
        stride_in = first and rng.random() < (0.8 if circle else 0.55)
        stride_out = last and rng.random() < (0.9 if circle else 0.55)
        ramp = {"walk": 0.6, "sidestep": 0.6, "jog": 0.8, "run": 1.1}[segment["locomotion"]]
        if not stride_in:
            self.clock += ramp * 0.5 * (not first) + rng.uniform(0.1, 0.35)
        start = self.clock
        turn = segment["locomotion"] == "walk" and segment.get("direction") in ("left", "right")
        if turn:
            length = max(length, rng.uniform(3.0, 3.8))
        self.clock += length
        self.spans.append(GaitSpan(-ALWAYS if stride_in else start, ALWAYS if stride_out else self.clock, gait, ramp))
        if turn:
            side = 1.0 if segment["direction"] == "left" else -1.0
            bent = replace(gait, chest_lean=-side * 3.0)
            middle = start + length * rng.uniform(0.45, 0.55)
            half = rng.uniform(0.6, 0.8)
            span = self.spans.pop()
            self.spans += [
                replace(span, end=middle - half),
                GaitSpan(middle - half, middle + half, bent, ramp, side * rng.uniform(75, 110)),
                replace(span, start=middle + half),
            ]
        if not stride_out:
            self.clock += ramp * 0.5 + (rng.uniform(0.1, 0.3) if last else 0.0)
        elif last:
            self.end = self.clock

    def _turn(self, segment: Segment, first: bool) -> None:
        rng = self.rng
        if segment["direction"] == "around":
            angle, length = rng.uniform(165, 195) * rng.choice([1.0, -1.0]), rng.uniform(1.9, 2.5)
        else:
            angle = rng.uniform(80, 110) * (1.0 if segment["direction"] == "left" else -1.0)
            length = rng.uniform(1.2, 1.6)
        self.clock += rng.uniform(0.3, 0.5)
        self.spans.append(GaitSpan(self.clock, self.clock + length, TURN, 0.45, angle))
        self.clock += length + 0.25 + rng.uniform(0.1, 0.3)

    def _body(self, locomotion: str, segment: Segment, first: bool) -> None:
        rng = self.rng
        self.clock += rng.uniform(0.15, 0.4) if first else rng.uniform(0.25, 0.45)
        start = self.clock
        if locomotion == "jump":
            ahead = segment.get("direction", rng.choice(["up", "forward"])) == "forward"
            distance = rng.uniform(0.55, 0.95) if ahead else 0.0
            flight = rng.uniform(0.43, 0.53)
            action = act.jump(rng, start, flight)
            if distance:
                _, takeoff, land, _ = action.moments
                gait = Gait(speed=distance / (flight + 0.12))
                self.spans.append(GaitSpan(takeoff - 0.06, land + 0.06, gait, 0.12))
        elif locomotion == "squat":
            end = start + rng.uniform(1.6, 2.4) * (2 if self.alone and rng.random() < 0.25 else 1)
            action = act.squat(rng, start, end)
        elif locomotion == "sit":
            action = act.sit(rng, start, start + rng.uniform(1.1, 1.5))
        elif locomotion == "kneel":
            end = start + rng.uniform(1.2, 1.6)
            if rng.random() < 0.3:
                action = act.kneel_both(start, end)
            else:
                action = act.lunge(rng, int(rng.integers(2)), start, end, kneel=True)
        elif locomotion == "lunge":
            end = start + rng.uniform(2.2, 2.9)
            action = act.lunge(rng, self._side(segment, "leg_side"), start, end, kneel=False)
        else:
            return
        self.actions.append(action)
        self.clock = action.moments[-1] + rng.uniform(*PAUSES[locomotion])

    # -- gestures ----------------------------------------------------------------------------------------------

    def _side(self, segment: Segment, name: str) -> int:
        given = segment.get(name)
        if given is None:
            return RIGHT if self.rng.random() < 0.7 else LEFT
        return LEFT if given == "left" else RIGHT

    def _gesture_length(self, segment: Segment, name: str) -> float:
        low, high = {
            "wave": (2.1, 3.4), "raise": (2.0, 3.2), "clap": (2.0, 3.2), "punch": (1.6, 2.8), "throw": (1.6, 2.1),
            "point": (1.8, 2.8), "kick": (1.7, 2.1), "nod": (1.8, 2.6), "shake": (1.8, 2.6), "look": (1.7, 2.5),
        }[segment[name].split("_")[0]]  # fmt: skip
        return float(self.rng.uniform(low, high if self.alone else 0.6 * low + 0.4 * high))

    def _gesture(self, segment: Segment, name: str, start: float, end: float) -> None:
        kind, _, turned = segment[name].partition("_")
        if name == "arm":
            sides = [LEFT, RIGHT] if segment.get("side") == "both" else [self._side(segment, "side")]
            self.actions.append(ARMS[kind](self.rng, sides, start, end))
        elif name == "leg":
            self.actions.append(act.kick(self.rng, self._side(segment, "leg_side"), start, end))
        elif turned:
            self.actions.append(gesture.look(self.rng, LEFT if turned == "left" else RIGHT, start, end))
        else:
            self.actions.append({"nod": gesture.nod, "shake": gesture.shake}[kind](self.rng, start, end))


def travelling(segment: Segment, rng: np.random.Generator) -> Gait:
    """The gait that a segment asks for, with this clip's own stride, swing and posture."""
    locomotion, speed, manner = segment["locomotion"], segment.get("speed"), segment.get("manner")
    if locomotion == "sidestep":
        side = 1.0 if segment["direction"] == "left" else -1.0
        gait = replace(SIDESTEP, sideways=side * rng.uniform(0.38, 0.5))
    elif locomotion == "jog":
        gait = paced(JOG, rng.uniform(1.9, 2.3))
    elif locomotion == "run":
        gait = paced(RUN, rng.uniform(2.8, 3.5))
        if segment.get("path") == "circle":
            gait = paced(RUN, rng.uniform(2.75, 3.0))
    elif segment.get("direction") == "backward":
        gait = paced(BACKWARD, -rng.uniform(0.55, 0.9))
    else:
        pace = {"slow": (0.52, 0.68), "fast": (1.68, 1.95), None: (0.98, 1.36)}[speed]
        gait = paced(WALK, rng.uniform(*pace))
        if speed == "fast":
            gait = replace(gait, elbow=gait.elbow + 30.0, bend=5.0, elbow_swing=20.0)
    if manner == "tired":
        gait = paced(WALK, rng.uniform(0.6, 0.85))
        gait = replace(gait, bend=rng.uniform(22, 29), head=rng.uniform(14, 22))
    elif manner == "happy":
        gait = paced(WALK, rng.uniform(1.2, 1.5))
        gait = replace(gait, cadence=gait.cadence * 1.05, arm_swing=rng.uniform(38, 45))
    elif manner == "sneaky":
        gait = paced(WALK, rng.uniform(0.5, 0.7))
        gait = replace(gait, crouch=rng.uniform(0.15, 0.19), bend=rng.uniform(24, 30))
    gait = replace(gait, **_TABLE.get(manner, {}))
    vary = {"arm_swing": 0.18, "elbow": 0.15, "sway": 0.25, "bob": 0.12, "pelvis_twist": 0.25, "chest_twist": 0.25}
    gait = scaled(gait, **{name: 1.0 + float(rng.uniform(-width, width)) for name, width in vary.items()})
    bend, head = float(rng.uniform(-1.5, 2.0)), float(rng.uniform(-4.0, 4.0))
    return replace(gait, bend=gait.bend + bend, head=gait.head + head, toe_out=float(rng.uniform(4.0, 10.0)))


def paced(gait: Gait, speed: float) -> Gait:
    """The gait at another speed: cadence and stride length share the change, swings follow the stride."""
    ratio = abs(speed / gait.speed)
    stride = ratio**0.5
    gait = scaled(gait, cadence=ratio**0.45, arm_swing=stride, lift_pitch=stride, land_pitch=stride, bob=ratio)
    return replace(scaled(gait, pelvis_twist=stride, elbow_swing=stride), speed=speed)


def drift(times: np.ndarray, rng: np.random.Generator, size: float) -> np.ndarray:
    """(T,) slow random movement of about `size`."""
    rates, phases = rng.uniform(0.12, 0.45, 3), rng.uniform(0, 2 * np.pi, 3)
    return size * 0.6 * np.sin(2 * np.pi * rates * times[:, None] + phases).sum(axis=1)


def base_pose(trip: Travel, times: np.ndarray, rng: np.random.Generator) -> Pose:
    """The pose of travelling and standing, before any action: stride, arm swing, breathing, idle sway."""
    pose = Pose(len(times))
    channel = {name: trip.at(values, times) for name, values in trip.channels.items()}
    phase = 2 * np.pi * trip.at(trip.phase, times)
    still = 1.0 - np.clip(channel["cadence"] / 0.8, 0, 1)
    pose.yaw = trip.at(trip.yaw, times)
    pose.path = trip.at(trip.path, times)
    sway = channel["sway"] * np.sin(phase - 0.3) + drift(times, rng, 0.010) * (0.3 + 0.7 * still)
    pose.path += sway[:, None] * left_of(pose.yaw)
    pose.path += (drift(times, rng, 0.006) * still)[:, None] * forward_of(pose.yaw)
    bob = -channel["bob"] * np.cos(2 * phase - 4 * np.pi * channel["bob_phase"])
    pose.height = STAND_HEIGHT - channel["crouch"] + bob
    pose.twist = -channel["pelvis_twist"] * np.cos(phase) + drift(times, rng, 1.2) * still
    pose.turn = (channel["pelvis_twist"] + channel["chest_twist"]) * np.cos(phase) + drift(times, rng, 1.5)
    pose.roll = channel["pelvis_roll"] * np.sin(phase) + drift(times, rng, 0.8) * still
    pose.lean = channel["chest_lean"] + 0.6 * pose.roll + drift(times, rng, 0.8)
    breath = np.sin(2 * np.pi * rng.uniform(0.22, 0.32) * times + rng.uniform(0, 2 * np.pi))
    pose.tilt = 0.25 * channel["bend"]
    pose.bend = 0.75 * channel["bend"] + drift(times, rng, 0.8) - 0.7 * breath
    pose.nod = channel["head"] + drift(times, rng, 2.2)
    # The head stays on the path while the chest turns below it.
    pose.shake = -0.8 * (pose.turn + pose.twist) + drift(times, rng, 3.5) * (0.3 + 0.7 * still)
    pose.cock = -0.7 * pose.roll + 0.5 * pose.lean
    hang = pose.bend + pose.tilt
    for side in SIDES:
        swing = -SIGN[side] * np.cos(phase - channel["arm_lag"])
        arm = pose.arms[:, side]
        arm[:, 0] = channel["arm_offset"] + channel["arm_swing"] * swing + 0.8 * hang + drift(times, rng, 1.6)
        arm[:, 1] = channel["arm_out"] + drift(times, rng, 1.2)
        arm[:, 2] = -10.0 - 0.18 * channel["elbow"] + drift(times, rng, 2.5)
        arm[:, 3] = np.maximum(channel["elbow"] + channel["elbow_swing"] * swing + drift(times, rng, 2.0), 3.0)
        pose.shrug[:, side] = 1.2 * breath
    return pose


def make_clip(segments: Sequence[Segment], rng: np.random.Generator) -> np.ndarray:
    """Joints of a clip that shows the segments one after the other.

    Args:
        segments: attributes of each segment.
        rng: the clip's own generator; the same state gives the same clip.

    Returns:
        (T, 22, 3) float32 metres, y up, canonical; T is 41 to 121 and one more than a multiple of four.
    """
    while True:
        scene = Scene(rng, len(segments))
        for index, segment in enumerate(segments):
            scene.add(segment, index == 0, index == len(segments) - 1)
        length = scene.end if scene.end is not None else scene.clock
        if length * FPS <= MAX_FRAMES:
            break  # else drawn again: nothing that was begun is cut off
    n_frames = int(np.clip(round(length * FPS / 4) * 4 + 1, MIN_FRAMES, MAX_FRAMES))

    # Some time before the clip, so that clips may begin in mid-stride.
    before = float(rng.uniform(2.0, 3.2))
    spans = [replace(span, start=span.start + before, end=span.end + before) for span in scene.spans]
    trip = travel(spans, before + n_frames / FPS + 0.8, int(rng.integers(2)))
    actions = [replace(each, moments=tuple(moment + before for moment in each.moments)) for each in scene.actions]
    for action in actions:
        trip.extra += action.steps(trip, *action.moments)
    times = before + np.arange(n_frames) / FPS
    feet = feet_of(trip, times)
    while not (feet[LEFT].planted[0] or feet[RIGHT].planted[0]):
        # In mid-flight of a run: the clip begins where a foot is on the floor.
        times = times + 0.5 / FPS
        feet = feet_of(trip, times)
    stage = act.Stage(times, base_pose(trip, times, rng), feet)
    for action in actions:
        action.play(stage, *action.moments)
    return canonicalize(pose_joints(stage.pose, stage.feet))
