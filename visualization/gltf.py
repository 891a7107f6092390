"""Motions as binary glTF 2.0 (.glb): a skinned mannequin with one animation, which any 3D viewer shows."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from storage.files import atomic_path
from utils import quaternion
from utils.formats import HUMANML3D
from utils.motion_format import MotionFormat
from visualization.body import COLOURS, Body, Capsule, get_body
from visualization.body_mesh import ring_faces
from visualization.bvh import rig_motion
from visualization.kinematics import Rig, forward

SEGMENTS = 16  # around a limb
RINGS = 5  # over each rounded end
FLOAT, BYTE, SHORT = 5126, 5121, 5123  # glTF's component types
NUMBER_TYPES = {FLOAT: np.float32, BYTE: np.uint8, SHORT: np.uint16}
SHAPES = {1: "SCALAR", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
VERTEX_BUFFER, INDEX_BUFFER = 34962, 34963
MAGIC, JSON_CHUNK, BINARY_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942


@dataclass
class _Buffer:
    """The file's binary part as it grows, with its views and accessors."""

    data: bytearray = field(default_factory=bytearray)
    views: list[dict[str, Any]] = field(default_factory=list)
    accessors: list[dict[str, Any]] = field(default_factory=list)

    def add(self, array: np.ndarray, component: int, target: int | None = None, bounds: bool = False) -> int:
        """Appends an array (count,) or (count, components) and returns the index of its accessor."""
        array = np.ascontiguousarray(array, dtype=NUMBER_TYPES[component])
        flat = array.reshape(len(array), -1)
        self.data.extend(b"\0" * (-len(self.data) % 4))
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": array.nbytes}
        if target:
            view["target"] = target
        accessor = {
            "bufferView": len(self.views),
            "componentType": component,
            "count": len(flat),
            "type": SHAPES[flat.shape[1]],
        }
        if bounds:
            accessor |= {"min": flat.min(axis=0).tolist(), "max": flat.max(axis=0).tolist()}
        self.views.append(view)
        self.accessors.append(accessor)
        self.data.extend(array.tobytes())
        return len(self.accessors) - 1


def write_glb(
    path: Path | str,
    joints: np.ndarray,
    fps: float,
    form: MotionFormat = HUMANML3D,
    foot_locking: bool = False,
    name: str = "motion",
) -> Path:
    """Writes joint positions as a .glb with a skeleton, a skinned mannequin and one animation; metres, y up.

    Args:
        joints: (T, J, 3) metres, y up.
        fps: frames per second.
        foot_locking: keeps planted feet in place.
        name: of the animation inside the file.

    Raises:
        UserError: bad joints or fps, or the folder cannot be written.
    """
    rig, pose = rig_motion(joints, fps, form, foot_locking)
    body = get_body(form)
    rest = _rest_positions(rig)
    buffer = _Buffer()
    materials, primitives = _mesh(buffer, body, rig, rest)
    binds = np.tile(np.eye(4), (len(rest), 1, 1))
    binds[:, 3, :3] = -rest  # column-major, as glTF stores matrices
    nodes: list[dict[str, Any]] = []
    for node, joint_name in enumerate(rig.names):
        entry: dict[str, Any] = {"name": joint_name, "translation": (rig.offsets[node] if node else rest[0]).tolist()}
        if rig.children[node]:
            entry["children"] = list(rig.children[node])
        nodes.append(entry)
    nodes.append({"name": "mannequin", "mesh": 0, "skin": 0})

    times = buffer.add(np.arange(len(pose.root)) / float(fps), FLOAT, bounds=True)
    samplers = [{"input": times, "interpolation": "LINEAR", "output": buffer.add(pose.root, FLOAT)}]
    channels = [{"sampler": 0, "target": {"node": 0, "path": "translation"}}]
    for node in range(len(rig.names)):
        turned = pose.local[:, node, [1, 2, 3, 0]]  # glTF writes the real part last
        samplers.append({"input": times, "interpolation": "LINEAR", "output": buffer.add(turned, FLOAT)})
        channels.append({"sampler": len(samplers) - 1, "target": {"node": node, "path": "rotation"}})
    document = {
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
        "animations": [{"name": name, "samplers": samplers, "channels": channels}],
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
    }
    path = Path(path)
    with atomic_path(path) as temporary:
        temporary.write_bytes(_pack(document, bytes(buffer.data)))
    return path


def _pack(document: dict[str, Any], binary: bytes) -> bytes:
    """The two chunks of a .glb with their headers, each padded to four bytes."""
    binary += b"\0" * (-len(binary) % 4)
    document = {**document, "buffers": [{"byteLength": len(binary)}]}
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), JSON_CHUNK) + text + struct.pack("<II", len(binary), BINARY_CHUNK) + binary
    return struct.pack("<III", MAGIC, 2, 12 + len(chunks)) + chunks


def _rest_positions(rig: Rig) -> np.ndarray:
    """(N, 3) nodes of the T-pose, standing on the ground above the origin."""
    unturned = np.zeros((1, len(rig.names), 4))
    unturned[..., 0] = 1
    rest = forward(rig, np.zeros((1, 3)), unturned)[0]
    rest[:, 1] -= rest[:, 1].min()
    return rest


def _mesh(buffer: _Buffer, body: Body, rig: Rig, rest: np.ndarray) -> tuple[list[dict], list[dict]]:
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
