"""What fit.py leaves behind: SMPL parameters and a mesh of each motion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from storage.arrays import write_array
from storage.files import MESH_SUFFIX, SMPL_SUFFIX, atomic_path
from utils.errors import UserError
from visualization.smpl_fit import SmplMotion, fit_motion, mesh_of

if TYPE_CHECKING:
    import smplx


def fit_folder(
    motions: Mapping[str, tuple[np.ndarray, float]],
    model: smplx.SMPL,
    folder: Path,
    iterations: int,
    gender: str = "neutral",
) -> dict[str, SmplMotion]:
    """Fits motions, each (T, 22, 3) and its frames a second, one after the other, with a progress bar, and writes two
    files of each into `folder`.

    NAME_smpl.npz holds poses, betas, trans, fps, gender and the faces of the mesh; NAME_mesh.npy the vertices.

    Raises:
        UserError: see `fit_motion`; the motion is named.
    """
    results = {}
    with tqdm(total=len(motions) * iterations, desc="fitting", unit="step") as bar:
        for name, (joints, fps) in motions.items():

            def report(steps: int, error: float, name: str = name) -> None:
                bar.set_postfix_str(f"{name}, {100 * error:.2f} cm", refresh=False)
                bar.update(steps)

            try:
                fitted = results[name] = fit_motion(joints, model, fps, iterations, report)
            except UserError as error:
                raise UserError(f"{name}: {error}") from error
            parameters = {"poses": fitted.poses, "betas": fitted.betas, "trans": fitted.trans, "fps": fitted.fps}
            faces = np.asarray(model.faces).astype(np.int32)
            with atomic_path(folder / f"{name}{SMPL_SUFFIX}") as temporary, open(temporary, "wb") as file:
                np.savez_compressed(file, **parameters, gender=gender, faces=faces)
            write_array(folder / f"{name}{MESH_SUFFIX}", mesh_of(fitted, model))
            bar.write(f"{name}: {len(joints)} frames, mean joint error {100 * fitted.joint_error:.2f} cm")
    return results
