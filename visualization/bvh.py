"""Motions as Biovision hierarchies (.bvh), which every animation program reads; `utils.bvh` reads them."""

from __future__ import annotations

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
) -> Path:
    """Writes joint positions as a .bvh: y up, facing +z, rest pose a T-pose, bone lengths constant.

    Args:
        joints: (T, J, 3) metres, y up.
        fps: frames per second.
        foot_locking: keeps planted feet in place.
        unit: of lengths in the file; most programs expect centimetres.

    Raises:
        UserError: bad joints, fps or unit, or the folder cannot be written.
    """
    if unit not in UNITS:
        raise UserError(f"unit is {unit!r}: use {' or '.join(UNITS)}")
    path = Path(path)
    rig, pose = rig_motion(joints, fps, form, foot_locking)
    orders, angles = to_euler(pose.local)
    lines: list[str] = ["HIERARCHY"]
    order: list[int] = []
    _write_node(lines, order, rig, orders, UNITS[unit])
    values = np.concatenate([pose.root * UNITS[unit], np.rad2deg(angles[:, order]).reshape(len(angles), -1)], axis=1)
    template = " ".join(["%.6f"] * values.shape[1])
    lines += ["MOTION", f"Frames: {len(values)}", f"Frame Time: {1 / float(fps):.8f}"]
    lines += [template % tuple(row) for row in values.tolist()]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="ascii")
    return path


def _write_node(
    lines: list[str], order: list[int], rig: Rig, orders: list[str], factor: float, node: int = 0, depth: int = 0
) -> None:
    """Appends one joint and everything below it to the lines, and to `order`, that of the numbers of a frame."""
    order.append(node)
    pad = "  " * depth
    places = "CHANNELS 3" if depth else "CHANNELS 6 Xposition Yposition Zposition"
    lines += [
        f"{pad}{'JOINT' if depth else 'ROOT'} {rig.names[node]}",
        f"{pad}{{",
        f"{pad}  OFFSET {_numbers(rig.offsets[node] * factor)}",
        f"{pad}  {places} {' '.join(f'{letter}rotation' for letter in orders[node])}",
    ]
    for child in rig.children[node]:
        _write_node(lines, order, rig, orders, factor, child, depth + 1)
    if not rig.children[node]:
        end = _numbers(rig.ends[node] * factor)
        lines += [f"{pad}  End Site", f"{pad}  {{", f"{pad}    OFFSET {end}", f"{pad}  }}"]
    lines.append(f"{pad}}}")


def _numbers(vector: np.ndarray) -> str:
    """Three numbers as BVH writes them."""
    return " ".join(f"{value:.6f}" for value in vector + 0.0)
