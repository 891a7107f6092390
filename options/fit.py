"""The options of fit.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from data.motions.settings import ReadSettings
from utils.errors import UserError
from utils.schema import option


@dataclass(frozen=True)
class FitOptions:
    """fit.py"""

    dir: str = option("new_test_npy", "folder of motions: .bvh, joints (T, 22, 3) as .npy or .npz, joints.npy below it")
    reading: ReadSettings = ReadSettings()
    save_folder: str = option("new_temp_npy", "folder that NAME_smpl.npz and NAME_mesh.npy are written into")
    cuda: str = option("auto", "device: cuda:0, cuda:1, ..., cpu, or auto: the first GPU if there is one")
    body_model: str = option(
        "body_models/smpl", "SMPL body model: SMPL_NEUTRAL.npz or .pkl, or the folder that holds it"
    )
    gender: Literal["neutral", "male", "female"] = option("neutral", "which body of the folder")
    num_betas: int = option(10, "shape coefficients", minimum=1, maximum=300)
    fps: float = option(0.0, "frames a second of the motions whatever their files say; 0: their own", maximum=240)
    iterations: int = option(60, "L-BFGS iterations a motion", minimum=1)

    def __post_init__(self) -> None:
        if not self.dir.strip() or not self.save_folder.strip():
            raise UserError("--dir and --save_folder must name folders")
        if self.fps != 0 and self.fps < 1:
            raise UserError(f"--fps must be 0 or at least 1, not {self.fps}")
        _ = self.gpu_id

    @property
    def gpu_id(self) -> str:
        """`cuda` as the other scripts' `--gpu_id`.

        Raises:
            UserError: it is neither a GPU, cpu nor auto.
        """
        names = {"cpu": "-1", "cuda": "0", "auto": "auto"}
        number = names.get(self.cuda, self.cuda.removeprefix("cuda:"))
        if number not in names.values() and not number.isdecimal():
            raise UserError(f"--cuda must be cuda:0, another GPU, cpu or auto, not {self.cuda!r}")
        return number
