"""A motion on a user's own rig: proportions, names and everything else of the file stay, the feet are on the floor."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from options.export import FileOptions
from pipeline.characters import read_character
from pipeline.export_settings import blender_hint, export_settings
from tests.data.prepare.bodies import named_like, walking_body
from tests.data.prepare.bodies import write_bvh as write_body
from tests.visualization.characters import proportions, write_character
from tests.visualization.motions import make_walk
from utils import quaternion
from utils.bvh import read_bvh
from utils.errors import UserError
from utils.formats import HUMANML3D, get_format
from utils.glb import Glb, read_glb
from visualization.bvh import write_bvh
from visualization.captioned import CaptionedMotion
from visualization.character import Character, glb_tree
from visualization.contacts import contact_segments, detect_contacts
from visualization.edits import locked
from visualization.formats import ExportSettings, write_motion
from visualization.retarget import retarget

SHAPES: dict[str, dict[str, float]] = {
    "same": {},
    "child": {"legs": 0.7, "arms": 1.2, "whole": 0.8},
    "giant": {"legs": 1.2, "hips": 1.4, "whole": 1.3},
}
BONES = [(joint, HUMANML3D.parents[joint]) for joint in range(1, 22)]
CHILD, PARENT = (list(each) for each in zip(*BONES, strict=True))


def character(folder: Path, shape: str = "child", **options: Any) -> Character:
    path = write_character(folder / "own.glb", proportions(**SHAPES[shape]), **options)
    return read_character(str(path), None, HUMANML3D)


def lengths(joints: np.ndarray) -> np.ndarray:
    return np.linalg.norm(joints[..., CHILD, :] - joints[..., PARENT, :], axis=-1)


def directions(joints: np.ndarray, start: int, end: int) -> np.ndarray:
    return quaternion.normalize(joints[:, end] - joints[:, start])


def animated(glb: Glb, frame: int) -> np.ndarray:
    """Places (N, 3) of the nodes in one frame, by the file alone, in the order of the tree."""
    nodes, animation = glb.document["nodes"], glb.document["animations"][0]
    for channel in animation["channels"]:
        accessor = glb.accessors[animation["samplers"][channel["sampler"]]["output"]]
        width = {"VEC3": 3, "VEC4": 4}[accessor["type"]]
        start = glb.views[accessor["bufferView"]]["byteOffset"]
        values = np.frombuffer(bytes(glb.data), np.float32, accessor["count"] * width, start).reshape(-1, width)
        nodes[channel["target"]["node"]][channel["target"]["path"]] = values[frame].tolist()
    return glb_tree(glb, "it").rest[0]


@pytest.mark.parametrize("arms_down", [0, 45])
@pytest.mark.parametrize("shape", SHAPES)
def test_proportions_stay_and_limbs_point_the_same_way(tmp_path: Path, shape: str, arms_down: float) -> None:
    own, walk = character(tmp_path, shape, arms_down=arms_down), make_walk(frames=40, turns=0.3)
    moved = retarget(walk, 20, HUMANML3D, own).joints
    np.testing.assert_allclose(lengths(moved), np.broadcast_to(lengths(own.joints), (40, 21)), atol=1e-6)
    for start, end in ((16, 18), (18, 20), (17, 19), (19, 21)):
        cosine = (directions(moved, start, end) * directions(walk, start, end)).sum(-1)
        assert np.rad2deg(np.arccos(np.clip(cosine, -1, 1))).max() < 12
    for start, end in ((1, 4), (4, 7), (2, 5), (5, 8)):  # may give way so that both feet reach the floor
        cosine = (directions(moved, start, end) * directions(walk, start, end)).sum(-1)
        assert np.rad2deg(np.arccos(np.clip(cosine, -1, 1))).max() < 20
    assert (moved[:, 15, 1] > moved[:, 0, 1]).all()  # the head is up


@pytest.mark.parametrize("shape", SHAPES)
def test_feet_are_on_the_floor_and_go_as_far_as_the_legs(tmp_path: Path, shape: str) -> None:
    own, walk = character(tmp_path, shape), make_walk(frames=60)
    moved = retarget(walk, 20, HUMANML3D, own).joints
    sole = own.joints[[7, 8, 10, 11], 1].min()
    lowest = moved[:, [7, 8, 10, 11], 1].min(axis=1)
    assert np.abs(lowest - sole).max() < 0.03 * own.joints[15, 1]
    way, source = (np.linalg.norm(each[-1, 0] - each[0, 0]) for each in (moved, walk))
    legs = lengths(own.joints)[[3, 6]].sum() / lengths(walk[0])[[3, 6]].sum()
    assert way / source == pytest.approx(legs, rel=0.02)


def test_planted_feet_stay_planted(tmp_path: Path) -> None:
    walk = locked(make_walk(frames=60, speed=1.3), 20, HUMANML3D)
    own = character(tmp_path, "giant")
    moved = retarget(walk, 20, HUMANML3D, own).joints
    contacts = detect_contacts(walk, 20, HUMANML3D)
    for column, ankle in ((0, 7), (2, 8)):
        for first, last in contact_segments(contacts[:, column]):
            slide, source = (np.ptp(each[first : last + 1, ankle][:, [0, 2]], axis=0).max() for each in (moved, walk))
            assert slide < 1.6 * source + 0.02


def test_the_glb_keeps_everything_else(tmp_path: Path) -> None:
    own, walk = character(tmp_path, arms_down=30), make_walk(frames=12, turns=0.2)
    settings = ExportSettings(20, character=own)
    written = write_motion(tmp_path / "moved", CaptionedMotion(walk), ["glb"], settings)["glb"]
    before, after = read_glb(tmp_path / "own.glb"), read_glb(written)
    for key in ("meshes", "skins", "materials", "scenes", "extras"):
        assert before.document[key] == after.document[key]
    assert [node["name"] for node in before.document["nodes"]] == [node["name"] for node in after.document["nodes"]]
    assert (
        after.data[: len(before.data)] == before.data and after.accessors[: len(before.accessors)] == before.accessors
    )
    moved = retarget(walk, 20, HUMANML3D, own)
    for frame in (0, 7, 11):
        np.testing.assert_allclose(animated(read_glb(written), frame), moved.places[frame], atol=1e-4)
    assert settings.character is own and own.glb is not None and "animations" not in own.glb.document


@pytest.mark.parametrize("seed", [0, None])
def test_a_bvh_of_a_glb_is_the_same_motion(tmp_path: Path, seed: int | None) -> None:
    """A .bvh has no rotations at rest: the same places come out all the same."""
    own, walk = character(tmp_path, seed=seed), make_walk(frames=12, turns=0.2)
    path = write_motion(tmp_path / "moved", CaptionedMotion(walk), ["bvh"], ExportSettings(20, character=own))["bvh"]
    motion, moved = read_bvh(path), retarget(walk, 20, HUMANML3D, own)
    for name in ("mixamorig:Hips", "mixamorig:LeftHand", "mixamorig:RightToeBase", "mixamorig:Head"):
        node = own.tree.names.index(name)
        np.testing.assert_allclose(motion.positions()[:, motion.names.index(name)], moved.places[:, node], atol=1e-4)


@pytest.mark.parametrize("kind", ["ours", "mixamo"])
def test_a_bvh_keeps_its_names_hierarchy_and_offsets(tmp_path: Path, kind: str) -> None:
    if kind == "ours":
        path = write_bvh(tmp_path / "own.bvh", proportions(**SHAPES["child"])[None], 30)
    else:
        path = write_body(tmp_path / "own.bvh", named_like(walking_body(1.0), "mixamo"), 20)
    walk = make_walk(frames=12, turns=0.2)
    own = read_character(str(path), None, HUMANML3D)
    written = write_motion(tmp_path / "moved", CaptionedMotion(walk), ["bvh", "png"], ExportSettings(20, character=own))
    before, after = read_bvh(path), read_bvh(written["bvh"])
    assert (before.names, before.parents) == (after.names, after.parents)
    np.testing.assert_allclose(before.offsets, after.offsets, atol=1e-5)
    moved = retarget(walk, 20, HUMANML3D, own)
    np.testing.assert_allclose(after.positions(), moved.places, atol=2e-3 / own.metres)
    np.testing.assert_allclose(lengths(moved.joints)[0], lengths(own.joints), atol=2e-2)


def test_a_character_on_itself_moves_as_before(tmp_path: Path) -> None:
    """The rest pose of the skeleton's own rig is not that of somebody who stands: only limbs can tell."""
    walk = make_walk(frames=30)
    own = read_character(str(write_bvh(tmp_path / "own.bvh", walk[:1], 20)), None, HUMANML3D)
    moved = retarget(walk, 20, HUMANML3D, own).joints
    limbs = [4, 5, 7, 8, 18, 19, 20, 21]
    away = moved - moved[:, :1] - (walk - walk[:, :1])
    assert np.linalg.norm(away[:, limbs], axis=-1).max() < 0.15


