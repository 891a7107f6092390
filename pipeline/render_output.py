"""Motions -> ray-traced videos and pictures: what render.py does once its options are read."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from data.motions.folder import format_of_motions, motion_paths
from data.motions.reader import MotionReader
from options.render import RenderOptions
from pipeline.motions import read_all, read_bodies
from storage.files import MESH_SUFFIX, atomic_path, writable_folder
from utils.blender import require_blender
from visualization.body_mesh import Figure, figure_of_joints, frame_times, read_mesh
from visualization.encode import H264, run_ffmpeg
from visualization.shot import basis_of, choose_azimuth, frame_points, sequence_offsets, sequence_times

PALEST = 0.72  # how far the first pose of a sequence is on its way to the colour of the floor
CAMERA_POINTS = 20000  # vertices that the camera is placed by


def render_all(options: RenderOptions) -> None:
    """Every motion that the options name -> NAME.mp4 or NAME_sequence.png, beside the motion or in `options.out`.

    All are read and checked before the first is rendered.

    Raises:
        UserError: an input is missing or bad, an output cannot be written, or Blender is missing.
    """
    paths = {Path(options.npy).stem: Path(options.npy)} if options.npy else motion_paths(str(options.dir), meshes=True)
    form = format_of_motions(paths.values(), options.joint_type)
    reader = MotionReader(options.reading, form=form, bodies=read_bodies(options.body_model))
    meshes = {name: path for name, path in paths.items() if path.name.endswith(MESH_SUFFIX)}
    lengths = {}
    for name, path in meshes.items():
        figure, fps = read_mesh(path)
        lengths[name] = len(figure.vertices), fps
    motions = read_all(reader, {name: path for name, path in paths.items() if name not in meshes})
    require_blender("render.py")
    lengths |= {name: (len(motion.joints), motion.fps) for name, motion in motions.items()}
    frames = sum(len(_times(*length, options)) for length in lengths.values())
    ending = ".mp4" if options.mode == "video" else "_sequence.png"
    for name, path in paths.items():
        folder = writable_folder(options.out or path.parent)
        target = folder / f"{name if options.out else path.stem}{ending}"
        if name in meshes:
            figure, fps = read_mesh(path)
        else:
            figure, fps = figure_of_joints(motions[name].joints, form), motions[name].fps
        if options.mode == "video":
            render_video(figure, target, options, fps, frames)
            frames = 0
        else:
            render_sequence(figure, target, options)
        print(target, flush=True)


def render_video(figure: Figure, target: Path, options: RenderOptions, fps: float, frames: int = 0) -> None:
    """An .mp4 from a still camera that sees the whole path.

    Args:
        fps: frames a second of the figure, unless the options say otherwise.
        frames: in all of this run, where it is to be told what they cost.
    """
    from visualization.blender_scene import Studio, encode_with_blender  # noqa: PLC0415 - imports bpy

    frame_rate = options.frame_rate or options.fps or fps
    moving = figure.at(_times(len(figure.vertices), fps, options))
    studio = Studio(options.width, options.height, options.samples, options.denoise, options.device)
    azimuth = choose_azimuth(moving.path, figure.front)
    studio.place_camera(frame_points(_some_points(moving.vertices), azimuth, options.width, options.height))
    body = studio.add_figure(moving)
    with tempfile.TemporaryDirectory(prefix=f".{target.stem}_", dir=target.parent) as folder:
        pictures: list[Path] = []
        start = time.monotonic()
        for number, vertices in enumerate(moving.vertices):
            studio.move_figure(body, vertices)
            pictures.append(Path(folder) / f"{number:05d}.png")
            studio.render(pictures[-1])
            if not number and frames:
                print(what_it_costs(time.monotonic() - start, frames, options), file=sys.stderr, flush=True)
            _report(target.name, number + 1, len(moving.vertices), start)
        program = find_ffmpeg()
        if program is None:
            with atomic_path(target) as temporary:
                encode_with_blender(pictures, (options.width, options.height), frame_rate, temporary)
        else:
            source = ("-framerate", f"{frame_rate:g}", "-i", str(Path(folder) / "%05d.png"))
            run_ffmpeg(program, [*source, *H264, "-crf", "18"], target)


def what_it_costs(seconds: float, frames: int, options: RenderOptions) -> str:
    """What all frames of a run take, after the first of them took so many seconds, in a line."""
    whole = seconds * frames
    told = (
        f"{whole / 3600:.1f} hours"
        if whole >= 5400
        else f"{whole / 60:.0f} minutes"
        if whole >= 90
        else f"{whole:.0f} s"
    )
    rough = "" if options.preview else "; --preview is quicker and rougher"
    return (
        f"about {seconds:.1f} s a frame ({options.width} x {options.height}, {options.samples} light paths a pixel), "
        f"{frames} frames: {told}{rough}"
    )


def render_sequence(figure: Figure, target: Path, options: RenderOptions) -> None:
    """One .png with poses along the way, the earlier ones paler."""
    from visualization.blender_scene import Studio  # noqa: PLC0415 - imports bpy

    times = sequence_times(len(figure.vertices), options.poses)
    posed = figure.at(times.astype(np.float64))
    azimuth = choose_azimuth(posed.path, figure.front)
    right = basis_of(azimuth, 0.0)[0]
    width = float(np.ptp(posed.vertices @ right, axis=1).max())
    vertices = posed.vertices + sequence_offsets(posed.path, width, azimuth)[:, None]
    studio = Studio(options.width, options.height, options.samples, options.denoise, options.device)
    studio.place_camera(frame_points(_some_points(vertices), azimuth, options.width, options.height))
    for number, paleness in enumerate(np.linspace(PALEST, 0, len(times)) if len(times) > 1 else [0.0]):
        studio.move_figure(studio.add_figure(posed, number, float(paleness)), vertices[number])
    with atomic_path(target) as temporary:
        studio.render(temporary)


def _times(count: int, fps: float, options: RenderOptions) -> np.ndarray:
    """The moments of a video, of a motion of `count` frames."""
    fps = options.fps or fps
    return frame_times(count, fps, options.frame_rate or fps, options.seconds)


def find_ffmpeg() -> str | None:
    """The ffmpeg of `imageio-ffmpeg`, else the one on PATH, else None."""
    try:
        import imageio_ffmpeg  # noqa: PLC0415 - Blender's Python may lack it

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return shutil.which("ffmpeg")


def _some_points(vertices: np.ndarray) -> np.ndarray:
    """At most about `CAMERA_POINTS` of all vertices of all frames, and always their outermost ones."""
    points = vertices.reshape(-1, 3)
    outermost = [index for axis in range(3) for index in (points[:, axis].argmin(), points[:, axis].argmax())]
    return np.concatenate([points[:: max(1, len(points) // CAMERA_POINTS)], points[outermost]])


def _report(name: str, done: int, total: int, start: float) -> None:
    """A line of progress on stderr: rewritten in a terminal, a line every tenth elsewhere."""
    left = (time.monotonic() - start) / done * (total - done)
    terminal = sys.stderr.isatty()
    if terminal or done == total or done % max(1, total // 10) == 0:
        end = "\n" if done == total or not terminal else ""
        print(
            f"{chr(13) if terminal else ''}{name}: frame {done}/{total}, {left:.0f} s left ", end=end, file=sys.stderr
        )
        sys.stderr.flush()
