"""Joints -> SMPL parameters and mesh.

Bones give the shape, then bone directions give rotations in closed form; L-BFGS refines the pose, then pose and shape
together. What is optimised are small turns on top of the closed-form rotations, so that a body that spins or stands on
its head is as easy as one that faces the camera. Only joints are computed while fitting; vertices once, at the end.

Letters: T frames, J = 22 joints given, 24 joints of the model, V vertices, S shape coefficients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from utils import quaternion
from utils.errors import UserError
from utils.formats import HUMANML3D
from utils.quaternion import normalize
from visualization.checks import check_fps, check_joints
from visualization.contacts import detect_contacts
from visualization.limbs import rigid_fit
from visualization.smpl_model import N_JOINTS

if TYPE_CHECKING:
    import smplx

N_GIVEN = 22
FEET = list(HUMANML3D.feet)  # in the order of the columns of `detect_contacts`
POSE_SHARE = 0.4  # of the iterations go to the pose alone, the others to pose and shape
STILL = 0.3  # metres a second by which a foot that stands may seem to move
STILL_SECONDS = 0.05  # time over which its way is smoothed
STEP = 5  # iterations between two reports
MESH_CHUNK = 64  # frames whose vertices are computed at once

# What a fit weighs beside squared metres of all joints of a frame:
PRIOR_WEIGHT = 1e-4  # squared turns away from the rest pose (radians squared, times `PRIOR`)
JOINT_SMOOTHNESS = 0.03  # squared third differences in time of the joints (metres): noise, not quick motion
TURN_SMOOTHNESS = 1e-3  # the same of the rotation matrices
CONTACT = 0.5  # squared steps (metres a frame) of feet that stand
SHAPE = 1e-5  # squared shape coefficients

# How unlikely it is that a joint turns far from the rest pose, relative to a limb: the trunk's many joints could trade
# turns with each other without moving any joint that is seen, hips, knees, shoulders and elbows could not.
PRIOR = np.ones(N_JOINTS)
PRIOR[0] = 0.0  # the whole body's direction is free
PRIOR[[3, 6, 9, 12, 15]] = 8.0  # spine, neck, head
PRIOR[[13, 14]] = 4.0  # collar bones
PRIOR[[10, 11, 20, 21, 22, 23]] = 8.0  # toes, wrists and hands: nothing given shows how they turn


@dataclass(frozen=True)
class SmplMotion:
    """A fitted motion.

    Attributes:
        poses: (T, 72) float32 axis-angles, the body's direction first; continuous in time.
        betas: (S,) float32 shape coefficients.
        trans: (T, 3) float32 metres, added to every joint and vertex.
        fps: frames per second.
        joint_error: mean distance of the fitted joints from the given ones, metres.
    """

    poses: np.ndarray
    betas: np.ndarray
    trans: np.ndarray
    fps: float
    joint_error: float


def fit_motion(
    joints: np.ndarray,
    model: smplx.SMPL,
    fps: float = 20.0,
    iterations: int = 60,
    progress: Callable[[int, float], None] | None = None,
) -> SmplMotion:
    """Fits the body `model` to joints; computed on the model's device.

    Args:
        joints: (T, 22, 3) metres, y up, HumanML3D order.
        model: from `smpl_model.load_body_model`.
        fps: frames per second of the joints.
        iterations: of L-BFGS in all.
        progress: called after every few iterations with how many they were and the mean joint error in metres.

    Raises:
        UserError: wrong shape, NaN, no frames, bad fps, or no fit was found.
    """
    joints, fps = check_joints(joints, HUMANML3D), check_fps(fps)
    body = _JointModel(model)
    betas = _shape_from_bones(body, joints)
    locals_, translation = _pose_from_bones(body, joints, betas)
    problem = _Problem(body, joints, detect_contacts(joints, fps), fps, locals_, translation, betas)
    pose_iterations = round(POSE_SHARE * iterations)
    stages = (
        (pose_iterations, [problem.turns, problem.translation]),
        (iterations - pose_iterations, [problem.turns, problem.translation, problem.betas]),
    )
    for count, variables in stages:
        for done in problem.minimise(variables, count):
            if progress is not None:
                progress(done, problem.joint_error())
    with torch.no_grad():
        rotations = problem.rotations().cpu().numpy()
    poses = axis_angles(rotations).reshape(len(joints), -1)
    result = SmplMotion(
        poses.astype(np.float32),
        problem.betas.detach().cpu().numpy().astype(np.float32),
        problem.translation.detach().cpu().numpy().astype(np.float32),
        fps,
        problem.joint_error(),
    )
    if not all(np.isfinite(array).all() for array in (result.poses, result.betas, result.trans)):
        raise UserError("the fit did not converge: are the joints metres, y up, in HumanML3D order?")
    return result


@torch.no_grad()
def mesh_of(motion: SmplMotion, model: smplx.SMPL) -> np.ndarray:
    """The vertices of a fitted motion, (T, V, 3) float32 metres."""
    device, kind = model.v_template.device, model.v_template.dtype
    parts = []
    for start in range(0, len(motion.poses), MESH_CHUNK):
        rows = slice(start, start + MESH_CHUNK)
        poses = torch.as_tensor(motion.poses[rows], device=device, dtype=kind)
        output = model(
            betas=torch.as_tensor(motion.betas, device=device, dtype=kind).expand(len(poses), -1),
            global_orient=poses[:, :3],
            body_pose=poses[:, 3:],
            transl=torch.as_tensor(motion.trans[rows], device=device, dtype=kind),
        )
        parts.append(output.vertices.cpu().numpy().astype(np.float32))
    return np.concatenate(parts)


def axis_angles(rotations: np.ndarray) -> np.ndarray:
    """Rotation matrices (T, ..., 3, 3) as axis-angles (T, ..., 3) without jumps from frame to frame."""
    turns = quaternion.unroll(quaternion.from_matrix(rotations.astype(np.float64)))
    sine = np.linalg.norm(turns[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, turns[..., :1])
    return np.where(sine > 1e-9, turns[..., 1:] / np.maximum(sine, 1e-9) * angle, 2 * turns[..., 1:])


class _JointModel:
    """The model's joints alone: a few hundred times less work than its vertices, and exactly the same joints."""

    def __init__(self, model: smplx.SMPL) -> None:
        regressor = model.J_regressor.double()
        self.rest = regressor @ model.v_template.double()  # (24, 3) of the mean shape
        self.shapes = torch.einsum("jv,vcs->jcs", regressor, model.shapedirs.double())  # (24, 3, S)
        self.parents = model.parents
        self.parent_list = [int(parent) for parent in model.parents]
        self.device = regressor.device

    def rest_joints(self, betas: Tensor) -> Tensor:
        """(24, 3) joints of the shape `betas` (S,) in the rest pose."""
        return self.rest + self.shapes @ betas

    def joints(self, rotations: Tensor, translation: Tensor, betas: Tensor) -> Tensor:
        """(T, 22, 3) joints of local rotations (T, 24, 3, 3) and a translation (T, 3)."""
        from smplx.lbs import batch_rigid_transform  # noqa: PLC0415 - optional package

        rest = self.rest_joints(betas).expand(len(rotations), -1, -1)
        posed, _ = batch_rigid_transform(rotations, rest, self.parents, dtype=rotations.dtype)
        return posed[:, :N_GIVEN] + translation[:, None]


