"""SMPL pose parameters as a moving skeleton. Only the joints are posed: that needs no mesh and no package.

Loper et al., SMPL (SIGGRAPH Asia 2015), equation 10: the joints of a shape are J_regressor (v_template + shapedirs
betas); pose-dependent corrections move the skin alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from utils import quaternion
from utils.errors import UserError
from utils.formats import HUMANML3D
from utils.rig import RigMotion

LARGEST = 1e7  # of any number
N_POSED = 22  # the joints that SMPL, SMPL-H and SMPL-X share


@dataclass(frozen=True)
class BodyShape:
    """What a body model says about its joints.

    Attributes:
        rest: (22, 3) joints of the mean shape, metres.
        directions: (22, 3, S) how each shape coefficient moves them.
    """

    rest: np.ndarray
    directions: np.ndarray

    @classmethod
    def from_model(cls, model: Mapping[str, np.ndarray]) -> BodyShape:
        """From the arrays of a model file: J_regressor (J, V), v_template (V, 3), shapedirs (V, 3, S)."""
        regressor = np.asarray(model["J_regressor"], dtype=np.float64)[:N_POSED]
        directions = np.einsum("jv,vcs->jcs", regressor, model["shapedirs"])
        return cls(regressor @ model["v_template"], directions)

    def joints(self, betas: np.ndarray) -> np.ndarray:
        """(22, 3) joints at rest of the shape `betas` (S,); coefficients that the model lacks are left out."""
        count = min(len(betas), self.directions.shape[-1])
        return self.rest + self.directions[..., :count] @ betas[:count]


def smpl_motion(arrays: Mapping[str, np.ndarray], bodies: Mapping[str, BodyShape], fps: float) -> RigMotion:
    """The posed skeleton of `poses` (T, at least 66) axis-angles and `trans` (T, 3), as in AMASS.

    Args:
        arrays: also `betas` (S,) and `gender`, where the file has them.
        bodies: shapes by gender; without the file's own gender "neutral", else any, is taken.
        fps: of the file.

    Raises:
        UserError: no body, or arrays of another shape.
    """
    if not bodies:
        raise UserError("SMPL pose parameters need a body model: give --body_model")
    poses, trans = np.asarray(arrays["poses"]), np.asarray(arrays["trans"])
    betas = np.asarray(arrays.get("betas", np.zeros(0))).reshape(-1)
    for name, array in (("poses", poses), ("trans", trans), ("betas", betas)):
        if array.dtype.kind not in "fiu" or not (np.abs(array.astype(np.float64)) < LARGEST).all():
            raise UserError(f"NaN, an absurd number or no numbers in {name}")
    shape = poses.shape
    poses = poses.reshape(len(poses), -1) if poses.ndim > 1 and poses.size else poses
    if poses.ndim != 2 or poses.shape[1] < 3 * N_POSED or trans.shape != (len(poses), 3) or not len(poses):
        raise UserError(f"wrong joints: poses {shape} and trans {trans.shape} are no SMPL motion")
    gender = str(arrays["gender"]).strip("b'\" ").lower() if "gender" in arrays else "neutral"
    body = bodies.get(gender) or bodies.get("neutral") or next(iter(bodies.values()))
    rest = body.joints(betas.astype(np.float64))
    parents = HUMANML3D.parents
    turns = poses[:, : 3 * N_POSED].astype(np.float64).reshape(-1, N_POSED, 3)
    offsets = rest - rest[[max(parent, 0) for parent in parents]]
    translations = np.tile(offsets, (len(turns), 1, 1))
    translations[:, 0] = rest[0] + trans
    names = HUMANML3D.joint_names
    return RigMotion(names, parents, translations, quaternion.unroll(quaternion.from_rotation_vector(turns)), fps)
