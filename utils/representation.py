"""Joints <-> features <-> grid. Which column of a feature row means what, the `MotionFormat` knows.

The features are those of Guo et al. (CVPR 2022): 263 columns for 22 joints, 251 for 21 joints.
Letters: B batch, T frames, J joints, D feature columns.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter1d

from utils import quaternion
from utils.errors import UserError
from utils.facing import UP, heading, yaw_quaternion
from utils.formats import get_format
from utils.motion_format import CONTACT, MotionFormat

if TYPE_CHECKING:
    import torch


def _checked_joints(joints: np.ndarray, form: MotionFormat, min_frames: int) -> np.ndarray:
    joints = np.asarray(joints)
    if joints.ndim != 3 or joints.shape[1:] != (form.n_joints, 3):
        raise UserError(f"joints must have the shape (frames, {form.n_joints}, 3), not {joints.shape}")
    if joints.dtype.kind not in "fiu":
        raise UserError(f"joints must be numbers, not {joints.dtype}")
    if len(joints) < min_frames:
        raise UserError(f"the motion has {len(joints)} frames, at least {min_frames} are needed")
    if not np.isfinite(joints).all():
        bad = int(np.flatnonzero(~np.isfinite(joints).all(axis=(1, 2)))[0])
        raise UserError(f"the motion has NaN or infinite positions (first in frame {bad})")
    return joints.astype(np.float64)


def canonicalize(joints: np.ndarray, dataset: str | MotionFormat = "humanml3d") -> np.ndarray:
    """Retargets a motion to the dataset's skeleton and puts it where features expect it.

    Bone directions are kept, bone lengths become the dataset's, the root path is scaled by the ratio of leg lengths;
    then the lowest joint touches the floor, and in frame 0 the root is above the origin and faces +z.

    Args:
        joints: (T, J, 3) metres, y up.

    Returns:
        (T, J, 3) float32, metres.

    Raises:
        UserError: wrong shape or non-finite values.
    """
    form = get_format(dataset)
    joints = _checked_joints(joints, form, min_frames=1)
    parents = np.array(form.parents)

    bones = joints[:, 1:] - joints[:, parents[1:]]
    lengths = np.linalg.norm(bones, axis=-1, keepdims=True)
    rest = form.directions[1:]
    directions = np.where(lengths > 1e-8, bones / np.maximum(lengths, 1e-8), rest)

    ankle = form.left_foot[0]
    leg = []
    while parents[ankle] > 0:
        leg.append(ankle)
        ankle = parents[ankle]
    source_leg = float(np.median(lengths[:, np.array(leg) - 1, 0].sum(axis=1)))
    scale = float(form.bone_lengths[leg].sum()) / max(source_leg, 1e-8)

    result = np.empty_like(joints)
    result[:, 0] = joints[:, 0] * scale
    for joint in range(1, form.n_joints):
        result[:, joint] = result[:, parents[joint]] + directions[:, joint - 1] * form.bone_lengths[joint]

    result[..., 1] -= result[..., 1].min()
    result[..., [0, 2]] -= result[0, 0, [0, 2]]
    return quaternion.rotate(yaw_quaternion(-heading(result[0], form)), result).astype(np.float32)


def _smoothed_heading(joints: np.ndarray, form: MotionFormat) -> np.ndarray:
    """(T,) angle that turns the published heading to +z, continuous in time.

    The published features use hips MINUS shoulders here; the smoothing hides most of it, and matching the files matters
    more than the sign.
    """
    right_hip, left_hip, right_shoulder, left_shoulder = form.face_joints
    across = joints[:, left_hip] - joints[:, right_hip] - (joints[:, left_shoulder] - joints[:, right_shoulder])
    across /= np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-12)
    # forward = up x across in the published code, whose `across` points from the left to the right here.
    sigma = form.heading_seconds * form.fps
    forward = gaussian_filter1d(np.cross(UP, across), sigma, axis=0, mode="nearest")
    return -np.unwrap(np.arctan2(forward[:, 0], forward[:, 2]))


def _inverse_kinematics(joints: np.ndarray, root: np.ndarray, form: MotionFormat) -> np.ndarray:
    """(T, J, 4) local rotations as the published features define them, `root` (T, 4) first."""
    rotations = np.zeros((*joints.shape[:2], 4))
    rotations[:, 0] = root
    for chain in form.chains:
        accumulated = root
        for parent, child in zip(chain[:-1], chain[1:], strict=True):
            turn = quaternion.between(form.directions[child], joints[:, child] - joints[:, parent])
            rotations[:, child] = quaternion.multiply(quaternion.inverse(accumulated), turn)
            accumulated = quaternion.multiply(accumulated, rotations[:, child])
    return rotations


def joints_to_features(joints: np.ndarray, dataset: str | MotionFormat = "humanml3d") -> np.ndarray:
    """The published features of a motion that is canonical already (see `canonicalize`).

    Args:
        joints: (T, J, 3) metres, T >= 2.

    Returns:
        (T - 1, D) float32.

    Raises:
        UserError: wrong shape, fewer than two frames, non-finite values.
    """
    form = get_format(dataset)
    joints = _checked_joints(joints, form, min_frames=2) * form.units_per_metre

    turned = _smoothed_heading(joints, form)
    turned[0] = 0.0  # the published extraction sets the first frame's rotation to the identity
    rotation = yaw_quaternion(turned)
    displacement = np.diff(joints, axis=0)

    yaw_velocity = np.arcsin(np.clip(np.sin(np.diff(turned) / 2), -1, 1))[:, None]
    root_velocity = quaternion.rotate(rotation[1:], displacement[:, 0])[:, [0, 2]]
    height = joints[:-1, 0, 1:2]

    local = joints - joints[:, :1] * np.array([1.0, 0.0, 1.0])
    positions = quaternion.rotate(rotation[:, None], local)[:-1, 1:]
    rotations = quaternion.to_sixd(_inverse_kinematics(joints, rotation, form))[:-1, 1:]
    velocities = quaternion.rotate(rotation[:-1, None], displacement)
    slow = form.contact_speed * form.units_per_metre / form.fps  # feature units a frame
    contacts = (displacement[:, form.feet] ** 2).sum(-1) < slow**2

    frames = len(joints) - 1
    groups = [yaw_velocity, root_velocity, height, positions, rotations, velocities, contacts]
    return np.concatenate([group.reshape(frames, -1) for group in groups], axis=1).astype(np.float32)


def padded_features(joints: np.ndarray, form: MotionFormat) -> np.ndarray:
    """Features (T', D) of joints (T, J, 3) anywhere in the world; T' is the next multiple of `unit_length`, for which
    the last frame is held."""
    held = np.repeat(joints[-1:], -len(joints) % form.unit_length + 1, axis=0)
    return joints_to_features(canonicalize(np.concatenate([joints, held]), form), form)


def root_trajectory(features: np.ndarray, dataset: str | MotionFormat = "humanml3d") -> tuple[np.ndarray, np.ndarray]:
    """Integrates the root columns of features (..., T, D).

    Returns:
        heading quaternions (..., T, 4) that turn the world so that the body faces +z, and root positions (..., T, 3) in
        feature units.
    """
    form = get_format(dataset)
    if features.shape[-1] != form.n_features:
        raise UserError(f"features must have {form.n_features} columns, not {features.shape[-1]}")
    root = features[..., form.root].astype(np.float64)
    turned = np.zeros(root.shape[:-1])
    turned[..., 1:] = 2 * np.cumsum(root[..., :-1, 0], axis=-1)
    rotation = yaw_quaternion(turned)
    position = np.zeros((*root.shape[:-1], 3))
    position[..., 1:, 0] = root[..., :-1, 1]
    position[..., 1:, 2] = root[..., :-1, 2]
    position = np.cumsum(quaternion.rotate(quaternion.inverse(rotation), position), axis=-2)
    position[..., 1] = root[..., 3]
    return rotation, position


def features_to_joints(features: np.ndarray, dataset: str | MotionFormat = "humanml3d") -> np.ndarray:
    """Joint positions from raw features; rotations are not used.

    Args:
        features: (..., T, D) raw units.

    Returns:
        (..., T, J, 3) float32 metres.

    Raises:
        UserError: wrong number of columns.
    """
    form = get_format(dataset)
    features = np.asarray(features)
    rotation, root = root_trajectory(features, dataset)
    local = features[..., form.positions].astype(np.float64).reshape(*features.shape[:-1], form.n_joints - 1, 3)
    others = quaternion.rotate(quaternion.inverse(rotation)[..., None, :], local)
    others = others + root[..., None, :] * np.array([1.0, 0.0, 1.0])
    joints = np.concatenate([root[..., None, :], others], axis=-2)
    return (joints / form.units_per_metre).astype(np.float32)


def at_tempo(features: np.ndarray, frames: int, form: MotionFormat) -> np.ndarray:
    """Features (T, D) of the same motion at another tempo, (frames, D): in `frames` frames instead of T.

    Rows are interpolated, so rotations are a little shorter than unit columns, and contacts are those of the motion as
    it was.
    """
    places = np.linspace(0, len(features) - 1, frames)
    first = np.minimum(places.astype(int), len(features) - 2)
    weight = (places - first)[:, None].astype(features.dtype)
    played = features[first] * (1 - weight) + features[first + 1] * weight
    tempo = (len(features) - 1) / (frames - 1)
    played[:, : form.root.stop - 1] *= tempo  # but the root's height
    played[:, form.velocities] *= tempo
    played[:, form.contacts] = played[:, form.contacts].round()
    return played


def foot_steps(features: torch.Tensor, form: MotionFormat) -> torch.Tensor:
    """How far foot joints move over the floor from each frame to the next, as `features_to_joints` would place them.

    Args:
        features: (B, T, D) raw units.

    Returns:
        (B, T - 1, F, 2) metres, in the heading of the later frame: 0 for a foot that stands.
    """
    import torch

    places = features[..., form.positions].unflatten(-1, (form.n_joints - 1, 3))
    places = places[..., [joint - 1 for joint in form.feet], :][..., [0, 2]]
    turn = 2 * features[:, :-1, None, 0]
    x, z = places[:, :-1].unbind(-1)
    before = torch.stack([x * turn.cos() + z * turn.sin(), z * turn.cos() - x * turn.sin()], dim=-1)
    return (places[:, 1:] + features[:, :-1, None, 1:3] - before) / form.units_per_metre


def _places(features: torch.Tensor, form: MotionFormat) -> list[torch.Tensor]:
    """Features (B, T, D) -> positions (B, T, 3) of all joints, heading removed, the root over the origin."""
    import torch

    root = torch.stack([zero := torch.zeros_like(features[..., 3]), features[..., 3], zero], dim=-1)
    return [root, *features[..., form.positions].unflatten(-1, (form.n_joints - 1, 3)).unbind(dim=-2)]


def bone_directions(features: torch.Tensor, form: MotionFormat) -> torch.Tensor:
    """Features (B, T, D), raw units -> (B, T, J - 1, 3) unit vectors from parents to joints, heading removed."""
    import torch

    places = torch.stack(_places(features, form), dim=-2)
    bones = places[..., 1:, :] - places[..., list(form.parents[1:]), :]
    return torch.nn.functional.normalize(bones, dim=-1, eps=1e-6)


def with_bones(features: torch.Tensor, form: MotionFormat, tolerance: float) -> torch.Tensor:
    """Features (B, T, D), raw units, no bone of whose positions is longer or shorter than the skeleton's by more than
    this share; directions stay."""
    import torch

    before = _places(features, form)
    after = before[:1]
    for joint in range(1, form.n_joints):
        bone, parent = before[joint] - before[form.parents[joint]], after[form.parents[joint]]
        usual = float(form.bone_lengths[joint]) * form.units_per_metre
        share = bone.norm(dim=-1, keepdim=True).clamp(min=1e-6) / max(usual, 1e-6)
        after.append(parent + bone * (share.clamp(1 - tolerance, 1 + tolerance) / share))
    features = features.clone()
    features[..., form.positions] = torch.stack(after[1:], dim=-2).flatten(-2)
    return features


def planted(
    features: torch.Tensor, form: MotionFormat, max_slide: float, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Features (B, T, D), raw units, whose path follows the foot that stands best.

    Of the feet that are in contact, as the features say, the one that moves least from a frame to the next may slide
    `max_slide` metres; for what is more the root's velocity makes up. Less is left: feet in contact roll, and what that
    adds up to would lead the path astray.

    Args:
        mask: (B, T) valid frames; the last one leads nowhere and is left alone.
    """
    contacts = features[:, :-1, form.contacts] > CONTACT
    steps = foot_steps(features, form)
    ways = steps.norm(dim=-1).masked_fill(~contacts, float("inf"))
    least, foot = ways.min(dim=-1, keepdim=True)  # (B, T - 1, 1)
    slide = steps.gather(2, foot[..., None].expand(-1, -1, -1, 2))[:, :, 0]
    slide = slide * (1 - max_slide / least.clamp(min=1e-9)).clamp(min=0) * least.isfinite()
    if mask is not None:
        slide = slide * mask[:, 1:, None]
    path = features[:, :-1, 1:3] - slide * form.units_per_metre
    features = features.clone()
    features[:, :-1, 1:3] = path
    return features


def features_to_grid(features: torch.Tensor, form: MotionFormat) -> torch.Tensor:
    """Feature rows (B, T, D) -> grid of joint slots (B, T, slots, 12), empty cells 0; `grid_to_features` inverts it."""
    import torch

    columns = _cell_index("grid_columns", form, features.device)
    padded = torch.cat([features, features.new_zeros(*features.shape[:-1], 1)], dim=-1)
    return padded.index_select(-1, columns).unflatten(-1, form.grid_columns.shape)


def grid_to_features(grid: torch.Tensor, form: MotionFormat) -> torch.Tensor:
    """The inverse of `features_to_grid`: (B, T, slots, 12) -> (B, T, D)."""
    return grid.flatten(-2).index_select(-1, _cell_index("grid_cells", form, grid.device))


@lru_cache
def _cell_index(table: str, form: MotionFormat, device: torch.device) -> torch.Tensor:
    """A flat index table of the layout, copied to a device once: a copy a call would make each step wait for it."""
    import torch

    with torch.inference_mode(False):  # whoever asks first, autograd must be able to keep it
        return torch.as_tensor(getattr(form, table).ravel(), device=device)


def feature_statistics(clips: Iterable[np.ndarray], form: MotionFormat) -> tuple[np.ndarray, np.ndarray]:
    """Mean and std (D,) float32 of the raw features (T, D) of many clips, as the published `Mean.npy` and `Std.npy`.

    Only one clip at a time is held in memory.

    The std is averaged within each group of columns, so that nearly constant columns are not blown up.
    """
    # Chan, Golub and LeVeque (1983): means and sums of squares of parts add up without loss.
    count, mean, squares = 0, np.zeros(form.n_features), np.zeros(form.n_features)
    for clip in clips:
        part = clip.mean(axis=0, dtype=np.float64)
        both = count + len(clip)
        squares += clip.var(axis=0, dtype=np.float64) * len(clip) + (part - mean) ** 2 * (count * len(clip) / both)
        mean += (part - mean) * (len(clip) / both)
        count = both
    std = np.sqrt(squares / max(count, 1))
    for group in form.groups.values():
        std[group] = max(std[group].mean(), 1e-6)
    return mean.astype(np.float32), std.astype(np.float32)
