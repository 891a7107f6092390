"""Joints <-> features <-> grid: the only place that knows which column of a feature row means what.

The features are those of Guo et al. (CVPR 2022): 263 columns for 22 joints, 251 for 21 joints.
Letters: B batch, T frames, J joints, D feature columns.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter1d

from utils import quaternion
from utils.errors import UserError
from utils.skeleton import EMPTY_SLOT, Skeleton, get_skeleton

if TYPE_CHECKING:
    import torch

UP = np.array([0.0, 1.0, 0.0])
FORWARD = np.array([0.0, 0.0, 1.0])
HEADING_SIGMA = 20  # frames: how far the published features smooth the heading
CHANNELS_PER_JOINT = 12  # 3 position, 6 rotation, 3 velocity

# (skeleton, frames a second, squared displacement of a foot in contact, feature units a metre)
_LAYOUTS = {"humanml3d": ("humanml3d", 20.0, 0.002, 1.0), "kit": ("kit", 12.5, 0.05, 640.0)}


@dataclass(frozen=True)
class FeatureLayout:
    """Where everything is in a feature row of one dataset family.

    Attributes:
        name: "humanml3d" or "kit".
        fps: frames a second.
        contact_threshold: squared displacement a frame below which a foot is in contact, in squared feature units.
        units_per_metre: lengths in features are metres times this.
    """

    name: str
    skeleton: Skeleton
    fps: float
    contact_threshold: float
    units_per_metre: float

    @property
    def n_joints(self) -> int:
        """J."""
        return self.skeleton.n_joints

    @property
    def n_features(self) -> int:
        """D: 4 root columns, 12 a joint less the root's position and rotation, 4 contacts."""
        return 4 + 3 * (self.n_joints - 1) + 6 * (self.n_joints - 1) + 3 * self.n_joints + 4

    @property
    def root(self) -> slice:
        """Yaw velocity (half angle, rad a frame), velocity x and z, height."""
        return slice(0, 4)

    @property
    def positions(self) -> slice:
        """Positions of joints 1..J-1 relative to the root in x and z, absolute in y, heading removed."""
        return slice(4, 4 + 3 * (self.n_joints - 1))

    @property
    def rotations(self) -> slice:
        """6D rotations of joints 1..J-1."""
        return slice(self.positions.stop, self.positions.stop + 6 * (self.n_joints - 1))

    @property
    def velocities(self) -> slice:
        """Velocities a frame of joints 0..J-1, heading removed."""
        return slice(self.rotations.stop, self.rotations.stop + 3 * self.n_joints)

    @property
    def contacts(self) -> slice:
        """Left ankle, left toe, right ankle, right toe: 1 in contact, 0 not."""
        return slice(self.velocities.stop, self.n_features)

    @property
    def groups(self) -> dict[str, slice]:
        """Columns of one kind, which the published `Std.npy` gives one value each."""
        return {
            "yaw velocity": slice(0, 1),
            "root velocity": slice(1, 3),
            "root height": slice(3, 4),
            "positions": self.positions,
            "rotations": self.rotations,
            "velocities": self.velocities,
            "contacts": self.contacts,
        }

    @property
    def n_parts(self) -> int:
        """Body parts, the rows of the token grid."""
        return len(self.skeleton.part_slots)

    @property
    def n_slots(self) -> int:
        """Joint slots, the rows of the input grid."""
        return len(self.skeleton.slots)

    def joint_columns(self, joint: int) -> list[int]:
        """The columns of one joint in the order position, rotation, velocity (the root has its velocity only)."""
        velocity = [self.velocities.start + 3 * joint + axis for axis in range(3)]
        if joint == 0:
            return velocity
        position = [self.positions.start + 3 * (joint - 1) + axis for axis in range(3)]
        rotation = [self.rotations.start + 6 * (joint - 1) + axis for axis in range(6)]
        return position + rotation + velocity

    @cached_property
    def part_columns(self) -> dict[str, np.ndarray]:
        """Columns that each part encoder of the retriever sees; contacts go with the legs, joint 9 to three parts."""
        root, contact = list(range(4)), self.contacts.start
        extra = {"root": root, "left_leg": [contact, contact + 1], "right_leg": [contact + 2, contact + 3]}
        return {
            part: np.array(
                (extra["root"] if part == "root" else [])
                + [column for joint in joints for column in self.joint_columns(joint)]
                + (extra[part] if part.endswith("leg") else [])
            )
            for part, joints in self.skeleton.retriever_parts.items()
        }

    @cached_property
    def grid_columns(self) -> np.ndarray:
        """(slots, 12) feature column in each cell of the grid, D where a cell is empty.

        The root's row has no position and rotation: the four root columns and the four contacts live there, so that no
        feature is left out.
        """
        table = np.full((self.n_slots, CHANNELS_PER_JOINT), self.n_features)
        for row, joint in enumerate(self.skeleton.slots):
            if joint == 0:
                table[row, :4] = range(4)
                table[row, 4:8] = range(self.contacts.start, self.contacts.stop)
                table[row, 9:] = self.joint_columns(0)
            elif joint != EMPTY_SLOT:
                table[row] = self.joint_columns(joint)
        return table

    @cached_property
    def grid_cells(self) -> np.ndarray:
        """(D,) the flat grid cell of each feature column: the inverse of `grid_columns`."""
        flat = self.grid_columns.ravel()
        cells = np.empty(self.n_features, dtype=np.int64)
        used = flat < self.n_features
        cells[flat[used]] = np.flatnonzero(used)
        return cells


