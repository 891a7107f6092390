"""Bones that a file has no joints of its own for: they keep their rest direction in their parent's frame.

Letters: T frames, J joints, N nodes of the file's own form.
"""

from __future__ import annotations

import numpy as np

from data.motions.body import body_size, sized_bones, turn_back, turn_up, upright_axis
from data.motions.joint_maps import JointMap
from utils import quaternion
from utils.facing import UP, heading, yaw_quaternion
from utils.hierarchy import Hierarchy
from utils.motion_format import MotionFormat
from utils.rig import RigMotion

NOTHING = 0.005  # of a body's size: a bone that is never longer is none
STRAIGHT = 0.85  # cosine: how far the legs of a rest pose may stand from straight down
LIKELY = 0.5  # cosine: an End Site that points elsewhere does not tell where its bone goes


def complete(
    joints: np.ndarray, form: MotionFormat, rig: Hierarchy | None, joint_map: JointMap | None, up: str
) -> tuple[np.ndarray, list[str]]:
    """The same joints with a direction for every bone, and a remark on those that the file has not.

    Args:
        joints: (T, J, 3) metres, y up.
        form: of the joints.
        rig, joint_map: the file's own skeleton in its own axes, and which of its nodes are joints; None: joints alone.
        up: the axis of the rig that became y.
    """
    parents = np.array(form.parents)
    size = body_size(joints, form)
    lengths = np.linalg.norm(joints[:, 1:] - joints[:, parents[1:]], axis=-1).max(axis=0)
    lacking = {int(bone) + 1 for bone in np.flatnonzero(lengths < NOTHING * size)}
    lacking |= joint_map.doubles if joint_map else set()
    if not lacking:
        return joints, []
    usual = form.bone_lengths * size / form.bone_lengths[sized_bones(form)].sum()
    joints = joints.copy()
    rest = form.rest_directions
    turns = None if rig is None or joint_map is None else rig.placed()[1]
    still = None if rig is None or joint_map is None else _rest_joints(rig, joint_map, form)
    for joint in sorted(lacking):
        parent = int(parents[joint])
        directions = _directions(joints, form, joint, rest)
        if turns is not None:
            node = joint_map.nodes(rig.names)[max(joint_map.blends[parent], key=lambda each: each[1])[0]]
            frame = turns[:, node]
            own = turn_back(directions, up)
            local = quaternion.rotate(quaternion.inverse(frame), own).mean(axis=0)
            if still is not None:
                posed, axis = still
                local = turn_back(_directions(posed, form, joint, rest)[0], axis)
            local = _end_direction(rig, node, local)
            directions = turn_up(quaternion.rotate(frame, np.broadcast_to(local, own.shape)), up)
        joints[:, joint] = joints[:, parent] + _length(joints, form, joint, lacking, usual) * directions
    names = ", ".join(form.joint_names[joint] for joint in sorted(lacking))
    return joints, [
        f"no bone of its own for {names}: rest direction kept"
        + (" (a joint map may name an End Site, as `JOINT End Site`)" if joint_map else "")
    ]


def _directions(joints: np.ndarray, form: MotionFormat, joint: int, rest: np.ndarray) -> np.ndarray:
    """(T, 3) where the bone to `joint` points when its parent's bone was swung from the T-pose of a body that faces as
    joints (T, J, 3) do."""
    turn = yaw_quaternion(heading(joints, form))
    parent = form.parents[joint]
    above = form.parents[parent]
    if above < 0:  # the pelvis leans as the trunk does
        bone, start = joints[:, form.landmark("neck")] - joints[:, parent], UP
    else:
        bone, start = joints[:, parent] - joints[:, above], rest[parent]
    posed = quaternion.rotate(turn, np.broadcast_to(start, bone.shape))
    straight = np.linalg.norm(bone, axis=-1, keepdims=True) < 1e-9
    swing = quaternion.between(posed, np.where(straight, posed, bone))
    turned = quaternion.rotate(turn, np.broadcast_to(rest[joint], bone.shape))
    return quaternion.rotate(swing, turned)


def _rest_joints(rig: Hierarchy, joint_map: JointMap, form: MotionFormat) -> tuple[np.ndarray, str] | None:
    """Joints (1, J, 3) of the file's rest pose, y up, and which of its axes that was; None if it does not stand."""
    quiet = np.zeros((1, len(rig.names), 4))
    quiet[..., 0] = 1
    posed = joint_map.apply(rig.names, RigMotion(rig.names, rig.parents, rig.offsets[None], quiet, rig.fps).positions())
    axis, _ = upright_axis(posed, form)
    posed = turn_up(posed, axis)
    legs = [form.parents[foot[0]] for foot in (form.left_foot, form.right_foot)]
    legs += [form.left_foot[0], form.right_foot[0]]
    bones = posed[0, legs] - posed[0, [form.parents[leg] for leg in legs]]
    down = -bones[:, 1] / np.maximum(np.linalg.norm(bones, axis=-1), 1e-9)
    return (posed, axis) if (down > STRAIGHT).all() else None


def _end_direction(rig: Hierarchy, node: int, likely: np.ndarray) -> np.ndarray:
    """(3,) where the End Site of `node` points, if it has one that says more than `likely` does."""
    likely = likely / max(np.linalg.norm(likely), 1e-9)
    end = rig.ends[node]
    length = np.linalg.norm(end)
    return end / length if length > 0 and end @ likely > LIKELY * length else likely


def _length(joints: np.ndarray, form: MotionFormat, joint: int, lacking: set[int], usual: np.ndarray) -> float:
    """Metres: the usual length, less where the next joint of the file is near."""
    parent, child = form.parents[joint], joint
    way = usual[joint]
    while child in lacking:
        if child not in form.parents:
            return float(usual[joint])
        child = form.parents.index(child)
        way += usual[child]
    whole = float(np.median(np.linalg.norm(joints[:, child] - joints[:, parent], axis=-1)))
    return float(min(usual[joint], whole * usual[joint] / way))
