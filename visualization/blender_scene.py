"""The studio in Blender: floor, light, camera, figures, Cycles. The only module that imports `bpy`.

The project's y is up and its bodies face +z; Blender's z is up: (x, y, z) becomes (x, -z, y).
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import bpy
import numpy as np

from utils.errors import UserError
from visualization.body_mesh import Figure
from visualization.shot import FIELD_OF_VIEW, Shot

AXES = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])  # ours -> Blender's, for column vectors
FLOOR_COLOURS = ((213, 218, 226), (200, 207, 217))
SKY = (226, 232, 240)
TILE = 0.5  # metres
GPU_KINDS = ("OPTIX", "CUDA", "HIP", "ONEAPI", "METAL")


class Studio:
    """An empty stage of one picture size; figures and a camera are put in, pictures come out."""

    def __init__(self, width: int, height: int, samples: int, denoise: bool, device: str) -> None:
        """`samples`: light paths a pixel. `device`: auto, cpu or gpu.

        Raises:
            UserError: a GPU was asked for and there is none that Cycles knows.
        """
        with quiet():
            bpy.ops.wm.read_factory_settings(use_empty=True)
        self._scene = scene = bpy.context.scene
        scene.render.engine = "CYCLES"
        scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = width, height, 100
        scene.render.image_settings.file_format = "PNG"
        scene.render.image_settings.color_mode = "RGB"
        scene.render.use_persistent_data = True  # floor and light stay in memory between the frames
        scene.view_settings.view_transform = "Standard"  # colours come out as they are named in `body.COLOURS`
        cycles = scene.cycles
        cycles.samples, cycles.use_denoising = samples, denoise
        cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 4, 3, 2
        cycles.device = "GPU" if _enable_gpu(device) else "CPU"
        self._add_floor()
        self._add_light()

    def add_figure(self, figure: Figure, frame: int = 0, paleness: float = 0.0) -> bpy.types.Object:
        """Puts one frame of a figure on the stage.

        Args:
            frame: which of its frames.
            paleness: 0 its colours, 1 those of the floor.
        """
        mesh = bpy.data.meshes.new("figure")
        mesh.from_pydata((figure.vertices[frame] @ AXES.T).tolist(), [], figure.faces.tolist())
        for number, colour in enumerate(figure.colours):
            mixed = (1 - paleness) * np.array(colour) + paleness * np.array(FLOOR_COLOURS[0])
            mesh.materials.append(_material(f"figure {number}", mixed, roughness=0.5))
        mesh.polygons.foreach_set("material_index", figure.groups.astype(np.int32))
        mesh.polygons.foreach_set("use_smooth", np.ones(len(figure.faces), dtype=bool))
        mesh.update()
        body = bpy.data.objects.new("figure", mesh)
        self._scene.collection.objects.link(body)
        return body

    def move_figure(self, body: bpy.types.Object, vertices: np.ndarray) -> None:
        """Gives a figure other vertices (V, 3)."""
        body.data.vertices.foreach_set("co", (vertices @ AXES.T).astype(np.float32).ravel())
        body.data.update()

    def place_camera(self, shot: Shot) -> None:
        """Puts the camera there."""
        data = bpy.data.cameras.new("camera")
        data.sensor_fit, data.angle = "AUTO", FIELD_OF_VIEW
        camera = bpy.data.objects.new("camera", data)
        matrix = np.eye(4)
        matrix[:3, :3] = AXES @ shot.basis.T  # a camera looks along its -z, with y up
        matrix[:3, 3] = AXES @ shot.position
        camera.matrix_world = matrix.T.tolist()
        self._scene.collection.objects.link(camera)
        self._scene.camera = camera

    def render(self, path: Path) -> None:
        """Renders the picture into a .png.

        Raises:
            UserError: Blender wrote nothing.
        """
        self._scene.render.filepath = str(path)
        with quiet():
            bpy.ops.render.render(write_still=True)
        if not path.is_file():
            raise UserError(f"Blender could not render {path.name}: see its messages above")

    def _add_floor(self) -> None:
        size = 200.0
        mesh = bpy.data.meshes.new("floor")
        # A little below 0, so that the checker pattern, which is solid, has no seam in the floor's own plane.
        corners = [(x * size, y * size, -0.002) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        mesh.from_pydata(corners, [], [(0, 1, 2, 3)])
        material = _material("floor", FLOOR_COLOURS[0], roughness=0.8)
        nodes, links = material.node_tree.nodes, material.node_tree.links
        place, checker = nodes.new("ShaderNodeNewGeometry"), nodes.new("ShaderNodeTexChecker")
        checker.inputs["Scale"].default_value = 1 / TILE
        for number, colour in enumerate(FLOOR_COLOURS, start=1):
            checker.inputs[f"Color{number}"].default_value = _linear(colour)
        links.new(place.outputs["Position"], checker.inputs["Vector"])
        links.new(checker.outputs["Color"], _shader(material).inputs["Base Color"])
        mesh.materials.append(material)
        self._scene.collection.objects.link(bpy.data.objects.new("floor", mesh))

    def _add_light(self) -> None:
        world = bpy.data.worlds.new("world")
        self._scene.world = world
        world.use_nodes = True
        background = next(node for node in world.node_tree.nodes if node.type == "BACKGROUND")
        background.inputs["Color"].default_value = _linear(SKY)
        background.inputs["Strength"].default_value = 0.36
        for name, energy, softness, tilt, turn in (("key", 3.0, 12.0, 42.0, 35.0), ("fill", 0.3, 60.0, 55.0, -120.0)):
            light = bpy.data.lights.new(name, "SUN")
            light.energy, light.angle = energy, np.deg2rad(softness)
            sun = bpy.data.objects.new(name, light)
            sun.rotation_euler = (np.deg2rad(tilt), 0.0, np.deg2rad(turn))
            self._scene.collection.objects.link(sun)


def encode_with_blender(pictures: Sequence[Path], size: tuple[int, int], frame_rate: float, path: Path) -> None:
    """Writes pictures of `size` (width, height) as an .mp4 with Blender's own encoder, for want of another ffmpeg.

    Raises:
        UserError: this Blender cannot.
    """
    scene = bpy.data.scenes.new("video")
    try:
        editor = scene.sequence_editor_create()
        strips = editor.strips if hasattr(editor, "strips") else editor.sequences  # the name before Blender 4.4
        strip = strips.new_image("pictures", str(pictures[0]), 1, 1)
        for picture in pictures[1:]:
            strip.elements.append(picture.name)
        render = scene.render
        render.resolution_x, render.resolution_y, render.resolution_percentage = *size, 100
        render.fps, render.fps_base = round(frame_rate * 100), 100.0
        scene.frame_start, scene.frame_end = 1, len(pictures)
        if hasattr(render.image_settings, "media_type"):  # Blender 5
            render.image_settings.media_type = "VIDEO"
        render.image_settings.file_format = "FFMPEG"
        render.ffmpeg.format, render.ffmpeg.codec = "MPEG4", "H264"
        render.ffmpeg.constant_rate_factor = "HIGH"
        scene.view_settings.view_transform = "Standard"
        render.use_file_extension, render.filepath = False, str(path)
        with quiet():
            bpy.ops.render.render(animation=True, scene=scene.name)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise UserError(f"cannot write {path}: no ffmpeg on PATH, and Blender says: {error}") from error
    finally:
        bpy.data.scenes.remove(scene)
    if not path.is_file():
        raise UserError(f"cannot write {path}: no ffmpeg on PATH, and Blender has no encoder")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps Blender's chatter off stdout; it writes past Python, so the descriptor itself is redirected."""
    sys.stdout.flush()
    kept, nothing = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nothing)


