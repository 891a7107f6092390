"""What decides how clips and their dataset are made. Needs no NumPy: the options are made from it."""

from __future__ import annotations

from dataclasses import dataclass

from data.motions.settings import Axis, ReadSettings
from utils.formats import HUMANML3D
from utils.motion_format import MotionFormat


@dataclass(frozen=True)
class ClipSettings(ReadSettings):
    """Everything that a clip's files depend on, besides its motion and its captions.

    Attributes:
        form: skeleton, frame rate and columns of the dataset.
        up: the axis that points up, by kind of file ("bvh", "joints", "smpl"), as all files together say.
        body_model: SMPL model for pose parameters; None: such files are refused.
        mirror: also makes the clip with left and right exchanged.
        min_frames: shortest clip in feature rows.
        max_speed: metres a second; a root that is faster teleports.
        max_stretch: how much longer or shorter than usual a bone may become, relative.
        window_frames: takes that are longer than models can see have their captions once a window of at most so many
            frames; 0: once for the whole take.
    """

    form: MotionFormat = HUMANML3D
    up: tuple[tuple[str, Axis], ...] = ()
    body_model: str | None = None
    mirror: bool = False
    min_frames: int = 40
    max_speed: float = 15.0
    max_stretch: float = 0.1
    window_frames: int = 0

    @property
    def fps(self) -> float:
        """Frames a second of the dataset."""
        return self.form.fps


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
