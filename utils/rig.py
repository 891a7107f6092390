"""A moving skeleton of rotations: forward kinematics, and other frame rates. Letters: T frames, N nodes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from utils import quaternion

Moving = TypeVar("Moving", bound="RigMotion")
SAME_TIME = 1e-6  # relative: a time this close to a frame is that frame
SMOOTH_TURN = np.cos(np.deg2rad(60.0) / 2)  # joints that turn farther between two frames are slerped


@dataclass(frozen=True)
class RigMotion:
    """A tree of nodes in motion; node 0 is the root.

    Attributes:
        names: of the nodes.
        parents: parent of each node, -1 for the root; a parent comes before its children.
        translations: (T, N, 3) place of each node in its parent's frame, the root's in the world.
        rotations: (T, N, 4) unit quaternions relative to the parent, signs continuous in time.
        fps: frames per second.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    translations: np.ndarray
    rotations: np.ndarray
    fps: float

    def positions(self) -> np.ndarray:
        """(T, N, 3) places in the world, by forward kinematics."""
        return self.placed()[0]

    def placed(self) -> tuple[np.ndarray, np.ndarray]:
        """Places (T, N, 3) and rotations (T, N, 4) in the world, by forward kinematics."""
        places, turns = np.empty_like(self.translations), np.empty_like(self.rotations)
        for node, parent in enumerate(self.parents):
            if parent < 0:
                places[:, node], turns[:, node] = self.translations[:, node], self.rotations[:, node]
                continue
            offset = quaternion.rotate(turns[:, parent], self.translations[:, node])
            places[:, node] = places[:, parent] + offset
            turns[:, node] = quaternion.multiply(turns[:, parent], self.rotations[:, node])
        return places, turns

    def path(self, node: int) -> np.ndarray:
        """(T, 3) places of one node in the world."""
        chain = [node]
        while (parent := self.parents[chain[0]]) >= 0:
            chain.insert(0, parent)
        parents = tuple(range(-1, len(chain) - 1))
        line = RigMotion((), parents, self.translations[:, chain], self.rotations[:, chain], self.fps)
        return line.positions()[:, -1]

    def resampled(self: Moving, fps: float) -> Moving:
        """The same motion at another frame rate: interpolated rotations and places, so that rigid bones stay exact.

        Between two frames a cubic goes through both with the slope of their neighbours (Catmull and Rom; rotations as
        unit quaternions), which keeps the speed even where a plain slerp has kinks at every old frame. A joint that
        turns by more than 60 degrees between two frames is slerped: there a cubic could swing out.
        """
        times = Times.between(len(self.rotations), self.fps, fps)
        smooth = quaternion.normalize(times.cubic(self.rotations))
        start, end = self.rotations[times.first], self.rotations[times.second]
        share = np.broadcast_to(times.weight[:, None], smooth.shape[:-1])
        far = (start * end).sum(-1) < SMOOTH_TURN
        smooth[far] = quaternion.slerp(start[far], end[far], share[far])
        return replace(self, translations=times.cubic(self.translations), rotations=smooth, fps=float(fps))


@dataclass(frozen=True)
class Times:
    """Where the frames of a new rate lie among the old frames.

    Attributes:
        first, second: (T,) the old frames before and after each new one.
        weight: (T,) how far it is on the way from the first to the second.
        count: number of old frames.
    """

    first: np.ndarray
    second: np.ndarray
    weight: np.ndarray
    count: int

    @classmethod
    def between(cls, count: int, source_fps: float, fps: float) -> Times:
        """From the first of `count` frames on, as many as fit."""
        wanted = int((count - 1) / source_fps * fps * (1 + SAME_TIME) + SAME_TIME) + 1
        place = np.arange(wanted) * (source_fps / fps)
        nearest = np.round(place)
        same = np.abs(place - nearest) <= SAME_TIME * (1 + nearest)
        return cls.at(np.clip(np.where(same, nearest, place), 0, count - 1), count)

    @classmethod
    def at(cls, places: np.ndarray, count: int) -> Times:
        """At fractional frame numbers `places` (T,) among `count` old frames."""
        first = places.astype(np.int64)
        return cls(first, np.minimum(first + 1, count - 1), places - first, count)

    def linear(self, values: np.ndarray) -> np.ndarray:
        """Values (count, ...) at the new times, on straight lines."""
        weight = self.weight.reshape(-1, *[1] * (values.ndim - 1))
        return (1 - weight) * values[self.first] + weight * values[self.second]

    def cubic(self, values: np.ndarray) -> np.ndarray:
        """Values (count, ...) at the new times, on cubics; at both ends the motion is continued evenly."""
        if self.count < 2 or not self.weight.any():
            return values[self.first]
        padded = np.concatenate([2 * values[:1] - values[1:2], values, 2 * values[-1:] - values[-2:-1]])
        places = (np.minimum(self.first + shift, len(padded) - 1) for shift in range(4))
        before, start, end, after = (padded[place] for place in places)
        t = self.weight.reshape(-1, *[1] * (values.ndim - 1))
        slope, other_slope = (end - before) / 2, (after - start) / 2
        bend, rise = 3 * (end - start) - 2 * slope - other_slope, 2 * (start - end) + slope + other_slope
        return start + t * (slope + t * (bend + t * rise))


def resample_joints(joints: np.ndarray, parents: tuple[int, ...], source_fps: float, fps: float) -> np.ndarray:
    """Joint positions (T, J, 3) at another frame rate: the directions of the bones are interpolated, so that bones keep
    their length. The root moves on a cubic; a bone whose length changes does so linearly."""
    times = Times.between(len(joints), source_fps, fps)
    if not times.weight.any():
        return joints[times.first]
    result = np.empty((len(times.first), *joints.shape[1:]))
    result[:, 0] = times.cubic(joints[:, 0])
    for joint in range(1, joints.shape[1]):
        bone = joints[:, joint] - joints[:, parents[joint]]
        length = np.linalg.norm(bone, axis=-1, keepdims=True)
        direction = quaternion.normalize(times.cubic(quaternion.normalize(bone)))
        result[:, joint] = result[:, parents[joint]] + direction * times.linear(length)
    return result
