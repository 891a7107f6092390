"""Rigs as other programs write them, for the tests of retargeting: other proportions, names, axes and rest poses."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.motions.joint_maps import rig_names
from tests.visualization.motions import t_pose
from utils import quaternion
from utils.formats import HUMANML3D
from utils.glb import FLOAT, read_glb
from visualization.gltf import write_glb


def proportions(legs: float = 1.0, arms: float = 1.0, whole: float = 1.0, hips: float = 1.0) -> np.ndarray:
    """(J, 3) a T-pose whose bones are so many times as long."""
    joints, form = t_pose("humanml3d"), HUMANML3D
    grown = joints.copy()
    for joint in range(1, form.n_joints):
        name, parent = form.joint_names[joint], form.parents[joint]
        times = legs if name.endswith(("knee", "ankle")) else arms if name.endswith(("elbow", "wrist")) else 1.0
        times *= hips if name.endswith("hip") else 1.0
        grown[joint] = grown[parent] + whole * times * (joints[joint] - joints[parent])
    grown[:, 1] -= grown[:, 1].min() - 0.03 * whole
    return grown


def write_character(
    path: Path, joints: np.ndarray, rig: str = "mixamo", arms_down: float = 0.0, seed: int | None = 0
) -> Path:
    """A .glb with a mesh, as programs with z up write them: its bones hang under a node `Armature` that is turned and a
    hundredth as large. It has a finger that no map knows.

    Args:
        joints: (J, 3) of the T-pose in which the mesh is bound.
        arms_down: degrees by which the arms hang in the rest pose.
        seed: of the bones' own axes at rest; None: those of the world.
    """
    glb = read_glb(write_glb(path, joints[None], 20, names=rig_names(rig)))
    nodes, count, form = glb.document["nodes"], HUMANML3D.n_joints, HUMANML3D
    rest = np.zeros((count, 3))
    for joint in range(count):
        above = rest[form.parents[joint]] if joint else np.zeros(3)
        rest[joint] = above + nodes[joint]["translation"]
    generator = np.random.default_rng(seed)
    own = (
        quaternion.normalize(generator.normal(size=(count, 4)))
        if seed is not None
        else np.tile([1.0, 0, 0, 0], (count, 1))
    )
    binds = np.tile(np.eye(4), (count, 1, 1))
    binds[:, :3, :3] = quaternion.to_matrix(own)
    binds[:, :3, 3] = rest
    hang = {
        form.joint_names.index(f"{side}_shoulder"): quaternion.from_axis_angle(
            np.array([0, 0, sign]), np.deg2rad(arms_down)
        )
        for side, sign in (("left", -1.0), ("right", 1.0))
    }
    turns, places = own.copy(), rest.copy()
    swung = np.tile([1.0, 0, 0, 0], (count, 1))
    for joint in range(1, count):
        parent = form.parents[joint]
        swung[joint] = quaternion.multiply(swung[parent], hang.get(joint, np.array([1.0, 0, 0, 0])))
        places[joint] = places[parent] + quaternion.rotate(swung[parent], rest[joint] - rest[parent])
        turns[joint] = quaternion.multiply(swung[joint], own[joint])
    armature = quaternion.from_axis_angle(np.array([1.0, 0, 0]), np.deg2rad(90))
    for joint in range(count):
        parent = form.parents[joint]
        above = turns[parent] if joint else armature
        away = places[joint] - places[parent] if joint else places[0]
        turn = quaternion.multiply(quaternion.inverse(above), turns[joint])
        nodes[joint]["translation"] = (100 * quaternion.rotate(quaternion.inverse(above), away)).tolist()
        nodes[joint]["rotation"] = turn[[1, 2, 3, 0]].tolist()
    binds[:, :3, :3] *= 0.01  # a bone's own scale in the world
    inverse = np.linalg.inv(binds).transpose(0, 2, 1).reshape(-1, 16)
    glb.document["skins"][0]["inverseBindMatrices"] = glb.add(inverse, FLOAT)
    finger = {"name": "finger", "translation": [0.0, 8.0, 0.0]}
    nodes[form.joint_names.index("left_wrist")]["children"] = [len(nodes)]
    turned = armature[[1, 2, 3, 0]].tolist()
    nodes += [finger, {"name": "Armature", "rotation": turned, "scale": [0.01] * 3, "children": [0]}]
    glb.document["scenes"] = [{"nodes": [len(nodes) - 1, count]}]
    glb.document["extras"] = {"kept": "as it is"}
    del glb.document["animations"], glb.document["skins"][0]["skeleton"]
    path.write_bytes(glb.pack())
    return path