def _enable_gpu(device: str) -> bool:
    """Turns on the GPUs that Cycles knows; False for the CPU.

    Raises:
        UserError: `device` is gpu and there is none.
    """
    if device == "cpu":
        return False
    addon = bpy.context.preferences.addons.get("cycles")
    if addon is not None:
        for kind in GPU_KINDS:
            try:
                with quiet():
                    addon.preferences.compute_device_type = kind
                    addon.preferences.get_devices()
            except TypeError:  # this build of Blender does not know the kind
                continue
            found = [entry for entry in addon.preferences.devices if entry.type == kind]
            for entry in found:
                entry.use = True
            if found:
                return True
    if device == "gpu":
        raise UserError("--device gpu: Cycles finds no GPU here; leave the flag out to render on the CPU")
    return False


def _material(name: str, colour: Sequence[float], roughness: float) -> bpy.types.Material:
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    shader = _shader(material)
    shader.inputs["Base Color"].default_value = _linear(colour)
    shader.inputs["Roughness"].default_value = roughness
    return material


def _shader(material: bpy.types.Material) -> bpy.types.Node:
    return next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")


def _linear(colour: Sequence[float]) -> tuple[float, float, float, float]:
    """A screen colour, 0-255, as the linear light that Blender reckons with."""
    share = np.asarray(colour, dtype=np.float64) / 255
    light = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return (*map(float, light), 1.0)
