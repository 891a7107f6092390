"""Motions as binary glTF 2.0 (.glb): a skinned mannequin with one animation, which any 3D viewer shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from storage.files import atomic_path
from utils import quaternion
from utils.formats import HUMANML3D
from utils.glb import BYTE, FLOAT, SHORT, Glb
from utils.motion_format import MotionFormat
from visualization.body import COLOURS, Body, Capsule, get_body
from visualization.body_mesh import ring_faces
from visualization.bvh import rig_motion
from visualization.kinematics import Rig, forward

SEGMENTS = 16  # around a limb
RINGS = 5  # over each rounded end
VERTEX_BUFFER, INDEX_BUFFER = 34962, 34963
VRM = ("VRMC_vrm", "VRMC_vrm_animation")


def write_glb(
    path: Path | str,
    joints: np.ndarray,
    fps: float,
    form: MotionFormat = HUMANML3D,
    foot_locking: bool = False,
    name: str = "motion",
    names: Sequence[str] | None = None,
    vrm: bool = False,
) -> Path:
    """Writes joint positions as a .glb with a skeleton, a skinned mannequin and one animation; metres, y up.

    Args:
        joints: (T, J, 3) metres, y up.
        fps: frames per second.
        foot_locking: keeps planted feet in place.
        name: of the animation inside the file.
        names: of the rig's nodes; None: the skeleton's own.
        vrm: the names are VRM's, and the file says so.

    Raises:
        UserError: bad joints or fps, or the folder cannot be written.
    """
    rig, pose = rig_motion(joints, fps, form, foot_locking)
    body = get_body(form)
    rest = _rest_positions(rig)
    buffer, called = Glb(), names or rig.names
    materials, primitives = _mesh(buffer, body, rig, rest)
    binds = np.tile(np.eye(4), (len(rest), 1, 1))
    binds[:, 3, :3] = -rest  # column-major, as glTF stores matrices
    nodes: list[dict[str, Any]] = []
    for node, joint_name in enumerate(called):
        entry: dict[str, Any] = {"name": joint_name, "translation": (rig.offsets[node] if node else rest[0]).tolist()}
        if rig.children[node]:
            entry["children"] = list(rig.children[node])
        nodes.append(entry)
    nodes.append({"name": "mannequin", "mesh": 0, "skin": 0})

    buffer.document = {
        "asset": {"version": "2.0", "generator": "ReMoMask"},
        "scene": 0,
        "scenes": [{"nodes": [0, len(nodes) - 1]}],
        "nodes": nodes,
        "meshes": [{"name": "mannequin", "primitives": primitives}],
        "materials": materials,
        "skins": [
            {
                "joints": list(range(len(rest))),
                "skeleton": 0,
                "inverseBindMatrices": buffer.add(binds.reshape(-1, 16), FLOAT),
            }
        ],
    }
    if vrm:
        buffer.document |= {"extensionsUsed": list(VRM), "extensions": _vrm(called)}
    tracks = {(0, "translation"): pose.root}
    tracks |= {(node, "rotation"): pose.local[:, node] for node in range(len(rig.names))}
    buffer.animate(name, fps, tracks)
    path = Path(path)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.pack())
    return path


def _vrm(names: Sequence[str]) -> dict[str, Any]:
    """What makes a file with VRM's bone names, called .vrm, a character, and called .vrma a motion for any other."""
    bones = {"humanBones": {name: {"node": node} for node, name in enumerate(names)}}
    meta = {"name": "mannequin", "authors": ["ReMoMask"], "licenseUrl": "https://vrm.dev/licenses/1.0/"}
    character = {"specVersion": "1.0", "meta": meta, "humanoid": bones}
    return {VRM[0]: character, VRM[1]: {"specVersion": "1.0", "humanoid": bones}}


def _rest_positions(rig: Rig) -> np.ndarray:
    """(N, 3) nodes of the T-pose, standing on the ground above the origin."""
    unturned = np.zeros((1, len(rig.names), 4))
    unturned[..., 0] = 1
    rest = forward(rig, np.zeros((1, 3)), unturned)[0]
    rest[:, 1] -= rest[:, 1].min()
    return rest


