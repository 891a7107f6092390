"""Motions for the exporters' tests, made by forward kinematics."""

from __future__ import annotations

import numpy as np

from utils import quaternion
from utils.formats import get_format
from visualization.kinematics import fit_rig, forward

X, Y, Z = np.eye(3)


def t_pose(dataset: str) -> np.ndarray:
    """(J, 3) joints of a T-pose with the skeleton's published bone lengths."""
    skeleton = get_format(dataset)
    joints = np.zeros((skeleton.n_joints, 3))
    for joint in range(1, skeleton.n_joints):
        name = skeleton.joint_names[joint]
        side = X if name.startswith("left") else -X
        if name.endswith("hip"):
            direction = 0.6 * side - 0.8 * Y
        elif name.endswith("collar"):
            direction = 0.8 * side + 0.6 * Y
        elif name.endswith("shoulder"):
            direction = 0.98 * side - 0.2 * Y
        elif name.endswith(("elbow", "wrist")):
            direction = side
        elif name.endswith(("knee", "ankle")):
            direction = -Y
        elif name.endswith(("heel", "foot", "toe")):
            direction = 0.9 * Z - 0.44 * Y
        else:
            direction = Y
        parent = skeleton.parents[joint]
        joints[joint] = joints[parent] + skeleton.bone_lengths[joint] * direction / np.linalg.norm(direction)
    joints[:, 1] -= joints[:, 1].min()
    return joints


def make_walk(
    dataset: str = "humanml3d",
    frames: int = 80,
    fps: float = 20.0,
    turns: float = 0.0,
    speed: float = 1.3,
    start: float = 0.0,
) -> np.ndarray:
    """(T, J, 3) of a person who strides with swinging arms.

    `turns`: full turns about y over the clip, to the left. `speed`: metres a second. `start`: heading in degrees.
    """
    pose = t_pose(dataset)
    rig = fit_rig(pose[None], get_format(dataset))
    time = np.arange(frames) / fps
    phase = 2 * np.pi * time
    local = np.zeros((frames, len(rig.names), 4))
    local[..., 0] = 1

    def turn(name: str, axis: np.ndarray, degrees: np.ndarray) -> None:
        node = rig.names.index(name)
        angle = np.deg2rad(np.broadcast_to(degrees, time.shape))
        local[:, node] = quaternion.multiply(local[:, node], quaternion.from_axis_angle(axis, angle))

    heading = start + 360 * turns * np.linspace(0, 1, frames)
    turn("pelvis", Y, heading)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        swing = np.sin(phase + (0 if side == "left" else np.pi))
        turn(f"{side}_hip", X, -25 * swing)
        turn(f"{side}_knee", X, 22 + 20 * np.cos(phase + (0 if side == "left" else np.pi)))
        turn(f"{side}_shoulder", Z, np.full(frames, -75.0 * sign))
        turn(f"{side}_shoulder", Y, -sign * 30 * swing)
        turn(f"{side}_elbow", Y, np.full(frames, -35.0 * sign))
    direction = np.stack([np.sin(np.deg2rad(heading)), np.zeros(frames), np.cos(np.deg2rad(heading))], axis=-1)
    root = pose[0] + np.cumsum(direction, axis=0) * speed / fps
    joints = forward(rig, root, local)[:, rig.node_of_joint]
    feet = joints[:, [*get_format(dataset).left_foot, *get_format(dataset).right_foot], 1].min(axis=1)
    joints[..., 1] -= feet[:, None]  # the lower foot is always on the ground
    return joints