def test_vrm_says_itself_which_bones_are_which(tmp_path: Path) -> None:
    """VRM 0 and 1; bones that a VRM may lack are made up for."""
    path = write_character(tmp_path / "own.glb", proportions(), rig="vrm")
    for version in ("VRMC_vrm", "VRM"):
        glb = read_glb(path)
        found = {node["name"]: {"node": number} for number, node in enumerate(glb.document["nodes"][:22])}
        for lacking in ("upperChest", "leftToes", "rightToes"):
            del found[lacking]
        for number, node in enumerate(glb.document["nodes"]):
            node["name"] = f"J_Bip_{number}"
        bones = found if version == "VRMC_vrm" else [{"bone": name, **bone} for name, bone in found.items()]
        glb.document["extensions"] = {version: {"humanoid": {"humanBones": bones}}}
        (tmp_path / "own.vrm").write_bytes(glb.pack())
        own = read_character(str(tmp_path / "own.vrm"), None, HUMANML3D)
        assert own.upright and own.tree.names[own.nodes[0]] == "J_Bip_0"
        moved = retarget(make_walk(frames=10), 20, HUMANML3D, own)
        assert np.isfinite(moved.places).all()


def test_a_map_of_ones_own(tmp_path: Path) -> None:
    path = write_character(tmp_path / "own.glb", proportions())
    glb = read_glb(path)
    for number, node in enumerate(glb.document["nodes"]):
        node["name"] = f"bone{number:02d}"
    path.write_bytes(glb.pack())
    with pytest.raises(UserError, match="--target .*no joint is known by its name.*--target_map FILE"):
        read_character(str(path), None, HUMANML3D)
    joints = {joint: f"bone{number:02d}" for number, joint in enumerate(HUMANML3D.joint_names)}
    (tmp_path / "map.json").write_text(json.dumps({"joints": joints}))
    own = read_character(str(path), str(tmp_path / "map.json"), HUMANML3D)
    assert own.nodes.tolist() == [own.tree.names.index(name) for name in joints.values()]
    glb.document["nodes"][4]["name"] = glb.document["nodes"][20]["name"] = "other"
    path.write_bytes(glb.pack())
    with pytest.raises(UserError, match="needs bone04, bone20"):
        read_character(str(path), str(tmp_path / "map.json"), HUMANML3D)