@lru_cache
def get_layout(dataset: str) -> FeatureLayout:
    """The feature layout of a dataset or layout name ("humanml3d", "t2m", "mini", "kit").

    Raises:
        UserError: there is no such layout.
    """
    skeleton = get_skeleton(dataset)
    name, fps, threshold, units = _LAYOUTS[skeleton.name]
    return FeatureLayout(name, skeleton, fps, threshold, units)


def _checked_joints(joints: np.ndarray, layout: FeatureLayout, min_frames: int) -> np.ndarray:
    joints = np.asarray(joints)
    if joints.ndim != 3 or joints.shape[1:] != (layout.n_joints, 3):
        raise UserError(f"joints must have the shape (frames, {layout.n_joints}, 3), not {joints.shape}")
    if joints.dtype.kind not in "fiu":
        raise UserError(f"joints must be numbers, not {joints.dtype}")
    if len(joints) < min_frames:
        raise UserError(f"the motion has {len(joints)} frames, at least {min_frames} are needed")
    if not np.isfinite(joints).all():
        bad = int(np.flatnonzero(~np.isfinite(joints).all(axis=(1, 2)))[0])
        raise UserError(f"the motion has NaN or infinite positions (first in frame {bad})")
    return joints.astype(np.float64)


def facing(joints: np.ndarray, dataset: str = "humanml3d") -> np.ndarray:
    """The horizontal direction the body faces, unit vectors (T, 3), from hips and shoulders of joints (T, J, 3)."""
    right_hip, left_hip, right_shoulder, left_shoulder = get_skeleton(dataset).face_joints
    across = joints[:, left_hip] - joints[:, right_hip] + joints[:, left_shoulder] - joints[:, right_shoulder]
    forward = np.cross(across, UP)
    return forward / np.maximum(np.linalg.norm(forward, axis=-1, keepdims=True), 1e-8)


def yaw_quaternion(angle: np.ndarray) -> np.ndarray:
    """Rotation by `angle` (...) radians about the up axis; +z turns towards +x."""
    return quaternion.from_axis_angle(UP, angle)


