"""Blender itself opens the files: joints within a centimetre, up is up, and the figure faces where it should.

Needs the Python package `bpy`; in another environment than the project's, run this file with its interpreter's path in
the environment variable BPY_PYTHON.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.visualization.motions import make_walk
from utils.skeleton import get_skeleton
from visualization.bvh import write_bvh

BPY_PYTHON = os.environ.get("BPY_PYTHON") or (sys.executable if importlib.util.find_spec("bpy") else "")
READ_BVH = """
import sys, bpy, numpy as np
source, target, frames = sys.argv[1], sys.argv[2], int(sys.argv[3])
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.preferences.addon_enable(module="io_anim_bvh")
bpy.ops.import_anim.bvh(filepath=source, global_scale=0.01)
armature = bpy.context.object
positions = []
for frame in range(1, frames + 1):
    bpy.context.scene.frame_set(frame)
    positions.append([list(armature.matrix_world @ bone.head) for bone in armature.pose.bones])
np.savez(target, names=[bone.name for bone in armature.pose.bones], positions=np.array(positions))
"""


@pytest.mark.skipif(not BPY_PYTHON, reason="bpy is not installed")
@pytest.mark.parametrize("dataset", ["humanml3d", "kit"])
def test_blender_reads_the_bvh(tmp_path: Path, dataset: str) -> None:
    joints = make_walk(dataset, frames=40, turns=1.2)
    write_bvh(tmp_path / "walk.bvh", joints, 20, dataset)
    command = [BPY_PYTHON, "-c", READ_BVH, str(tmp_path / "walk.bvh"), str(tmp_path / "read.npz"), "40"]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    with np.load(tmp_path / "read.npz", allow_pickle=False) as read:
        order = [list(read["names"]).index(name) for name in get_skeleton(dataset).joint_names]
        blender = read["positions"][:, order]
    # Blender's z is up and its -y is our +z: the figure faces the viewer of the front view.
    ours = np.stack([blender[..., 0], blender[..., 2], -blender[..., 1]], axis=-1)
    assert np.linalg.norm(ours - joints, axis=-1).max() < 0.01
