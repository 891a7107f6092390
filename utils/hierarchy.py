"""A file's own tree of bones and its channels: what BVH and ASF/AMC files have in common once they are read."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from storage.files import read_bytes
from storage.limits import CELLS, CELLS_TIMES
from utils import quaternion
from utils.rig import RigMotion

LARGEST = 1e7  # of any number: ten kilometres in millimetres


@dataclass(frozen=True)
class Hierarchy(RigMotion):
    """A parsed file with N joints and T frames; lengths in the file's unit. A bone is called by the joint it starts at.

    Position channels replace the joint's offset, axis by axis.

    Attributes:
        offsets: (N, 3) places of the joints in their parents' frames at rest.
        ends: (N, 3) where bones end that carry no other, NaN of those that do.
    """

    offsets: np.ndarray
    ends: np.ndarray

    @property
    def leaves(self) -> list[int]:
        """The joints that have an end."""
        return np.flatnonzero(np.isfinite(self.ends).all(axis=-1)).tolist()

    @property
    def end_names(self) -> tuple[str, ...]:
        """What the ends are called."""
        return tuple(f"{self.names[leaf]} End Site" for leaf in self.leaves)

    def with_ends(self) -> Hierarchy:
        """The same with a joint `JOINT End Site` for each end."""
        leaves = self.leaves
        frames, count = len(self.rotations), len(leaves)
        still = np.tile([1.0, 0, 0, 0], (frames, count, 1))
        return replace(
            self,
            names=self.names + self.end_names,
            parents=(*self.parents, *leaves),
            translations=np.concatenate([self.translations, np.tile(self.ends[leaves], (frames, 1, 1))], axis=1),
            rotations=np.concatenate([self.rotations, still], axis=1),
            offsets=np.concatenate([self.offsets, self.ends[leaves]]),
            ends=np.concatenate([self.ends, np.full((count, 3), math.nan)]),
        )


@dataclass
class Node:
    """A joint while the file is read.

    Attributes:
        name, parent: of the joint; parents come first, -1 is the root's.
        offset, end: as in `Hierarchy`.
        channels: (axis letter, "position" or "rotation", column); rotations are multiplied left to right.
        frame: quaternion of the axes that the rotations are about, None: the parent's.
    """

    name: str
    parent: int
    offset: list[float] | None = None
    end: list[float] | None = None
    channels: list[tuple[str, str, int]] | None = None
    frame: np.ndarray | None = None


def read_lines(path: Path | str, largest: int) -> list[str]:
    """The lines of a text file of at most `largest` bytes; joint names of old programs may be no UTF-8.

    Raises:
        UserError: it is missing, too large, or cannot be read.
    """
    content = read_bytes(path, largest)
    try:
        return content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        return content.decode("latin-1").splitlines()


def read_number(word: str, line: int) -> float:
    """A usable number.

    Raises:
        ValueError: `word` is none; names the line.
    """
    try:
        value = float(word)
    except ValueError as error:
        raise ValueError(f"line {line}: {word[:40]!r} is no number") from error
    if not math.isfinite(value) or abs(value) > LARGEST:
        raise ValueError(f"line {line}: {word[:40]!r} is no usable number")
    return value


def assemble(nodes: list[Node], values: np.ndarray, fps: float) -> Hierarchy:
    """The motion of joints whose channels have the values (T, columns), angles in degrees.

    Raises:
        ValueError: there are far more joints than numbers.
    """
    frames, count = len(values), len(nodes)
    if frames * count > max(CELLS, CELLS_TIMES * values.size):
        raise ValueError(f"{count} joints in {frames} frames of {values.shape[1]} numbers")
    offsets = np.array([node.offset for node in nodes])
    translations = np.tile(offsets, (frames, 1, 1))
    angles = np.zeros((frames, count, 3))
    nodes_of: dict[str, list[int]] = {}
    for index, node in enumerate(nodes):
        order = ""
        for axis, kind, column in node.channels or ():
            if kind == "position":
                translations[:, index, "XYZ".index(axis)] = values[:, column]
            else:
                angles[:, index, len(order)] = values[:, column]
                order += axis
        nodes_of.setdefault(order, []).append(index)
    rotations = np.empty((frames, count, 4))
    for order, members in nodes_of.items():
        rotations[:, members] = quaternion.from_euler(np.deg2rad(angles[:, members]), order)
    if framed := [index for index, node in enumerate(nodes) if node.frame is not None]:
        axes = np.array([nodes[index].frame for index in framed])
        turned = quaternion.multiply(axes, rotations[:, framed])
        rotations[:, framed] = quaternion.multiply(turned, quaternion.inverse(axes))
    return Hierarchy(
        names=tuple(node.name for node in nodes),
        parents=tuple(node.parent for node in nodes),
        translations=translations,
        rotations=quaternion.unroll(rotations),
        fps=fps,
        offsets=offsets,
        ends=np.array([node.end or [math.nan] * 3 for node in nodes]),
    )
