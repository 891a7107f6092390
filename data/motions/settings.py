"""How a motion file is read: the same flags wherever one enters. Needs no NumPy: the options are made from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from utils.schema import option

Axis = Literal["x", "y", "z", "minus_x", "minus_y", "minus_z"]
Unit = Literal["m", "cm", "mm", "inch", "foot", "cmu"]

# Metres. CMU's captures are in inches over 0.45.
METRES: dict[str, float] = {"m": 1.0, "cm": 0.01, "mm": 0.001, "inch": 0.0254, "foot": 0.3048, "cmu": 0.0254 / 0.45}
BODY_MODEL_HELP = "SMPL model file, or folder of SMPL_NEUTRAL.npz, for SMPL/AMASS .npz"
JOINT_TYPE_HELP = (
    "whose skeleton the joints are: HumanML3D, kit, or a format's JSON file; none: as our outputs' folder says, else"
    " HumanML3D"
)


@dataclass(frozen=True)
class ReadSettings:
    """What a user can say about motion files that do not say it themselves."""

    units: Literal["auto", Unit] = option(
        "auto", "unit of lengths in the motion files; auto: by the body's size, file by file"
    )
    up_axis: Literal["auto", Axis] = option(
        "auto", "axis that points up in the motion files; auto: the one along which most bodies stand"
    )
    joint_map: str | None = option(
        None, "which joints are the skeleton's: a map's name or a JSON file; none: by joint names"
    )
    source_fps: float | None = option(
        None,
        "frames a second of files that do not tell; none: as the dataset, of CMU's .amc as they were captured",
        minimum=0.1,
        maximum=10000,
    )
    skip_frames: int | None = option(
        None, "frames left out at the beginning of each file; none: as the joint map says", minimum=0
    )
