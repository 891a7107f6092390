"""The options of visualization/export.py, and what the demo shares with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from data.motions.settings import BODY_MODEL_HELP, JOINT_TYPE_HELP, ReadSettings
from options.groups import FOLDER, rate_option
from utils.errors import UserError
from utils.schema import option

Comparison = Literal["html", "mp4", "gif"]
COMPARE_HELP = "also show the motions side by side, in one file of each of these formats (16 motions at most)"
FOOT_LOCK_HELP = "keep planted feet in place in bvh and glb files"


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
    formats: tuple[Literal["bvh", "glb", "html", "mp4", "gif", "png"], ...] = option(
        ("bvh", "glb"), "what to write: skeleton, skinned figure, page to play, video, animated and still picture"
    )
    compare: tuple[Comparison, ...] = option((), COMPARE_HELP)
    joint_type: str | None = option(None, JOINT_TYPE_HELP)
    foot_lock: bool = option(False, FOOT_LOCK_HELP)
    bvh_units: Literal["cm", "m"] = option("cm", "lengths in the bvh files that are written; glb files are in metres")
    fps: float = rate_option()
    frame_rate: float = rate_option("frames a second of the files; 0: as the motions")
    width: int = option(0, "pixels of videos and pictures; 0: each format's own", zero_or=64, maximum=8192)
    height: int = option(0, "the same", zero_or=64, maximum=8192)

    def __post_init__(self) -> None:
        if (self.width == 0) != (self.height == 0):
            raise UserError("give both --width and --height, or neither")
        if not self.formats and not self.compare:
            raise UserError("--formats and --compare are empty: there is nothing to write")
