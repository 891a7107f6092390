"""Every kind of file that a motion leaves as, behind one call: what the demo and the export command write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from utils.errors import UserError
from utils.formats import HUMANML3D
from utils.motion_format import MotionFormat
from visualization.bvh import write_bvh
from visualization.captioned import CaptionedMotion
from visualization.character import Character
from visualization.checks import check_fps, check_joints
from visualization.edits import Trim, in_place, locked, trimmed
from visualization.fbx import glb_beside, write_fbx
from visualization.gltf import write_glb
from visualization.html import write_html
from visualization.retarget import Retargeted, retarget
from visualization.sequence import render_sequence
from visualization.video import arrange, render_video

FORMATS = ("mp4", "gif", "png", "bvh", "glb", "fbx", "html")
COMPARED = ("mp4", "gif", "html")  # formats that can show several motions side by side
MOST_COMPARED = 16


@dataclass(frozen=True)
class ExportSettings:
    """What is common to all files of one export.

    Attributes:
        fps: frames per second of joints that tell no rate of their own.
        form: of the joints.
        frame_rate: frames per second of the files; None: as the joints.
        foot_locking: planted feet stay in place.
        in_place: the root stays over where it starts.
        trim: which seconds are written, see `trimmed`.
        names: of the joints in animation files (bvh, glb, fbx); None: the skeleton's own.
        rig: the program whose names these are.
        character: onto which the motion is put; animation files are its own then, others show its joints.
        unit: of lengths in a .bvh.
        size: (width, height) in pixels of videos and pictures; None: each format's own.
    """

    fps: float
    form: MotionFormat = HUMANML3D
    frame_rate: float | None = None
    foot_locking: bool = False
    in_place: bool = False
    trim: Trim | None = None
    names: tuple[str, ...] | None = None
    rig: str | None = None
    character: Character | None = None
    unit: Literal["cm", "m"] = "cm"
    size: tuple[int, int] | None = None

    @property
    def written_fps(self) -> float:
        """Frames per second of the files."""
        return self.frame_rate or self.fps


def _write(path: Path, motion: CaptionedMotion, settings: ExportSettings, moved: Retargeted | None = None) -> Path:
    """Writes a file of the kind that its suffix says; `moved` is the motion as the character does it."""
    joints, words, fps, form = motion.joints, motion.prompt, settings.written_fps, settings.form
    match path.suffix:
        case ".bvh" if moved is not None:
            return moved.write_bvh(path, fps)
        case ".glb" if moved is not None:
            return moved.write_glb(path, fps)
        case ".bvh":
            return write_bvh(path, joints, fps, form, unit=settings.unit, names=settings.names)
        case ".glb":
            return write_glb(path, joints, fps, form, names=settings.names, vrm=settings.rig == "vrm")
        case ".fbx":
            with glb_beside(path) as glb:
                _write(glb, motion, settings, moved)
                return write_fbx(path, glb, fps, root="root" if settings.rig == "unreal" else "Armature")
        case ".html":
            return write_html(path, [replace(motion, prompt="")], fps, form, words)
        case ".png":
            return render_sequence(path, joints, fps, words, form, settings.size)
    return render_video(path, [joints], fps, words, form, settings.size)


def resample(joints: np.ndarray, fps: float, frame_rate: float) -> np.ndarray:
    """Joints (T, J, 3) at another frame rate, by cubic splines through time; the first frame stays the first.

    Raises:
        UserError: `fps` or `frame_rate` is no number between 1 and 240.
    """
    fps, frame_rate = check_fps(fps), check_fps(frame_rate)
    if fps == frame_rate or len(joints) < 2:
        return joints
    from scipy.interpolate import CubicSpline  # a fifth of a second that most files do not need

    seconds = np.arange(len(joints)) / fps
    count = int(np.floor(seconds[-1] * frame_rate + 1e-6)) + 1
    return CubicSpline(seconds, joints, axis=0)(np.arange(count) / frame_rate)


def write_motion(
    stem: Path, motion: CaptionedMotion, formats: Sequence[str], settings: ExportSettings
) -> dict[str, Path]:
    """Writes one motion in several formats, as STEM.bvh, STEM.glb, ...

    Args:
        stem: the files' path without their ending.
        motion: joints (T, J, 3) metres, y up, with the words that videos, pictures and pages show.
        formats: of `FORMATS`.
        settings: see `ExportSettings`.

    Returns:
        the written file of each format.

    Raises:
        UserError: unknown format, bad joints, fps or size, or the folder cannot be written. Joints are checked first.
    """
    _check_formats(formats, FORMATS)
    motion, moved = _prepare(motion, settings)
    return {kind: _write(stem.with_name(f"{stem.name}.{kind}"), motion, settings, moved) for kind in formats}


def write_comparison(
    stem: Path, motions: Sequence[CaptionedMotion], formats: Sequence[str], settings: ExportSettings
) -> dict[str, Path]:
    """Writes several motions side by side into one file a format, as STEM.html, STEM.mp4 or STEM.gif.

    Args:
        motions: two to `MOST_COMPARED`; a prompt that all share becomes the heading, and their labels tell them apart.

    Raises:
        UserError: as `write_motion` and `check_comparison`.
    """
    check_comparison(len(motions), formats, settings)
    motions = [_prepare(motion, settings)[0] for motion in motions]
    if len({motion.label for motion in motions}) == 1:  # tells nothing apart
        motions = [replace(motion, label="") for motion in motions]
    title = ""
    if len({motion.prompt for motion in motions}) == 1:
        title, motions = motions[0].prompt, [replace(motion, prompt="") for motion in motions]
    joints = [motion.joints for motion in motions]
    labels = [", ".join(filter(None, (motion.prompt, motion.label))) for motion in motions]
    fps, form, written = settings.written_fps, settings.form, {}
    for kind in formats:
        path = stem.with_name(f"{stem.name}.{kind}")
        if kind == "html":
            written[kind] = write_html(path, motions, fps, form, title)
        else:
            written[kind] = render_video(path, joints, fps, title, form, settings.size, labels)
    return written


def check_comparison(count: int, formats: Sequence[str], settings: ExportSettings) -> None:
    """What can be wrong with a comparison of so many motions before there is any file.

    Raises:
        UserError: unknown format, too few or too many motions, or a size that leaves too little for each.
    """
    _check_formats(formats, COMPARED)
    if not 2 <= count <= MOST_COMPARED:
        raise UserError(f"{count} motions cannot stand side by side: compare 2 to {MOST_COMPARED}")
    for kind in set(formats) - {"html"}:
        arrange(count, settings.size, still=kind == "gif")


def export_folder(
    motions: Mapping[str, CaptionedMotion],
    folder: Path,
    formats: Sequence[str],
    compare: Sequence[str],
    settings: ExportSettings,
) -> list[Path]:
    """Writes every motion in every format into `folder`, with a progress bar, and the comparisons that are wanted.

    Without `settings.frame_rate` each file has its motion's own rate, a comparison the highest of its motions.

    Returns:
        the files.

    Raises:
        UserError: see `write_motion` and `write_comparison`; a comparison that cannot be is found before any file.
    """
    shown = list(motions.values())[:MOST_COMPARED]
    if compare:
        check_comparison(len(shown), compare, settings)
    for name, motion in motions.items():
        own = replace(settings, fps=motion.fps or settings.fps)
        try:
            _prepare(motion, replace(own, foot_locking=False, character=None))
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
    written: list[Path] = []
    for name, motion in tqdm(motions.items(), desc="exporting", unit="motion"):
        own = replace(settings, fps=motion.fps or settings.fps)
        written += write_motion(folder / name, motion, formats, own).values()
    if compare:
        if len(shown) < len(motions):
            print(f"the comparison shows the first {MOST_COMPARED} of {len(motions)} motions")
        common = replace(settings, fps=max(motion.fps or settings.fps for motion in shown))
        written += write_comparison(folder / "comparison", shown, compare, common).values()
    print(f"{folder}: {len(written)} files of {len(motions)} motions")
    return written


def _check_formats(formats: Sequence[str], known: Sequence[str]) -> None:
    unknown = [kind for kind in formats if kind not in known]
    if unknown:
        raise UserError(f"no format is called {unknown[0]!r} here: there are {', '.join(known)}")


def _prepare(motion: CaptionedMotion, settings: ExportSettings) -> tuple[CaptionedMotion, Retargeted | None]:
    """The motion checked, at the frame rate of the files, and as the settings want it; and put onto their character."""
    form, fps = settings.form, settings.written_fps
    joints = resample(check_joints(motion.joints, form), motion.fps or settings.fps, fps)
    joints = trimmed(joints, fps, form, settings.trim)
    if settings.foot_locking:
        joints = locked(joints, fps, form)
    if settings.in_place:
        joints = in_place(joints)
    if settings.character is None:
        return replace(motion, joints=joints), None
    moved = retarget(joints, fps, form, settings.character)
    return replace(motion, joints=moved.joints), moved
