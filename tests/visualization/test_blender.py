"""Blender itself opens the files: joints within a centimetre, up is up, and the figure faces where it should.

Needs the Python package `bpy`; in another environment than the project's, run this file with its interpreter's path in
the environment variable BPY_PYTHON, as tests/render_check.sh does.
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
from utils.formats import get_format
from visualization.bvh import write_bvh
from visualization.gltf import write_glb

BPY_PYTHON = os.environ.get("BPY_PYTHON") or (sys.executable if importlib.util.find_spec("bpy") else "")
READ = """
import sys, bpy, numpy as np
source, target, frames = sys.argv[1], sys.argv[2], int(sys.argv[3])
bpy.ops.wm.read_factory_settings(use_empty=True)
if source.endswith(".bvh"):
    bpy.ops.preferences.addon_enable(module="io_anim_bvh")
    bpy.ops.import_anim.bvh(filepath=source, global_scale=0.01, update_scene_fps=True)
else:
    bpy.context.scene.render.fps = 20  # glTF counts in seconds, Blender in frames
    bpy.ops.preferences.addon_enable(module="io_scene_gltf2")
    bpy.ops.import_scene.gltf(filepath=source)
scene = bpy.context.scene
armature = next(thing for thing in bpy.data.objects if thing.type == "ARMATURE")
first = int(armature.animation_data.action.frame_range[0])
positions, lowest = [], []
for frame in range(first, first + frames):
    scene.frame_set(frame)
    positions.append([list(armature.matrix_world @ bone.head) for bone in armature.pose.bones])
    for thing in bpy.data.objects:
        if thing.type == "MESH" and thing.find_armature():
            shown = thing.evaluated_get(bpy.context.evaluated_depsgraph_get())
            lowest.append(min((shown.matrix_world @ vertex.co).z for vertex in shown.data.vertices))
rate = scene.render.fps / scene.render.fps_base
names = [bone.name for bone in armature.pose.bones]
np.savez(target, names=names, positions=np.array(positions), lowest=lowest, rate=rate)
"""


@pytest.mark.skipif(not BPY_PYTHON, reason="bpy is not installed")
@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["humanml3d", "kit"])
@pytest.mark.parametrize("suffix", ["bvh", "glb"])
def test_blender_shows_the_motion(tmp_path: Path, suffix: str, dataset: str) -> None:
    joints = make_walk(dataset, frames=40, turns=1.2)
    path = tmp_path / f"walk.{suffix}"
    (write_bvh if suffix == "bvh" else write_glb)(path, joints, 20, get_format(dataset))
    command = [BPY_PYTHON, "-c", READ, str(path), str(tmp_path / "read.npz"), "40"]
    result = subprocess.run(command, timeout=550, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    with np.load(tmp_path / "read.npz", allow_pickle=False) as read:
        order = [list(read["names"]).index(name) for name in get_format(dataset).joint_names]
        blender, lowest = read["positions"][:, order], read["lowest"]
        assert read["rate"] == pytest.approx(20)
    # Blender's z is up and its -y is our +z: the figure faces the viewer of the front view.
    ours = np.stack([blender[..., 0], blender[..., 2], -blender[..., 1]], axis=-1)
    assert np.linalg.norm(ours - joints, axis=-1).max() < 0.01
    if suffix == "glb":  # the skin follows the skeleton: its soles are on the ground in every frame
        assert len(lowest) == 40 and np.abs(lowest - joints[..., 1].min()).max() < 0.08