def _shape_from_bones(body: _JointModel, joints: np.ndarray) -> np.ndarray:
    """Shape coefficients (S,) whose bones are as long as those of the motion: damped Gauss-Newton on the lengths."""
    children = np.arange(1, N_GIVEN)
    parents = np.array(body.parent_list)[children]
    wanted = np.median(np.linalg.norm(joints[:, children] - joints[:, parents], axis=-1), axis=0)
    rest, shapes = body.rest.cpu().numpy(), body.shapes.cpu().numpy()
    bones, slopes = rest[children] - rest[parents], shapes[children] - shapes[parents]
    betas = np.zeros(shapes.shape[-1])
    damping = 1e-4 * np.eye(len(betas))
    for _ in range(10):
        current = bones + slopes @ betas
        lengths = np.maximum(np.linalg.norm(current, axis=-1), 1e-9)
        jacobian = np.einsum("bc,bcs->bs", current / lengths[:, None], slopes)
        normal = jacobian.T @ jacobian + damping
        betas = betas + np.linalg.solve(normal, jacobian.T @ (wanted - lengths) - damping @ betas)
    return np.clip(betas, -6, 6)


def _pose_from_bones(body: _JointModel, joints: np.ndarray, betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Local rotations (T, 24, 3, 3) that turn every bone into its given direction, and the translation (T, 3).

    Pelvis and chest, which have several bones, take the best common rotation (hips and shoulders decide where the body
    faces); the others take the smallest turn, that is no twist.
    """
    rest = body.rest_joints(torch.as_tensor(betas, device=body.device)).cpu().numpy()
    parents = body.parent_list[:N_GIVEN]
    world = np.zeros((len(joints), N_JOINTS, 3, 3))
    local = np.tile(np.eye(3), (len(joints), N_JOINTS, 1, 1))
    for joint in range(N_GIVEN):
        above = world[:, parents[joint]] if joint else np.tile(np.eye(3), (len(joints), 1, 1))
        children = [child for child in range(1, N_GIVEN) if parents[child] == joint]
        # Directions as seen from the parent.
        given = [np.einsum("tij,ti->tj", above, joints[:, child] - joints[:, joint]) for child in children]
        own = [rest[child] - rest[joint] for child in children]
        if joint == 0:
            given.append(np.einsum("tij,ti->tj", above, joints[:, 16] - joints[:, 17]))
            own.append(rest[16] - rest[17])
        if len(children) == 1:
            local[:, joint] = quaternion.to_matrix(quaternion.between(own[0], given[0]))
        elif children:
            local[:, joint] = rigid_fit(normalize(np.stack(own)), normalize(np.stack(given, axis=1)))
        world[:, joint] = above @ local[:, joint]
    return local, joints[:, 0] - rest[0]


def _standing(joints: np.ndarray, contacts: np.ndarray, fps: float) -> np.ndarray:
    """How surely a foot joint stands still from one frame to the next, (T - 1, 4) between 0 and 1.

    Contacts count rolling and pivoting feet too; those keep their motion.
    """
    if len(joints) < 2:
        return np.zeros((0, len(FEET)))
    feet = gaussian_filter1d(joints[:, FEET], STILL_SECONDS * fps, axis=0, mode="nearest")
    speed = fps * np.linalg.norm(np.diff(feet, axis=0), axis=-1)
    return (contacts[1:] & contacts[:-1]) / (1 + (speed / STILL) ** 2) ** 2


class _Problem:
    """The variables of one fit and what is to be minimised.

    Attributes:
        turns: (T, 24, 3) axis-angles on top of the closed-form rotations.
        translation: (T, 3).
        betas: (S,).
    """

    def __init__(
        self,
        body: _JointModel,
        joints: np.ndarray,
        contacts: np.ndarray,
        fps: float,
        rotations: np.ndarray,
        translation: np.ndarray,
        betas: np.ndarray,
    ) -> None:
        def tensor(array: np.ndarray) -> Tensor:
            return torch.as_tensor(array, device=body.device, dtype=torch.float64).clone()

        self._body = body
        self._given, self._start = tensor(joints), tensor(rotations)
        self._stands = tensor(_standing(joints, contacts, fps))
        self._prior = tensor(PRIOR)
        self.turns = torch.zeros(len(joints), N_JOINTS, 3, device=body.device, dtype=torch.float64)
        self.translation, self.betas = tensor(translation), tensor(betas)

    def rotations(self) -> Tensor:
        """(T, 24, 3, 3) local rotations."""
        from smplx.lbs import batch_rodrigues  # noqa: PLC0415 - optional package

        return self._start @ batch_rodrigues(self.turns.reshape(-1, 3)).view_as(self._start)

    @torch.no_grad()
    def joint_error(self) -> float:
        """Mean distance from the given joints in metres."""
        joints = self._body.joints(self.rotations(), self.translation, self.betas)
        return float((joints - self._given).norm(dim=-1).mean())

    def loss(self) -> Tensor:
        """The weighted sum of all wishes, a mean over frames."""
        rotations = self.rotations()
        joints = self._body.joints(rotations, self.translation, self.betas)
        away = 3 - rotations.diagonal(dim1=-2, dim2=-1).sum(-1)  # 2 - 2 cos(angle), about the angle squared
        total = (joints - self._given).square().sum() + PRIOR_WEIGHT * (away * self._prior).sum()
        if len(joints) > 1:
            steps = joints[1:, FEET] - joints[:-1, FEET]
            total = total + CONTACT * (steps.square().sum(-1) * self._stands).sum()
        if len(joints) > 3:
            total = total + JOINT_SMOOTHNESS * joints.diff(n=3, dim=0).square().sum()
            total = total + TURN_SMOOTHNESS * rotations.diff(n=3, dim=0).square().sum()
        return total / len(joints) + SHAPE * self.betas.square().sum()

    def minimise(self, variables: list[Tensor], iterations: int) -> Iterator[int]:
        """L-BFGS on `variables`; yields after every few iterations how many they were."""
        for variable in variables:
            variable.requires_grad_(True)
        optimiser = torch.optim.LBFGS(
            variables, max_iter=STEP, history_size=20, line_search_fn="strong_wolfe", tolerance_change=1e-12
        )

        def closure() -> Tensor:
            optimiser.zero_grad()
            loss = self.loss()
            loss.backward()
            return loss

        for start in range(0, iterations, STEP):
            optimiser.param_groups[0]["max_iter"] = min(STEP, iterations - start)
            optimiser.step(closure)
            yield min(STEP, iterations - start)
        for variable in variables:
            variable.requires_grad_(False)
