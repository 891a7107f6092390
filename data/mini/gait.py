"""Locomotion of the mini dataset: root path, stride phase and footsteps, so that planted feet never slide.

A `GaitSpan` says how the body travels during a stretch of time. Spans are blended smoothly, integrated to the pelvis
path, and the stride phase is laid out so that every stop ends with both feet on the floor. All times are seconds;
the root path lives on a fine time grid, feet and poses on the frames.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import numpy as np

from data.mini.body import SIDES, SIGN, Foot, forward_of, left_of

STEP = 0.01  # seconds, the grid on which the root path is integrated
REST_PHASE = 0.1  # stride phase of a stand: both feet are on the floor
ANKLE_BEHIND = 0.035  # metres that the ankles of a stand lie behind the pelvis


@dataclass(frozen=True)
class Gait:
    """How one travels. Lengths in metres, angles in degrees, `cadence` in strides (two steps) a second.

    `duty` is the part of a stride that a foot is on the floor; `center` where in its stance it passes below the pelvis.
    """

    speed: float = 0.0
    sideways: float = 0.0
    turn_rate: float = 0.0
    cadence: float = 0.0
    duty: float = 0.74
    center: float = 0.5
    width: float = 0.095
    toe_out: float = 7.0
    lift: float = 0.05
    lift_skew: float = 0.8
    lift_pitch: float = 10.0
    hover: float = 0.0
    land_pitch: float = 0.0
    crouch: float = 0.0
    bob: float = 0.0
    bob_phase: float = 0.06
    sway: float = 0.0
    pelvis_roll: float = 0.0
    pelvis_twist: float = 0.0
    chest_twist: float = 0.0
    chest_lean: float = 0.0
    bend: float = 1.0
    head: float = 0.0
    arm_swing: float = 0.0
    arm_offset: float = 0.0
    arm_out: float = 12.0
    arm_lag: float = 0.2
    elbow: float = 14.0
    elbow_swing: float = 0.0


@dataclass(frozen=True)
class GaitSpan:
    """A gait from `start` to `end`; `ramp` seconds of blending at both ends, `angle` (degrees) fixes the whole turn."""

    start: float
    end: float
    gait: Gait
    ramp: float = 0.55
    angle: float | None = None


@dataclass
class Swing:
    """One step: the foot leaves the floor at `lift`, is placed at `land`; `hover` keeps it high before it lands."""

    lift: float
    land: float
    place: np.ndarray
    yaw: float
    height: float
    skew: float
    lift_pitch: float
    land_pitch: float
    rise: float
    settle: float = 0.12
    ballistic: bool = False
    hover: float = 0.0


@dataclass
class Travel:
    """The blended gait on the fine grid: `times`, `path` (n, 2), `yaw`, `phase` (n,), `channels` and `active` (n,)."""

    times: np.ndarray
    channels: dict[str, np.ndarray]
    yaw: np.ndarray
    path: np.ndarray
    phase: np.ndarray
    active: np.ndarray
    extra: list[tuple[int, Swing]] = field(default_factory=list)

    def at(self, values: np.ndarray, times: np.ndarray | float) -> np.ndarray:
        """Values (n,) or (n, 2) of the grid interpolated at times."""
        if values.ndim == 1:
            return np.interp(times, self.times, values)
        return np.stack([np.interp(times, self.times, column) for column in values.T], axis=-1)


def smooth(value: np.ndarray | float) -> np.ndarray:
    """0 to 1 with flat ends, clipped outside."""
    clipped = np.clip(value, 0.0, 1.0)
    return clipped * clipped * (3.0 - 2.0 * clipped)


def gentle(value: np.ndarray) -> np.ndarray:
    """0 to 1 with ends flatter than those of `smooth`."""
    return value**3 * (10.0 - 15.0 * value + 6.0 * value**2)


def pulse(times: np.ndarray, start: float, end: float, ease_in: float, ease_out: float) -> np.ndarray:
    """1 between `start` and `end`, easing in after `start` and out before `end`."""
    return smooth((times - start) / max(ease_in, 1e-3)) * smooth((end - times) / max(ease_out, 1e-3))


def _weights(times: np.ndarray, spans: list[GaitSpan]) -> np.ndarray:
    """(spans, n) weights whose sum is at most 1; neighbours cross-fade."""
    result = np.zeros((len(spans), len(times)))
    for index, span in enumerate(spans):
        result[index] = smooth((times - span.start) / span.ramp + 0.5) * smooth((span.end - times) / span.ramp + 0.5)
    total = result.sum(axis=0)
    return result / np.maximum(total, 1.0)


def travel(spans: list[GaitSpan], duration: float, first_foot: int) -> Travel:
    """Integrates the spans to a root path and a stride phase; the path starts at the origin facing +z."""
    times = np.arange(int(np.ceil(duration / STEP)) + 1) * STEP
    weights = _weights(times, spans)
    idle = Gait()

    def beyond_idle(name: str, weights: np.ndarray) -> np.ndarray:
        """(n,) weighted sum over the spans."""
        values = (getattr(span.gait, name) - getattr(idle, name) for span in spans)
        return sum((weight * value for weight, value in zip(weights, values, strict=True)), np.zeros(len(times)))

    channels = {item.name: getattr(idle, item.name) + beyond_idle(item.name, weights) for item in fields(Gait)}
    # The stride keeps its beat while speed is gained or lost: steps get shorter, not slower.
    early = weights**0.15
    for name in ("cadence", "duty"):
        channels[name] = getattr(idle, name) + beyond_idle(name, early) / np.maximum(early.sum(axis=0), 1.0)
    active = weights.sum(axis=0) > 0.002

    rate = np.zeros(len(times))
    for weight, span in zip(weights, spans, strict=True):
        turned = weight * span.gait.turn_rate
        if span.angle is not None:
            turned = weight * (span.angle / max(weight.sum() * STEP, 1e-6))
        rate += np.radians(turned)
    yaw = np.concatenate([[0.0], np.cumsum(0.5 * (rate[1:] + rate[:-1])) * STEP])
    velocity = channels["speed"][:, None] * forward_of(yaw) + channels["sideways"][:, None] * left_of(yaw)
    path = np.concatenate([np.zeros((1, 2)), np.cumsum(0.5 * (velocity[1:] + velocity[:-1]), axis=0) * STEP])

    start = REST_PHASE + 0.5 * first_foot
    phase = np.full(len(times), start)
    begins = np.flatnonzero(active & ~np.concatenate([[False], active[:-1]]))
    for begin in begins:
        stops = np.flatnonzero(~active[begin:])
        end = begin + int(stops[0]) if len(stops) else len(times)
        gained = np.cumsum(channels["cadence"][begin:end]) * STEP
        before = phase[begin - 1 if begin else 0]
        aside = channels["sideways"][begin:end].sum()
        rest = REST_PHASE + (0.5 if aside > 0 else 0.0)  # the foot on the side of the way steps first, the other last
        if begin and aside and (before - rest) % 1.0 > 0.25:
            before += 0.5  # during the stand, where it changes nothing else
        if len(stops) and gained[-1] > 0.1:
            # Whole steps only, so that the halt finds both feet on the floor.
            steps, goal = (1.0, (rest - before) % 1.0) if aside else (0.5, 0.0)
            whole = max(np.round((gained[-1] - goal) / steps) * steps, 1.0) + goal
            gained *= whole / gained[-1]
        phase[begin:end] = before + gained
        phase[end:] = phase[end - 1]
    return Travel(times, channels, yaw, path, phase, active)


def _stance_time(trip: Travel, land: float, lift: float) -> float:
    """The moment of a stance when the pelvis is where the foot belongs; a halt inside the stance decides."""
    first, last = np.searchsorted(trip.times, [max(land, 0.0), min(lift, trip.times[-1])])
    still = np.flatnonzero(~trip.active[first : last + 1])
    if len(still):
        return float(trip.times[first + still[0]])
    center = float(trip.at(trip.channels["center"], land))
    if land <= 0.0:
        return 0.0
    return land + center * (lift - land)


def stand_place(trip: Travel, side: int, time: float) -> tuple[np.ndarray, float]:
    """Where a foot belongs below the pelvis at a time: x and z, and the way it points."""
    yaw = float(trip.at(trip.yaw, time))
    width = float(trip.at(trip.channels["width"], time))
    place = trip.at(trip.path, time) + SIGN[side] * width * left_of(yaw) - ANKLE_BEHIND * forward_of(yaw)
    return place, yaw + SIGN[side] * np.radians(float(trip.at(trip.channels["toe_out"], time)))


def footsteps(trip: Travel, side: int) -> tuple[tuple[np.ndarray, float], list[Swing]]:
    """The first placement of a foot and its steps in order, from the stride phase."""
    phase = trip.phase + 0.5 * side
    duty = trip.channels["duty"]
    stride = int(np.floor(phase[0]))
    events = []
    while True:
        lifted = np.flatnonzero((phase >= stride + duty) & (phase < stride + 1) & trip.active)
        landed = np.flatnonzero(phase >= stride + 1)
        if not len(landed):
            if len(lifted) and trip.active[-1]:
                events.append((trip.times[lifted[0]], trip.times[-1] + 0.3))
            break
        if len(lifted):
            events.append((trip.times[lifted[0]], trip.times[landed[0]]))
        stride += 1
    lifts = [lift for lift, _ in events] + [np.inf]
    swings = []
    for index, (lift, land) in enumerate(events):
        place, yaw = stand_place(trip, side, min(_stance_time(trip, land, lifts[index + 1]), trip.times[-1]))
        before = events[index - 1][1] if index else 0.0
        height, skew, lift_pitch, land_pitch, hover = (
            float(trip.at(trip.channels[name], 0.5 * (lift + min(land, trip.times[-1]))))
            for name in ("lift", "lift_skew", "lift_pitch", "land_pitch", "hover")
        )
        rise = float(np.clip(0.5 * (lift - before), 0.08, 0.34))
        swings.append(Swing(lift, land, place, yaw, height, skew, lift_pitch, land_pitch, rise, hover=hover))
    start = stand_place(trip, side, _stance_time(trip, 0.0, lifts[0]))
    return start, swings


def place_foot(start: tuple[np.ndarray, float], swings: list[Swing], times: np.ndarray) -> Foot:
    """The foot at frame times (T,): standing between its steps, carried from place to place in them."""
    count = len(times)
    place, yaw = start
    flat = np.tile(place, (count, 1))
    height, pitch, heading = np.zeros(count), np.zeros(count), np.full(count, yaw)
    planted = np.ones(count, dtype=bool)
    for swing in swings:
        after = times >= swing.land
        during = (times > swing.lift) & ~after
        u = (times[during] - swing.lift) / (swing.land - swing.lift)
        # Low steps gain and lose their speed gently, as the foot is near the floor then; high ones (a run's) need not.
        quick = np.clip((swing.height - 0.06) / 0.15, 0.0, 1.0)
        s = quick * smooth(u**1.25) + (1 - quick) * gentle(u)
        chord = swing.place - place
        # On a curve the foot follows the arc that bends as far as its heading does, not the chord.
        aside = np.array([-chord[1], chord[0]]) * 0.5 * np.tan((swing.yaw - yaw) / 4)
        flat[during] = place + s[:, None] * chord + (4 * s * (1 - s))[:, None] * aside
        heading[during] = yaw + s * (swing.yaw - yaw)
        arc = 4.0 * u * (1.0 - u) if swing.ballistic else np.sin(np.pi * u**swing.skew)
        height[during] = swing.height * arc + swing.hover * np.sin(np.pi * u**3)
        ahead = (times > swing.lift - swing.rise) & (times <= swing.lift)
        pitch[ahead] += swing.lift_pitch * ((times[ahead] - swing.lift + swing.rise) / swing.rise) ** 1.8
        fall = smooth(u / 0.7)
        pitch[during] = swing.lift_pitch * (1 - fall) + swing.land_pitch * smooth((u - 0.35) / 0.55)
        settling = after & (times < swing.land + swing.settle)
        pitch[settling] += swing.land_pitch * (1 - smooth((times[settling] - swing.land) / swing.settle))
        flat[after], heading[after] = swing.place, swing.yaw
        planted &= ~during
        place, yaw = swing.place, swing.yaw
    ankle = np.stack([flat[:, 0], height, flat[:, 1]], axis=-1)
    zeros = np.zeros(count)
    return Foot(ankle, heading, pitch, planted, zeros.copy(), zeros.copy(), zeros.copy(), zeros + 1.0)


def scaled(gait: Gait, **factors: float) -> Gait:
    """The gait with some fields multiplied."""
    return replace(gait, **{name: getattr(gait, name) * factor for name, factor in factors.items()})


def feet_of(trip: Travel, times: np.ndarray) -> tuple[Foot, Foot]:
    """Both feet at frame times, with the steps that an action added (they replace none: they happen in halts)."""
    feet = []
    for side in SIDES:
        start, swings = footsteps(trip, side)
        swings = sorted(swings + [swing for owner, swing in trip.extra if owner == side], key=lambda item: item.lift)
        feet.append(place_foot(start, swings, times))
    return feet[0], feet[1]
