"""Motions as Biovision hierarchies (.bvh), which every animation program reads; `utils.bvh` reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from storage.files import atomic_path
from utils import quaternion
from utils.errors import UserError
from utils.formats import HUMANML3D
from utils.motion_format import SIDES, MotionFormat
from visualization.checks import check_fps, check_joints
from visualization.euler import to_euler
from visualization.foot_lock import lock_feet
from visualization.kinematics import Pose, Rig, fit_rig, forward, solve

UNITS = {"cm": 100.0, "m": 1.0}


@dataclass(frozen=True)
class Tree:
    """A skeleton of N nodes as it stands in a .bvh.

    Attributes:
        names, parents: of the nodes; a parent comes before its children.
        offsets: (N, 3) places relative to the parents at rest.
        ends: where nodes end that have no children.
    """

    names: Sequence[str]
    parents: Sequence[int]
    offsets: np.ndarray
    ends: Mapping[int, np.ndarray]


def rig_motion(
    joints: np.ndarray, fps: float, form: MotionFormat = HUMANML3D, foot_locking: bool = False
) -> tuple[Rig, Pose]:
    """Rig and rotations of joint positions (T, J, 3), the common start of all animation files.

    Args:
        foot_locking: keeps planted feet in place.

    Raises:
        UserError: bad joints or fps.
    """
    joints, fps = check_joints(joints, form), check_fps(fps)
    rig = fit_rig(joints, form)
    pose = solve(joints, rig, fps)
    if foot_locking:
        even = forward(rig, pose.root, pose.local)[:, rig.node_of_joint]
        thighs = rig.node_of_joint[[form.leg(side)[0] for side in SIDES]]
        knee_fronts = quaternion.rotate(pose.world[:, thighs], np.array([0.0, 0.0, 1.0]))
        pose = solve(lock_feet(even, knee_fronts, fps, form), rig, fps)
    return rig, pose


def write_bvh(
    path: Path | str,
    joints: np.ndarray,
    fps: float,
    form: MotionFormat = HUMANML3D,
    foot_locking: bool = False,
    unit: Literal["cm", "m"] = "cm",
    names: Sequence[str] | None = None,
) -> Path:
    """Writes joint positions as a .bvh: y up, facing +z, rest pose a T-pose, bone lengths constant.

    Args:
        joints: (T, J, 3) metres, y up.
        fps: frames per second.
        foot_locking: keeps planted feet in place.
        unit: of lengths in the file; most programs expect centimetres.
        names: of the rig's nodes; None: the skeleton's own.

    Raises:
        UserError: bad joints, fps or unit, or the folder cannot be written.
    """
    if unit not in UNITS:
        raise UserError(f"unit is {unit!r}: use {' or '.join(UNITS)}")
    rig, pose = rig_motion(joints, fps, form, foot_locking)
    tree = Tree(names or rig.names, rig.parents, rig.offsets, rig.ends)
    return write_tree(path, tree, pose.root, pose.local, fps, UNITS[unit])


def write_tree(
    path: Path | str, tree: Tree, root: np.ndarray, local: np.ndarray, fps: float, factor: float = 1.0
) -> Path:
    """Writes a moving tree of N nodes as a .bvh.

    Args:
        root: (T, 3) places of its root.
        local: (T, N, 4) rotations relative to the parents, signs continuous in time.
        fps: frames per second.
        factor: what lengths are multiplied by.

    Raises:
        UserError: the folder cannot be written.
    """
    path = Path(path)
    orders, angles = to_euler(local)
    lines: list[str] = ["HIERARCHY"]
    order: list[int] = []
    _write_node(lines, order, tree, orders, factor)
    values = np.concatenate([root * factor, np.rad2deg(angles[:, order]).reshape(len(angles), -1)], axis=1)
    template = " ".join(["%.6f"] * values.shape[1])
    lines += ["MOTION", f"Frames: {len(values)}", f"Frame Time: {1 / float(fps):.8f}"]
    lines += [template % tuple(row) for row in values.tolist()]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _write_node(
    lines: list[str], order: list[int], tree: Tree, orders: list[str], factor: float, node: int = 0, depth: int = 0
) -> None:
    """Appends one joint and everything below it to the lines, and to `order`, that of the numbers of a frame."""
    order.append(node)
    pad = "  " * depth
    places = "CHANNELS 3" if depth else "CHANNELS 6 Xposition Yposition Zposition"
    lines += [
        f"{pad}{'JOINT' if depth else 'ROOT'} {tree.names[node]}",
        f"{pad}{{",
        f"{pad}  OFFSET {_numbers(tree.offsets[node] * factor)}",
        f"{pad}  {places} {' '.join(f'{letter}rotation' for letter in orders[node])}",
    ]
    children = [child for child, parent in enumerate(tree.parents) if parent == node]
    for child in children:
        _write_node(lines, order, tree, orders, factor, child, depth + 1)
    if not children:
        end = _numbers(tree.ends[node] * factor)
        lines += [f"{pad}  End Site", f"{pad}  {{", f"{pad}    OFFSET {end}", f"{pad}  }}"]
    lines.append(f"{pad}}}")


def _numbers(vector: np.ndarray) -> str:
    """Three numbers as BVH writes them."""
    return " ".join(f"{value:.6f}" for value in vector + 0.0)