def _mesh(buffer: Glb, body: Body, rig: Rig, rest: np.ndarray) -> tuple[list[dict], list[dict]]:
    """Materials and primitives of the mannequin in its rest pose, one of each a colour."""
    joints = rest[None, rig.node_of_joint]
    points, scale = body.display_points(joints)[0], body.scale(joints)
    materials, primitives = [], []
    for group, colour in COLOURS.items():
        parts = [
            _limb(capsule, points, scale, *_bones(capsule, body, rig))
            for capsule in body.capsules
            if capsule.group == group
        ]
        starts = np.cumsum([0] + [len(part[0]) for part in parts])
        positions, normals, bones, weights = (np.concatenate([part[i] for part in parts]) for i in range(4))
        indices = np.concatenate([part[4] + start for part, start in zip(parts, starts, strict=False)])
        primitives.append(
            {
                "attributes": {
                    "POSITION": buffer.add(positions, FLOAT, VERTEX_BUFFER, bounds=True),
                    "NORMAL": buffer.add(normals, FLOAT, VERTEX_BUFFER),
                    "JOINTS_0": buffer.add(bones, BYTE, VERTEX_BUFFER),
                    "WEIGHTS_0": buffer.add(weights, FLOAT, VERTEX_BUFFER),
                },
                "indices": buffer.add(indices.ravel(), SHORT, INDEX_BUFFER),
                "material": len(materials),
            }
        )
        linear = [round(float((value / 255) ** 2.2), 4) for value in colour]
        materials.append(
            {
                "name": group,
                "pbrMetallicRoughness": {
                    "baseColorFactor": [*linear, 1.0],
                    "metallicFactor": 0.0,
                    "roughnessFactor": 0.7,
                },
            }
        )
    return materials, primitives


def _bones(capsule: Capsule, body: Body, rig: Rig) -> tuple[int, int]:
    """The nodes that move the two ends of a limb."""
    end_bone = capsule.bone if capsule.end_bone < 0 else capsule.end_bone
    nodes = [int(rig.node_of_joint[bone]) for bone in (capsule.bone, end_bone)]
    is_bone = capsule.end < body.form.n_joints and body.form.parents[capsule.end] == capsule.bone
    if is_bone and capsule.end_bone < 0:
        # Where a helper carries the child alone, the limb between the two follows the helper.
        nodes = [rig.parents[rig.node_of_joint[capsule.end]]] * 2
    return nodes[0], nodes[1]


def _limb(
    capsule: Capsule, points: np.ndarray, scale: float, bone: int, end_bone: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Positions, normals, bones, weights and triangles of one tapered capsule in the rest pose."""
    start, end = points[capsule.start], points[capsule.end]
    axis = (end - start) / max(float(np.linalg.norm(end - start)), 1e-9)
    turn = quaternion.between(np.array([0.0, 0.0, 1.0]), axis)
    quarter = np.linspace(0, np.pi / 2, RINGS)
    rise = np.concatenate([-quarter[::-1], quarter])  # angle over the equator of the rounded ends
    at_end = np.repeat([0.0, 1.0], RINGS)
    around = np.linspace(0, 2 * np.pi, SEGMENTS, endpoint=False)
    outward = np.stack(
        [
            np.outer(np.cos(rise), np.cos(around)),
            np.outer(np.cos(rise), np.sin(around)),
            np.outer(np.sin(rise), np.ones(SEGMENTS)),
        ],
        axis=-1,
    )
    normals = quaternion.rotate(turn, outward)
    radius = scale * (capsule.start_radius + at_end * (capsule.end_radius - capsule.start_radius))
    centre = start + at_end[:, None] * (end - start)
    positions = centre[:, None] + radius[:, None, None] * normals
    count = positions.shape[0] * SEGMENTS
    share = np.repeat(at_end, SEGMENTS) if end_bone != bone else np.zeros(count)
    zero = np.zeros(count)
    bones = np.stack([np.full(count, bone), np.where(share > 0, end_bone, 0), zero, zero], axis=-1)
    weights = np.stack([1 - share, share, zero, zero], axis=-1)
    triangles = ring_faces(len(rise), SEGMENTS)[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)
    return positions.reshape(-1, 3), normals.reshape(-1, 3), bones, weights, triangles
