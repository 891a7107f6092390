"""The options of visualization/export.py, and what the demo shares with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from data.motions.settings import BODY_MODEL_HELP, JOINT_TYPE_HELP, ReadSettings
from options.groups import FOLDER, rate_option
from utils.errors import UserError
from utils.schema import Pattern, option

Comparison = Literal["html", "mp4", "gif"]
Written = Literal["mp4", "gif", "png", "bvh", "glb", "fbx", "html", "npy"]  # of a generated motion
COMPARE_HELP = "also show the motions side by side, in one file of each of these formats (16 motions at most)"
TRIM = Pattern(
    r"auto|(?=.*\d)(\d{1,5}(\.\d{0,6})?)?,(\d{1,5}(\.\d{0,6})?)?", "look like 0.5,2.5 or 0.5, or ,2.5 or auto"
)


@dataclass(frozen=True)
class FileOptions:
    """What is done to a motion before it is written, in whichever format; arrays (npy) stay as they were."""

    foot_lock: bool = option(False, "keep planted feet in place")
    in_place: bool = option(False, "take out the way over the ground: the body stays over where it starts")
    trim: str | None = option(
        None, "seconds to write, START,END; auto: without standing still at the ends", pattern=TRIM
    )
    frame_rate: float = rate_option("frames a second of the files; 0: as the motions")
    rig: Literal["mixamo", "unreal", "unity", "vrm"] | None = option(
        None, "whose joint names bvh, glb and fbx files have; none: the skeleton's own"
    )
    target: str | None = option(
        None,
        "put bvh, glb and fbx onto a character of your own, a .glb (or .vrm) or a .bvh; the others show its joints",
    )
    target_map: str | None = option(
        None, "which joints of --target are the skeleton's: a map's name or a JSON file; none: by their names"
    )
    bvh_units: Literal["cm", "m"] = option("cm", "lengths in bvh files; glb files are in metres")

    def __post_init__(self) -> None:
        if self.trim is not None and self.trim != "auto":
            start, end = self.trim_seconds
            if end is not None and end <= start:
                raise UserError(f"--trim {self.trim} ends before it starts")
        if self.rig is not None and self.target is not None:
            raise UserError("--rig and --target: a character keeps its own names; give one of the two")
        if self.target_map is not None and self.target is None:
            raise UserError("--target_map tells of a --target, and there is none")

    @property
    def trim_seconds(self) -> tuple[float, float | None]:
        """`trim` as numbers, of those that are not auto."""
        start, _, end = (self.trim or ",").partition(",")
        return float(start or 0), float(end) if end else None


@dataclass(frozen=True)
class MotionExportOptions:
    """visualization/export.py"""

    dir: str = option(
        help="folder of motions: .bvh, .amc, joints (T, J, 3) as .npy or .npz, SMPL/AMASS .npz; joints.npy below it"
        " count too",
        pattern=FOLDER,
    )
    out: str = option(help="folder that the files are written into", pattern=FOLDER)
    reading: ReadSettings = ReadSettings()
    body_model: str | None = option(None, BODY_MODEL_HELP)
    formats: tuple[Literal["bvh", "glb", "fbx", "html", "mp4", "gif", "png"], ...] = option(
        ("bvh", "glb"),
        "what to write: skeleton, skinned figure, the same by Blender, page to play, video, animated and still picture",
    )
    compare: tuple[Comparison, ...] = option((), COMPARE_HELP)
    joint_type: str | None = option(None, JOINT_TYPE_HELP)
    fps: float = rate_option()
    files: FileOptions = FileOptions()
    width: int = option(0, "pixels of videos and pictures; 0: each format's own", zero_or=64, maximum=8192)
    height: int = option(0, "the same", zero_or=64, maximum=8192)

    def __post_init__(self) -> None:
        if (self.width == 0) != (self.height == 0):
            raise UserError("give both --width and --height, or neither")
        if not self.formats and not self.compare:
            raise UserError("--formats and --compare are empty: there is nothing to write")
