"""A .glb -> an .fbx, in Blender or a Python that has its `bpy`, without the project: `-- A.glb A.fbx FPS ROOT`."""

from __future__ import annotations

import math
import sys

import bpy


def main(source: str, target: str, fps: float, root: str) -> None:
    """A .glb -> an .fbx whose skeleton hangs on a node `root`."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    for addon in ("io_scene_gltf2", "io_scene_fbx"):
        bpy.ops.preferences.addon_enable(module=addon)
    scene = bpy.context.scene
    # Blender counts in frames, a whole number over a base a second; its reader of glTF takes the number times the base.
    whole = math.ceil(fps)
    scene.render.fps, scene.render.fps_base = whole, fps / whole
    bpy.ops.import_scene.gltf(filepath=source)
    scene.render.fps_base = whole / fps
    armatures = [thing for thing in bpy.data.objects if thing.type == "ARMATURE"]
    for armature in armatures:
        armature.name = root
    for shape in [thing for thing in bpy.data.objects if thing.type == "MESH" and not thing.users_scene]:
        bpy.data.objects.remove(shape)
    ranges = [action.frame_range for action in bpy.data.actions]
    scene.frame_start, scene.frame_end = (round(pick(each[i] for each in ranges)) for i, pick in ((0, min), (1, max)))
    for shown in [thing for thing in bpy.data.objects if thing.name.startswith("Icosphere")]:
        bpy.data.objects.remove(shown)  # how Blender draws bones of a .glb
    bpy.ops.export_scene.fbx(
        filepath=target,
        object_types={"ARMATURE", "MESH", "EMPTY"},
        apply_scale_options="FBX_SCALE_ALL",  # else everything is a hundred times too small, or says so
        add_leaf_bones=False,
        bake_anim_use_all_actions=False,
        bake_anim_use_nla_strips=False,
        bake_anim_simplify_factor=0.0,
        path_mode="COPY",
        embed_textures=True,
    )


if __name__ == "__main__":
    given = sys.argv[sys.argv.index("--") + 1 :]
    main(given[0], given[1], float(given[2]), given[3])
