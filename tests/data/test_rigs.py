"""The names that other programs give the joints: 22 each, unique, and read back by the maps that they come from."""

from __future__ import annotations

import json
import typing
from pathlib import Path

import numpy as np
import pytest

from data.motions.joint_maps import guess_joint_map, rig_names
from data.motions.reader import MotionReader
from options.export import FileOptions
from tests.visualization.motions import make_walk
from utils.errors import UserError
from utils.formats import HUMANML3D, get_format
from utils.glb import read_glb
from visualization.bvh import write_bvh
from visualization.gltf import write_glb

RIGS = typing.get_args(typing.get_args(typing.get_type_hints(FileOptions)["rig"])[0])


@pytest.mark.parametrize("rig", RIGS)
def test_names_are_whole_and_unique(rig: str) -> None:
    names = rig_names(rig)
    assert len(names) == len(set(names)) == 22
    sides = {"left": ("Left", "left", "_l"), "right": ("Right", "right", "_r")}
    for joint, name in zip(HUMANML3D.joint_names, names, strict=True):
        for side, words in sides.items():
            assert joint.startswith(f"{side}_") == any(word in name for word in words[:2]) | name.endswith(words[2])
    assert guess_joint_map(names).apply(names, np.zeros((1, 22, 3))).shape == (1, 22, 3)


@pytest.mark.parametrize("rig", RIGS)
def test_files_with_these_names_are_read_back(tmp_path: Path, rig: str) -> None:
    walk, names = make_walk(frames=10), rig_names(rig)
    motion = MotionReader().read(write_bvh(tmp_path / "a.bvh", walk, 20, names=names))
    np.testing.assert_allclose(motion.joints, walk, atol=5e-3)
    document = read_glb(write_glb(tmp_path / "a.glb", walk, 20, names=names, vrm=rig == "vrm")).document
    assert [node["name"] for node in document["nodes"][:22]] == list(names)
    assert ("VRMC_vrm" in document.get("extensionsUsed", ())) == (rig == "vrm")


def test_vrm_says_which_bone_is_which(tmp_path: Path) -> None:
    path = write_glb(tmp_path / "a.glb", make_walk(frames=2), 20, names=rig_names("vrm"), vrm=True)
    document = read_glb(path).document
    for extension in ("VRMC_vrm", "VRMC_vrm_animation"):
        told = document["extensions"][extension]
        assert told["specVersion"] == "1.0"
        bones = told["humanoid"]["humanBones"]
        assert {name: document["nodes"][bone["node"]]["name"] for name, bone in bones.items()} == {
            name: name for name in rig_names("vrm")
        }
    json.dumps(document)


def test_other_skeletons_keep_their_names() -> None:
    with pytest.raises(UserError, match="--rig unity names HumanML3D's joints; those of kit"):
        rig_names("unity", get_format("kit"))
