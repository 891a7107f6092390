"""The .glb is read back from its bytes: valid chunks, right joints, and a skin that follows them."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from tests.visualization.motions import make_walk
from utils import quaternion
from utils.errors import UserError
from utils.formats import get_format
from visualization.body import get_body
from visualization.gltf import write_glb

TYPES = {5126: np.float32, 5121: np.uint8, 5123: np.uint16}
WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}


def read_glb(path: Path) -> tuple[dict, list[np.ndarray]]:
    """The document and its accessors' arrays."""
    data = path.read_bytes()
    magic, version, length = struct.unpack_from("<III", data)
    assert (magic, version, length) == (0x46546C67, 2, len(data))
    size, kind = struct.unpack_from("<II", data, 12)
    assert kind == 0x4E4F534A and size % 4 == 0
    document = json.loads(data[20 : 20 + size])
    binary_size, kind = struct.unpack_from("<II", data, 20 + size)
    binary = data[28 + size :]
    assert kind == 0x004E4942 and len(binary) == binary_size == document["buffers"][0]["byteLength"]
    arrays = []
    for accessor in document["accessors"]:
        view = document["bufferViews"][accessor["bufferView"]]
        assert view["byteOffset"] % 4 == 0
        count = accessor["count"] * WIDTHS[accessor["type"]]
        array = np.frombuffer(binary, TYPES[accessor["componentType"]], count, view["byteOffset"])
        assert array.nbytes == view["byteLength"]
        array = array.reshape(accessor["count"], -1)
        if "min" in accessor:
            np.testing.assert_allclose(array.min(axis=0), accessor["min"], rtol=1e-6)
            np.testing.assert_allclose(array.max(axis=0), accessor["max"], rtol=1e-6)
        arrays.append(array)
    return document, arrays


def world_matrices(document: dict, arrays: list[np.ndarray], frame: int) -> np.ndarray:
    """(N, 4, 4) of all nodes at one key frame."""
    translation = np.array([node.get("translation", [0, 0, 0]) for node in document["nodes"]], dtype=float)
    rotation = np.tile([1.0, 0, 0, 0], (len(translation), 1))
    animation = document["animations"][0]
    for channel in animation["channels"]:
        value = arrays[animation["samplers"][channel["sampler"]]["output"]][frame]
        node = channel["target"]["node"]
        if channel["target"]["path"] == "rotation":
            rotation[node] = value[[3, 0, 1, 2]]
        else:
            translation[node] = value
    local = np.tile(np.eye(4), (len(translation), 1, 1))
    local[:, :3, :3], local[:, :3, 3] = quaternion.to_matrix(rotation), translation
    world = local.copy()
    for node, entry in enumerate(document["nodes"]):
        for child in entry.get("children", []):
            world[child] = world[node] @ local[child]
    return world