def canonicalize(joints: np.ndarray, dataset: str = "humanml3d") -> np.ndarray:
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
    layout = get_layout(dataset)
    skeleton = layout.skeleton
    joints = _checked_joints(joints, layout, min_frames=1)
    parents = np.array(skeleton.parents)

    bones = joints[:, 1:] - joints[:, parents[1:]]
    lengths = np.linalg.norm(bones, axis=-1, keepdims=True)
    rest = skeleton.directions[1:]
    directions = np.where(lengths > 1e-8, bones / np.maximum(lengths, 1e-8), rest)

    ankle = skeleton.left_foot[0]
    leg = []
    while parents[ankle] > 0:
        leg.append(ankle)
        ankle = parents[ankle]
    source_leg = float(np.median(lengths[:, np.array(leg) - 1, 0].sum(axis=1)))
    scale = float(skeleton.bone_lengths[leg].sum()) / max(source_leg, 1e-8)

    result = np.empty_like(joints)
    result[:, 0] = joints[:, 0] * scale
    for joint in range(1, skeleton.n_joints):
        result[:, joint] = result[:, parents[joint]] + directions[:, joint - 1] * skeleton.bone_lengths[joint]

    result[..., 1] -= result[..., 1].min()
    result[..., [0, 2]] -= result[0, 0, [0, 2]]
    forward = facing(result[:1], dataset)[0]
    return quaternion.rotate(yaw_quaternion(-np.arctan2(forward[0], forward[2])), result).astype(np.float32)


def _smoothed_heading(joints: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """(T,) angle that turns the published heading to +z, continuous in time.

    The published features use hips MINUS shoulders here; the smoothing hides most of it, and matching the files matters
    more than the sign.
    """
    right_hip, left_hip, right_shoulder, left_shoulder = skeleton.face_joints
    across = joints[:, left_hip] - joints[:, right_hip] - (joints[:, left_shoulder] - joints[:, right_shoulder])
    across /= np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-12)
    # forward = up x across in the published code, whose `across` points from the left to the right here.
    forward = gaussian_filter1d(np.cross(UP, across), HEADING_SIGMA, axis=0, mode="nearest")
    return -np.unwrap(np.arctan2(forward[:, 0], forward[:, 2]))