def test_joints_without_a_node_are_named(tmp_path: Path) -> None:
    path = write_character(tmp_path / "own.glb", proportions())
    glb = read_glb(path)
    glb.document["nodes"][20]["name"] = "paw"
    path.write_bytes(glb.pack())
    with pytest.raises(UserError, match="no node is called as left_wrist .LeftHand. is in mixamo,.*--target_map FILE"):
        read_character(str(path), None, HUMANML3D)


def test_files_that_are_no_characters(tmp_path: Path) -> None:
    whole = write_character(tmp_path / "own.glb", proportions()).read_bytes()
    glb = read_glb(tmp_path / "own.glb")

    def changed(change: Any) -> bytes:
        other = glb.copy()
        change(other.document)
        return other.pack()

    wrong = {
        "no .glb file": [b"", b"glTF", b"x" * 100],
        "no whole glTF": [whole[:100], whole[:-4], whole[:4] + b"\1" + whole[5:]],
        "holds no skeleton": [changed(lambda each: each.pop("nodes"))],
        "in a circle": [
            changed(lambda each: each["nodes"][20].update(children=[0]) or each["nodes"][-1].pop("children"))
        ],
        "hangs on two": [changed(lambda each: each["nodes"][20].update(children=[0]))],
        "none of its": [changed(lambda each: each["nodes"][20].update(children=[999]))],
        "is not 3 numbers": [changed(lambda each: each["nodes"][20].update(translation=[1, "a", 2]))],
        "mirrored or scaled": [
            changed(lambda each: each["nodes"][-1].update(scale=[1, 2, 1])),
            changed(lambda each: each["nodes"][-1].update(scale=[-1, 1, 1])),
            changed(lambda each: each["nodes"][0].update(matrix=[0] * 16)),
        ],
        "no glTF document": [changed(lambda each: each.update(nodes=3)), changed(lambda each: each.update(skins=[1]))],
    }
    for words, contents in wrong.items():
        for content in contents:
            (tmp_path / "bad.glb").write_bytes(content)
            with pytest.raises(UserError, match=f"--target {tmp_path}/bad.glb.*{words}"):
                read_character(str(tmp_path / "bad.glb"), None, HUMANML3D)
    for path, words in (("none.glb", "does not exist"), ("a.fbx", "give a character as .glb, .vrm, .bvh")):
        with pytest.raises(UserError, match=words):
            read_character(str(tmp_path / path), None, HUMANML3D)
    with pytest.raises(UserError, match="not of kit"):
        read_character(str(tmp_path / "own.glb"), None, get_format("kit"))