@pytest.mark.parametrize("dataset", ["humanml3d", "kit"])
def test_animation_and_skin_follow_the_joints(tmp_path: Path, dataset: str) -> None:
    joints = make_walk(dataset, frames=30, turns=0.8)
    document, arrays = read_glb(write_glb(tmp_path / "walk.glb", joints, 20, get_format(dataset)))
    names = [node["name"] for node in document["nodes"]]
    nodes = [names.index(name) for name in get_format(dataset).joint_names]
    body = get_body(get_format(dataset))
    points = body.display_points(joints)
    skin = document["skins"][0]
    binds = arrays[skin["inverseBindMatrices"]].reshape(-1, 4, 4).transpose(0, 2, 1)
    for frame in (0, 13, 29):
        world = world_matrices(document, arrays, frame)
        assert np.abs(world[nodes, :3, 3] - joints[frame]).max() < 1e-4
        matrices = world[skin["joints"]] @ binds
        for primitive in document["meshes"][0]["primitives"]:
            position, bones, weights = (
                arrays[primitive["attributes"][key]] for key in ("POSITION", "JOINTS_0", "WEIGHTS_0")
            )
            np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
            assert arrays[primitive["indices"]].max() < len(position)
            homogeneous = np.concatenate([position, np.ones((len(position), 1))], axis=1)
            skinned = np.einsum("vk,vkij,vj->vi", weights, matrices[bones], homogeneous)[:, :3]
            group = document["materials"][primitive["material"]]["name"]
            if group.endswith(("arm", "leg")):
                # Every point of the skin lies within its limb's thickness of one of the limb's lines.
                capsules = [capsule for capsule in body.capsules if capsule.group == group]
                near = np.full(len(skinned), np.inf)
                for capsule in capsules:
                    start, end = points[frame, capsule.start], points[frame, capsule.end]
                    along = np.clip(((skinned - start) @ (end - start)) / np.sum((end - start) ** 2), 0, 1)
                    near = np.minimum(near, np.linalg.norm(skinned - start - along[:, None] * (end - start), axis=1))
                assert near.max() < 0.095
    times = arrays[document["animations"][0]["samplers"][0]["input"]].ravel()
    np.testing.assert_allclose(times, np.arange(30) / 20, atol=1e-6)


def test_rest_pose_stands_and_faces_forward(tmp_path: Path) -> None:
    document, arrays = read_glb(write_glb(tmp_path / "walk.glb", make_walk(frames=5), 20))
    by_name = {document["materials"][p["material"]]["name"]: p for p in document["meshes"][0]["primitives"]}
    positions = {name: arrays[p["attributes"]["POSITION"]] for name, p in by_name.items()}
    assert positions["left_arm"][:, 0].mean() > 0.3 and positions["right_arm"][:, 0].mean() < -0.3
    assert positions["face"][:, 2].mean() > positions["head"][:, 2].mean() + 0.03
    assert abs(min(p[:, 1].min() for p in positions.values())) < 0.05
    # Triangles turn their front outwards.
    for name, primitive in by_name.items():
        triangles = arrays[primitive["indices"]].reshape(-1, 3)
        corner = positions[name][triangles].astype(float)
        normal = arrays[primitive["attributes"]["NORMAL"]][triangles].mean(axis=1)
        facing = (np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]) * normal).sum(-1)
        assert facing.min() > -1e-9


def test_other_readers_understand_it(tmp_path: Path) -> None:
    """pygltflib finds skeleton, skin and animation, trimesh a figure of human size that stands upright."""
    pygltflib, trimesh = pytest.importorskip("pygltflib"), pytest.importorskip("trimesh")
    joints = make_walk(frames=30)
    path = write_glb(tmp_path / "walk.glb", joints, 20, name="a walk 🙂")
    document = pygltflib.GLTF2().load_binary(str(path))
    animation, skin = document.animations[0], document.skins[0]
    assert animation.name == "a walk 🙂" and len(skin.joints) == 22
    assert len(animation.channels) == 23  # the root's place, and a rotation a joint
    assert {channel.target.node for channel in animation.channels} == set(skin.joints)
    assert all(document.accessors[sampler.output].count == 30 for sampler in animation.samplers)
    assert document.accessors[animation.samplers[0].input].max == pytest.approx([1.45])
    scene = trimesh.load(path)
    width, height, depth = scene.extents
    assert 1.5 < height < 1.95 and 1.2 < width < 2.0 and depth < 0.6  # the rest pose: arms out
    assert all(len(mesh.faces) > 50 for mesh in scene.geometry.values())


@pytest.mark.parametrize("frames", [1, 2])
def test_shortest_motions(tmp_path: Path, frames: int) -> None:
    document, arrays = read_glb(write_glb(tmp_path / "short.glb", make_walk(frames=frames), 20, foot_locking=True))
    assert all(np.isfinite(array).all() for array in arrays)


def test_bad_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="shape"):
        write_glb(tmp_path / "bad.glb", np.zeros((4, 3)), 20)
    assert not list(tmp_path.iterdir())
