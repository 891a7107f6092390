"""The options of fit.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from data.motions.settings import ReadSettings
from options.groups import FOLDER, rate_option
from utils.schema import Pattern, option


@dataclass(frozen=True)
class FitOptions:
    """fit.py"""

    dir: str = option(
        "new_test_npy",
        "folder of motions: .bvh, .amc, joints (T, 22, 3) as .npy or .npz, joints.npy below it",
        pattern=FOLDER,
    )
    reading: ReadSettings = ReadSettings()
    save_folder: str = option(
        "new_temp_npy", "folder that NAME_smpl.npz and NAME_mesh.npy are written into", pattern=FOLDER
    )
    cuda: str = option(
        "auto",
        "device: cuda:0, cuda:1, ..., cpu, or auto: the first GPU if there is one",
        pattern=Pattern(r"auto|cpu|-1|cuda|(cuda:)?\d+", "be cuda:0, another GPU, cpu or auto"),
    )
    body_model: str = option(
        "body_models/smpl", "SMPL body model: SMPL_NEUTRAL.npz or .pkl, or the folder that holds it"
    )
    gender: Literal["neutral", "male", "female"] = option("neutral", "which body of the folder")
    num_betas: int = option(10, "shape coefficients", minimum=1, maximum=300)
    fps: float = rate_option()
    iterations: int = option(60, "L-BFGS iterations a motion", minimum=1)

    @property
    def gpu_id(self) -> str:
        """`cuda` as the other scripts' `--gpu_id`."""
        return {"cpu": "-1", "cuda": "0"}.get(self.cuda, self.cuda.removeprefix("cuda:"))