def test_a_mesh_that_is_called_like_a_bone_is_none(tmp_path: Path) -> None:
    path = write_character(tmp_path / "own.glb", proportions())
    glb = read_glb(path)
    assert "mesh" in glb.document["nodes"][22]
    glb.document["nodes"][22]["name"] = "mixamorig:Head"
    path.write_bytes(glb.pack())
    own = read_character(str(path), None, HUMANML3D)
    assert own.tree.numbers[own.nodes[15]] == 15


@pytest.mark.parametrize("frames", [1, 2])
def test_the_shortest_and_somebody_who_lies(tmp_path: Path, frames: int) -> None:
    own, walk = character(tmp_path), make_walk(frames=frames)
    lying = quaternion.rotate(quaternion.from_axis_angle(np.array([1.0, 0, 0]), np.deg2rad(-90)), walk)
    for joints in (walk, lying - lying.min(axis=(0, 1)) * [0, 1, 0]):
        moved = retarget(joints, 20, HUMANML3D, own).joints
        np.testing.assert_allclose(lengths(moved)[0], lengths(own.joints), atol=1e-6)
        assert -0.15 < moved[..., 1].min() < 0.15


def test_a_bvh_has_no_mesh(tmp_path: Path) -> None:
    path = write_bvh(tmp_path / "own.bvh", make_walk(frames=1), 20)
    with pytest.raises(UserError, match=r"has no mesh for glb: --formats bvh"):
        export_settings(FileOptions(target=str(path)), HUMANML3D, ["bvh", "glb"])
    settings = export_settings(FileOptions(target=str(path)), HUMANML3D, ["bvh"])
    assert "bvh: cm, 20 frames a second; Blender's Import > BVH: Scale 0.01" in blender_hint(["bvh"], settings)
    glb = export_settings(
        FileOptions(target=str(write_character(tmp_path / "a.glb", proportions()))), HUMANML3D, ["bvh"]
    )
    assert "bvh: m," in (hint := blender_hint(["bvh"], glb)) and "Scale" not in hint


def test_a_node_with_a_matrix_can_be_moved(tmp_path: Path) -> None:
    glb = read_glb(write_character(tmp_path / "own.glb", proportions()))
    for node in glb.document["nodes"][:22]:
        turn = quaternion.to_matrix(np.array(node["rotation"])[[3, 0, 1, 2]])
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = turn, node.pop("translation")
        node.pop("rotation")
        node["matrix"] = matrix.T.ravel().tolist()
    (tmp_path / "matrix.glb").write_bytes(glb.pack())
    walk = make_walk(frames=4)
    own = [read_character(str(tmp_path / name), None, HUMANML3D) for name in ("own.glb", "matrix.glb")]
    places = [retarget(walk, 20, HUMANML3D, each).places for each in own]
    np.testing.assert_allclose(*places, atol=1e-6)
    written = write_motion(tmp_path / "m", CaptionedMotion(walk), ["glb"], ExportSettings(20, character=own[1]))["glb"]
    np.testing.assert_allclose(animated(read_glb(written), 3), places[0][3], atol=1e-4)
    assert math.isfinite(own[1].metres)
