"""What decides how clips and their dataset are made. Needs no NumPy: the options are made from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Axis = Literal["x", "y", "z", "minus_x", "minus_y", "minus_z"]
Unit = Literal["m", "cm", "mm", "inch", "foot", "cmu"]

# Metres. CMU's captures are in inches over 0.45.
METRES: dict[str, float] = {"m": 1.0, "cm": 0.01, "mm": 0.001, "inch": 0.0254, "foot": 0.3048, "cmu": 0.0254 / 0.45}


@dataclass(frozen=True)
class ClipSettings:
    """Everything that a clip's files depend on, besides its motion and its captions.

    Attributes:
        fps: frame rate of the dataset.
        source_fps: frame rate of joints files that do not tell theirs; None: `fps`.
        unit: of lengths in the motion files; None: the one that makes the body's size likeliest, file by file.
        up: the axis that points up, by kind of file ("bvh", "joints", "smpl").
        joint_map: a shipped map or a file; None: guessed from the joint names, file by file.
        skip_frames: frames left out at the beginning of each file; None: as the joint map says.
        body_model: SMPL model for pose parameters; None: such files are refused.
        mirror: also makes the clip with left and right exchanged.
        min_frames: shortest clip in feature rows.
        max_speed: metres a second; a root that is faster teleports.
        max_stretch: how much longer or shorter than usual a bone may become, relative.
    """

    fps: float = 20.0
    source_fps: float | None = None
    unit: Unit | None = None
    up: tuple[tuple[str, Axis], ...] = ()
    joint_map: str | None = None
    skip_frames: int | None = None
    body_model: str | None = None
    mirror: bool = False
    min_frames: int = 40
    max_speed: float = 15.0
    max_stretch: float = 0.1


@dataclass(frozen=True)
class SplitSettings:
    """How clips are shared among train, val and test.

    Attributes:
        shares: of train, val and test; they add up to 1.
        take_pattern: regular expression; names that are equal without what it matches are one take.
        split_dir: folder of train.txt, val.txt and test.txt instead.
    """

    shares: tuple[float, float, float] = (0.8, 0.05, 0.15)
    take_pattern: str = r"[_-](?:part|seg|segment|clip|cut|chunk|slice|piece)[_-]?\d+$"
    split_dir: str | None = None
