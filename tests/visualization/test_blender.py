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

from data.motions.joint_maps import rig_names
from tests.visualization.motions import make_walk
from utils.blender import VARIABLE, blender_command
from utils.formats import get_format
from visualization.bvh import write_bvh
from visualization.captioned import CaptionedMotion
from visualization.formats import ExportSettings, write_motion

BPY_PYTHON = os.environ.get("BPY_PYTHON") or (sys.executable if importlib.util.find_spec("bpy") else "")
READ = """
import sys, bpy, numpy as np
source, target, frames, plain = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]
bpy.ops.wm.read_factory_settings(use_empty=True)
if source.endswith(".bvh"):
    bpy.ops.preferences.addon_enable(module="io_anim_bvh")
    bpy.ops.import_anim.bvh(filepath=source, **({} if plain else {"global_scale": 0.01, "update_scene_fps": True}))
elif source.endswith(".fbx"):
    bpy.context.scene.render.fps = 20
    bpy.ops.wm.fbx_import(filepath=source)
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


needs_bpy = pytest.mark.skipif(not BPY_PYTHON, reason="bpy is not installed (setup_render.sh)")


def opened(path: Path, folder: Path, frames: int, *words: str) -> dict[str, np.ndarray]:
    """What Blender shows of a file: names, places (T, N, 3) in our axes, lowest points of the mesh, and the rate."""
    command = [BPY_PYTHON, "-c", READ, str(path), str(folder / "read.npz"), str(frames), *words]
    result = subprocess.run(command, timeout=550, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    with np.load(folder / "read.npz", allow_pickle=False) as read:
        shown = dict(read)
    # Blender's z is up and its -y is our +z: the figure faces the viewer of the front view.
    places = shown["positions"]
    shown["positions"] = np.stack([places[..., 0], places[..., 2], -places[..., 1]], axis=-1)
    return shown


@needs_bpy
@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["humanml3d", "kit"])
@pytest.mark.parametrize("suffix", ["bvh", "glb", "fbx"])
def test_blender_shows_the_motion(tmp_path: Path, suffix: str, dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, BPY_PYTHON)
    blender_command.cache_clear()
    joints, form = make_walk(dataset, frames=40, turns=1.2), get_format(dataset)
    path = write_motion(tmp_path / "walk", CaptionedMotion(joints), [suffix], ExportSettings(20, form))[suffix]
    shown = opened(path, tmp_path, 40)
    order = [list(shown["names"]).index(name) for name in form.joint_names]
    assert shown["rate"] == pytest.approx(20)
    assert np.linalg.norm(shown["positions"][:, order] - joints, axis=-1).max() < 0.01
    if suffix != "bvh":  # the skin follows the skeleton: its soles are on the ground in every frame
        assert len(shown["lowest"]) == 40 and np.abs(shown["lowest"] - joints[..., 1].min()).max() < 0.08


@needs_bpy
@pytest.mark.slow
def test_a_bvh_for_which_nothing_is_set(tmp_path: Path) -> None:
    """In metres, 24 frames a second, Blender's import shows it right as it stands."""
    joints = make_walk(frames=20, fps=24)
    shown = opened(write_bvh(tmp_path / "walk.bvh", joints, 24, unit="m"), tmp_path, 20, "plain")
    order = [list(shown["names"]).index(name) for name in get_format("humanml3d").joint_names]
    assert shown["rate"] == 24
    assert np.linalg.norm(shown["positions"][:, order] - joints, axis=-1).max() < 0.01


@needs_bpy
@pytest.mark.slow
@pytest.mark.parametrize("rig", ["mixamo", "unreal", "unity", "vrm"])
def test_an_fbx_has_the_rigs_names(tmp_path: Path, rig: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, BPY_PYTHON)
    blender_command.cache_clear()
    names, joints = rig_names(rig), make_walk(frames=10)
    settings = ExportSettings(12.5, frame_rate=20, names=names, rig=rig)
    path = write_motion(tmp_path / "walk", CaptionedMotion(joints, fps=20), ["fbx"], settings)["fbx"]
    assert [each.name for each in tmp_path.iterdir()] == ["walk.fbx"]
    shown = opened(path, tmp_path, 10)
    assert set(names) <= set(shown["names"].tolist())
    order = [list(shown["names"]).index(name) for name in names]
    assert np.linalg.norm(shown["positions"][:, order] - joints, axis=-1).max() < 0.01