def _inverse_kinematics(joints: np.ndarray, root: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """(T, J, 4) local rotations as the published features define them, `root` (T, 4) first."""
    rotations = np.zeros((*joints.shape[:2], 4))
    rotations[:, 0] = root
    for chain in skeleton.chains:
        accumulated = root
        for parent, child in zip(chain[:-1], chain[1:], strict=True):
            turn = quaternion.between(skeleton.directions[child], joints[:, child] - joints[:, parent])
            rotations[:, child] = quaternion.multiply(quaternion.inverse(accumulated), turn)
            accumulated = quaternion.multiply(accumulated, rotations[:, child])
    return rotations


def joints_to_features(joints: np.ndarray, dataset: str = "humanml3d") -> np.ndarray:
    """The published features of a motion that is canonical already (see `canonicalize`).

    Args:
        joints: (T, J, 3) metres, T >= 2.

    Returns:
        (T - 1, D) float32.

    Raises:
        UserError: wrong shape, fewer than two frames, non-finite values.
    """
    layout = get_layout(dataset)
    skeleton = layout.skeleton
    joints = _checked_joints(joints, layout, min_frames=2) * layout.units_per_metre

    heading = _smoothed_heading(joints, skeleton)
    heading[0] = 0.0  # the published extraction sets the first frame's rotation to the identity
    rotation = yaw_quaternion(heading)
    displacement = np.diff(joints, axis=0)

    yaw_velocity = np.arcsin(np.clip(np.sin(np.diff(heading) / 2), -1, 1))[:, None]
    root_velocity = quaternion.rotate(rotation[1:], displacement[:, 0])[:, [0, 2]]
    height = joints[:-1, 0, 1:2]

    local = joints - joints[:, :1] * np.array([1.0, 0.0, 1.0])
    positions = quaternion.rotate(rotation[:, None], local)[:-1, 1:]
    rotations = quaternion.to_sixd(_inverse_kinematics(joints, rotation, skeleton))[:-1, 1:]
    velocities = quaternion.rotate(rotation[:-1, None], displacement)
    feet = [*skeleton.left_foot, *skeleton.right_foot]
    contacts = (displacement[:, feet] ** 2).sum(-1) < layout.contact_threshold

    frames = len(joints) - 1
    groups = [yaw_velocity, root_velocity, height, positions, rotations, velocities, contacts]
    return np.concatenate([group.reshape(frames, -1) for group in groups], axis=1).astype(np.float32)


def root_trajectory(features: np.ndarray, dataset: str = "humanml3d") -> tuple[np.ndarray, np.ndarray]:
    """Integrates the root columns of features (..., T, D).

    Returns:
        heading quaternions (..., T, 4) that turn the world so that the body faces +z, and root positions (..., T, 3) in
        feature units.
    """
    layout = get_layout(dataset)
    if features.shape[-1] != layout.n_features:
        raise UserError(f"features must have {layout.n_features} columns, not {features.shape[-1]}")
    root = features[..., layout.root].astype(np.float64)
    heading = np.zeros(root.shape[:-1])
    heading[..., 1:] = 2 * np.cumsum(root[..., :-1, 0], axis=-1)
    rotation = yaw_quaternion(heading)
    position = np.zeros((*root.shape[:-1], 3))
    position[..., 1:, 0] = root[..., :-1, 1]
    position[..., 1:, 2] = root[..., :-1, 2]
    position = np.cumsum(quaternion.rotate(quaternion.inverse(rotation), position), axis=-2)
    position[..., 1] = root[..., 3]
    return rotation, position


def features_to_joints(features: np.ndarray, dataset: str = "humanml3d") -> np.ndarray:
    """Joint positions from raw features; rotations are not used.

    Args:
        features: (..., T, D) raw units.

    Returns:
        (..., T, J, 3) float32 metres.

    Raises:
        UserError: wrong number of columns.
    """
    layout = get_layout(dataset)
    features = np.asarray(features)
    rotation, root = root_trajectory(features, dataset)
    local = features[..., layout.positions].astype(np.float64).reshape(*features.shape[:-1], layout.n_joints - 1, 3)
    others = quaternion.rotate(quaternion.inverse(rotation)[..., None, :], local)
    others = others + root[..., None, :] * np.array([1.0, 0.0, 1.0])
    joints = np.concatenate([root[..., None, :], others], axis=-2)
    return (joints / layout.units_per_metre).astype(np.float32)


def features_to_grid(features: torch.Tensor, layout: FeatureLayout) -> torch.Tensor:
    """Feature rows (B, T, D) -> grid of joint slots (B, T, slots, 12), empty cells 0; `grid_to_features` inverts it."""
    import torch

    columns = _cell_index("grid_columns", layout.name, features.device)
    padded = torch.cat([features, features.new_zeros(*features.shape[:-1], 1)], dim=-1)
    return padded.index_select(-1, columns).unflatten(-1, layout.grid_columns.shape)


def grid_to_features(grid: torch.Tensor, layout: FeatureLayout) -> torch.Tensor:
    """The inverse of `features_to_grid`: (B, T, slots, 12) -> (B, T, D)."""
    return grid.flatten(-2).index_select(-1, _cell_index("grid_cells", layout.name, grid.device))


@lru_cache
def _cell_index(table: str, layout: str, device: torch.device) -> torch.Tensor:
    """A flat index table of the layout, copied to a device once: a copy a call would make each step wait for it."""
    import torch

    with torch.inference_mode(False):  # whoever asks first, autograd must be able to keep it
        return torch.as_tensor(getattr(get_layout(layout), table).ravel(), device=device)


def feature_statistics(clips: Iterable[np.ndarray], layout: FeatureLayout) -> tuple[np.ndarray, np.ndarray]:
    """Mean and std (D,) float32 of the raw features (T, D) of many clips, as the published `Mean.npy` and `Std.npy`.

    Only one clip at a time is held in memory.

    The std is averaged within each group of columns, so that nearly constant columns are not blown up.
    """
    # Chan, Golub and LeVeque (1983): means and sums of squares of parts add up without loss.
    count, mean, squares = 0, np.zeros(layout.n_features), np.zeros(layout.n_features)
    for clip in clips:
        part = clip.mean(axis=0, dtype=np.float64)
        both = count + len(clip)
        squares += clip.var(axis=0, dtype=np.float64) * len(clip) + (part - mean) ** 2 * (count * len(clip) / both)
        mean += (part - mean) * (len(clip) / both)
        count = both
    std = np.sqrt(squares / max(count, 1))
    for group in layout.groups.values():
        std[group] = max(std[group].mean(), 1e-6)
    return mean.astype(np.float32), std.astype(np.float32)
