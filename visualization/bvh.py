"""Motions as Biovision hierarchies (.bvh), which every animation program reads, and a small reader."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from utils import quaternion
from utils.errors import UserError
from utils.files import atomic_path
from visualization.checks import check_fps, check_joints
from visualization.euler import from_euler, to_euler
from visualization.foot_lock import lock_feet
from visualization.kinematics import Pose, Rig, fit_rig, forward, solve

UNITS = {"cm": 100.0, "m": 1.0}


@dataclass(frozen=True)
class BVH:
    """A parsed file with N joints and T frames; lengths in the file's unit.

    Attributes:
        offsets: (N, 3). parents: -1 for the root. orders: rotation order a joint, e.g. "ZXY".
        root: (T, 3) position of the root. rotations: (T, N, 4) local quaternions. angles: (T, N, 3) degrees as written.
        ends: (N, 3) offsets of end sites, NaN where a joint has none.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: np.ndarray
    orders: tuple[str, ...]
    root: np.ndarray
    rotations: np.ndarray
    angles: np.ndarray
    ends: np.ndarray
    fps: float

    def positions(self) -> np.ndarray:
        """(T, N, 3) by forward kinematics."""
        rig = Rig(self.names, self.parents, tuple(range(len(self.names))), self.offsets, {})
        return forward(rig, self.root, self.rotations)


def rig_motion(
    joints: np.ndarray,
    fps: float,
    dataset: str = "humanml3d",
    foot_locking: bool = False,
    contacts: np.ndarray | None = None,
) -> tuple[Rig, Pose]:
    """Rig and rotations of joint positions (T, J, 3), the common start of all animation files.

    Args:
        foot_locking: keeps planted feet in place.
        contacts: (T, 4) of left ankle, left toe, right ankle, right toe, for the locking; found when None.

    Raises:
        UserError: bad joints, fps or contacts.
    """
    joints, fps = check_joints(joints, dataset), check_fps(fps)
    if contacts is not None:
        contacts = np.asarray(contacts)
        if contacts.shape != (len(joints), 4):
            raise UserError(f"contacts have shape {contacts.shape}, but {len(joints)} frames need ({len(joints)}, 4)")
        contacts = contacts > 0.5
    rig = fit_rig(joints, dataset)
    pose = solve(joints, rig, fps)
    if foot_locking:
        even = forward(rig, pose.root, pose.local)[:, rig.node_of_joint]
        thighs = [rig.names.index("left_hip"), rig.names.index("right_hip")]
        knee_fronts = quaternion.rotate(pose.world[:, thighs], np.array([0.0, 0.0, 1.0]))
        pose = solve(lock_feet(even, knee_fronts, fps, dataset, contacts), rig, fps)
    return rig, pose


def write_bvh(
    path: Path | str,
    joints: np.ndarray,
    fps: float,
    dataset: str = "humanml3d",
    foot_locking: bool = False,
    unit: Literal["cm", "m"] = "cm",
    contacts: np.ndarray | None = None,
) -> Path:
    """Writes joint positions as a .bvh: y up, facing +z, rest pose a T-pose, bone lengths constant.

    Args:
        joints: (T, J, 3) metres, y up.
        fps: frames per second.
        foot_locking: keeps planted feet in place.
        unit: of lengths in the file; most programs expect centimetres.
        contacts: see `rig_motion`.

    Raises:
        UserError: bad joints, fps, unit or contacts, or the folder cannot be written.
    """
    if unit not in UNITS:
        raise UserError(f"unit is {unit!r}: use {' or '.join(UNITS)}")
    path = Path(path)
    rig, pose = rig_motion(joints, fps, dataset, foot_locking, contacts)
    orders, angles = to_euler(pose.local)
    # Rows follow the hierarchy's own order, depth first.
    nodes = _depth_first(rig)
    lines: list[str] = ["HIERARCHY"]
    _write_node(lines, rig, orders, 0, 0, UNITS[unit])
    values = np.concatenate([pose.root * UNITS[unit], np.rad2deg(angles[:, nodes]).reshape(len(angles), -1)], axis=1)
    template = " ".join(["%.6f"] * values.shape[1])
    lines += ["MOTION", f"Frames: {len(values)}", f"Frame Time: {1 / float(fps):.8f}"]
    lines += [template % tuple(row) for row in values.tolist()]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="ascii")
    return path


def read_bvh(path: Path | str) -> BVH:
    """Reads a .bvh: position channels of the root, three rotation channels a joint in any order.

    Position channels of other joints are skipped.

    Raises:
        UserError: the file is missing or is not a complete BVH file.
    """
    path = Path(path)
    try:
        words = iter(path.read_text(encoding="utf-8").split())
        return _parse(words)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except (StopIteration, ValueError, IndexError, UnicodeDecodeError, RuntimeError) as error:
        raise UserError(f"{path} is not a complete BVH file") from error


def _depth_first(rig: Rig) -> list[int]:
    """Nodes in the order in which the hierarchy names them."""
    order, waiting = [], [0]
    while waiting:
        node = waiting.pop()
        order.append(node)
        waiting += reversed(rig.children[node])
    return order


def _write_node(lines: list[str], rig: Rig, orders: list[str], node: int, depth: int, factor: float) -> None:
    """Appends one joint and everything below it."""
    pad = "  " * depth
    channels = " ".join(f"{letter}rotation" for letter in orders[node])
    lines.append(f"{pad}{'JOINT' if depth else 'ROOT'} {rig.names[node]}")
    lines.append(f"{pad}{{")
    lines.append(f"{pad}  OFFSET {_numbers(rig.offsets[node] * factor)}")
    if depth:
        lines.append(f"{pad}  CHANNELS 3 {channels}")
    else:
        lines.append(f"{pad}  CHANNELS 6 Xposition Yposition Zposition {channels}")
    for child in rig.children[node]:
        _write_node(lines, rig, orders, child, depth + 1, factor)
    if not rig.children[node]:
        lines += [
            f"{pad}  End Site",
            f"{pad}  {{",
            f"{pad}    OFFSET {_numbers(rig.ends[node] * factor)}",
            f"{pad}  }}",
        ]
    lines.append(f"{pad}}}")


def _numbers(vector: np.ndarray) -> str:
    """Three numbers as BVH writes them."""
    return " ".join(f"{value:.6f}" for value in vector + 0.0)


def _parse(words) -> BVH:  # noqa: ANN001 - an iterator of words
    """Builds a `BVH` from the file's words. Any irregularity ends in StopIteration or ValueError."""
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    ends: list[list[float]] = []
    columns: list[tuple[str, int]] = []  # (axis letter + "p" or "r", joint) of every channel
    stack: list[int] = []
    in_end = False
    for word in words:
        if word in ("ROOT", "JOINT"):
            parents.append(stack[-1] if stack else -1)
            names.append(next(words))
            offsets.append([0.0] * 3)
            ends.append([float("nan")] * 3)
        elif word == "End":
            next(words)
            in_end = True
        elif word == "{":
            stack.append(stack[-1] if in_end else len(names) - 1)
        elif word == "}":
            stack.pop()
            in_end = False
        elif word == "OFFSET":
            (ends if in_end else offsets)[stack[-1]] = [float(next(words)) for _ in range(3)]
        elif word == "CHANNELS":
            for _ in range(int(next(words))):
                channel = next(words)
                columns.append((channel[0] + channel[1], stack[-1]))
        elif word == "MOTION":
            break
    if next(words) != "Frames:":
        raise ValueError
    frames = int(next(words))
    next(words), next(words)
    frame_time = float(next(words))
    values = np.array(list(words), dtype=np.float64).reshape(frames, len(columns))
    root = np.tile(np.array(offsets[0]), (frames, 1))
    orders = [
        "".join(kind[0] for kind, owner in columns if owner == joint and kind[1] == "r") for joint in range(len(names))
    ]
    angles = np.zeros((frames, len(names), 3))
    for joint in range(len(names)):
        turning = [index for index, (kind, owner) in enumerate(columns) if owner == joint and kind[1] == "r"]
        angles[:, joint] = values[:, turning]
    for index, (kind, owner) in enumerate(columns):
        if owner == 0 and kind[1] == "p":
            root[:, "XYZ".index(kind[0])] = values[:, index]
    rotations = np.stack([from_euler(np.deg2rad(angles[:, j]), order) for j, order in enumerate(orders)], axis=1)
    return BVH(
        tuple(names),
        tuple(parents),
        np.array(offsets),
        tuple(orders),
        root,
        quaternion.unroll(rotations),
        angles,
        np.array(ends),
        1 / frame_time,
    )
