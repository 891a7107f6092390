"""Reads one motion file of any kind as the 22 joints, in metres, y up, at the dataset's frame rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data.prepare.joint_maps import guess_joint_map, load_joint_map
from data.prepare.settings import METRES, ClipSettings
from data.prepare.smpl import BodyShape, smpl_motion
from utils.bvh import read_bvh
from utils.errors import UserError
from utils.files import UNREADABLE_ARRAY
from utils.rig import RigMotion, resample_joints
from utils.skeleton import get_skeleton

SKELETON = get_skeleton("humanml3d")
N_JOINTS = SKELETON.n_joints
USUAL_SIZE = 1.4  # metres from ankle to head along the bones; bodies from 0.7 to 2.8 are believed
JOINTS_KEYS = ("joints", "positions", "joints3d", "keypoints3d", "motion")
RATE_KEYS = ("fps", "mocap_framerate", "mocap_frame_rate", "frame_rate")
# Joints along which the size is measured: one leg, and the trunk to the head.
_SIZED = (4, 7, 3, 6, 9, 12, 15)
# Rows that turn the axis into y; proper rotations, so that left stays left.
TURNS: dict[str, tuple[tuple[int, int], ...]] = {  # (source axis, sign) of x, y and z
    "y": ((0, 1), (1, 1), (2, 1)),
    "z": ((0, 1), (2, 1), (1, -1)),
    "x": ((1, -1), (0, 1), (2, 1)),
    "minus_y": ((0, 1), (1, -1), (2, -1)),
    "minus_z": ((0, 1), (2, -1), (1, 1)),
    "minus_x": ((1, 1), (0, -1), (2, 1)),
}


@dataclass(frozen=True)
class SourceMotion:
    """A motion file's content.

    Attributes:
        joints: (T, 22, 3) at the dataset's frame rate.
        kind: "bvh", "joints" or "smpl".
        source_frames, source_fps: of the file.
        joint_map: name of the map that found the joints, "" where none is needed.
        unit: of lengths; found or given.
    """

    joints: np.ndarray
    kind: str
    source_frames: int
    source_fps: float
    joint_map: str = ""
    unit: str = "m"


def read_motion(path: Path, settings: ClipSettings, body: Mapping[str, BodyShape] | None = None) -> SourceMotion:
    """A motion in metres and with y up.

    Args:
        path: .bvh, .npy or .npz.
        settings: how to read it.
        body: SMPL bodies by gender, where pose parameters may come.

    Raises:
        UserError: the file cannot be read, has other joints, NaN, or a body of no size.
    """
    motion = read_raw_motion(path, settings, body)
    unit = settings.unit or ("m" if motion.kind == "smpl" else likely_unit(motion.joints))
    joints = turn_up(motion.joints * METRES[unit], dict(settings.up).get(motion.kind, "y"))
    return replace(motion, joints=joints, unit=unit)


def read_raw_motion(path: Path, settings: ClipSettings, body: Mapping[str, BodyShape] | None = None) -> SourceMotion:
    """The same in the file's own unit and axes.

    Raises:
        UserError: as `read_motion`.
    """
    suffix = path.suffix.lower()
    if suffix == ".bvh":
        return _read_bvh(path, settings)
    arrays = _load_arrays(path)
    if suffix == ".npz" and {"poses", "trans"} <= set(arrays):
        rig = smpl_motion(arrays, body or {}, _rate(arrays, settings, "pose parameters"))
        return _from_rig(_skipped(rig, settings.skip_frames or 0), settings, "smpl", len(rig.rotations), rig.fps)
    joints = _joints_of(arrays)
    source_fps = _rate(arrays, settings)
    count = len(joints)
    joints = joints[min(settings.skip_frames or 0, count - 1) :]
    joints = resample_joints(joints, SKELETON.parents, source_fps, settings.fps)
    return SourceMotion(joints, "joints", count, source_fps)


def _read_bvh(path: Path, settings: ClipSettings) -> SourceMotion:
    rig = read_bvh(path)
    joint_map = load_joint_map(settings.joint_map) if settings.joint_map else guess_joint_map(rig.names)
    if missing := joint_map.missing(rig.names):
        raise UserError(f"wrong joints: joint map {joint_map.name} needs {', '.join(missing)}")
    skip = joint_map.skip_frames if settings.skip_frames is None else settings.skip_frames
    motion = _skipped(rig, skip).resampled(settings.fps)
    joints = joint_map.apply(rig.names, motion.positions())
    return SourceMotion(joints, "bvh", len(rig.rotations), rig.fps, joint_map.name)


def _from_rig(rig: RigMotion, settings: ClipSettings, kind: str, frames: int, fps: float) -> SourceMotion:
    return SourceMotion(rig.resampled(settings.fps).positions()[:, :N_JOINTS], kind, frames, fps)


def _skipped(rig: RigMotion, frames: int) -> RigMotion:
    """The motion without its first frames; one frame at least stays."""
    first = min(frames, len(rig.rotations) - 1)
    plain = RigMotion(rig.names, rig.parents, rig.translations, rig.rotations, rig.fps)
    return replace(plain, translations=rig.translations[first:], rotations=rig.rotations[first:])


def _load_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz by name, or that of a .npy as "joints"; nothing is unpickled."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"joints": loaded}
        with loaded as file:
            wanted = {*JOINTS_KEYS, *RATE_KEYS, "poses", "trans", "betas", "gender"}
            keys = [key for key in file.files if key in wanted] or file.files
            return {key: file[key] for key in keys}
    except UNREADABLE_ARRAY as error:
        raise UserError(f"not a readable {path.suffix} file: {error}") from error


def _joints_of(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """(T, 22, 3) float64."""
    named = [arrays[key] for key in JOINTS_KEYS if key in arrays]
    candidates = named or [array for array in arrays.values() if array.ndim == 3]
    if len(candidates) != 1:
        raise UserError(f"wrong joints: expected one array of joints, called joints, among {', '.join(arrays)}")
    joints = candidates[0]
    if joints.ndim != 3 or joints.shape[1:] != (N_JOINTS, 3) or joints.dtype.kind not in "fiu":
        hint = ": these look like features, not joints" if joints.ndim == 2 and joints.shape[1] in (251, 263) else ""
        raise UserError(f"wrong joints: the shape is {joints.shape}, not (frames, {N_JOINTS}, 3){hint}")
    if not len(joints):
        raise UserError("too short: no frames")
    with np.errstate(invalid="ignore"):  # NaN of a kind that signals
        joints = joints.astype(np.float64)
    bad = ~(np.abs(joints) < 1e7).all(axis=(1, 2))
    if bad.any():
        raise UserError(f"NaN: or infinity or an absurd number, first in frame {int(bad.argmax())}")
    return joints


def _rate(arrays: Mapping[str, np.ndarray], settings: ClipSettings, required_by: str = "") -> float:
    """The file's own frame rate, else the user's."""
    for key in RATE_KEYS:
        if key in arrays:
            value = arrays[key]
            if value.size != 1 or value.dtype.kind not in "fiu" or not 0.1 <= float(value.item()) <= 10000:
                raise UserError(f"{key} is no frame rate")
            return float(value.item())
    if settings.source_fps is None and required_by:
        raise UserError(f"{required_by} without a frame rate: give --source_fps")
    return settings.source_fps or settings.fps


def body_size(joints: np.ndarray) -> float:
    """Length of a leg and of the trunk up to the head along the bones, medians over time, of joints (T, 22, 3)."""
    ends = np.array(_SIZED)
    bones = joints[:, ends] - joints[:, np.array(SKELETON.parents)[ends]]
    return float(np.median(np.linalg.norm(bones, axis=-1), axis=0).sum())


def likely_unit(joints: np.ndarray) -> str:
    """The unit in which the body of joints (T, 22, 3) is nearest to an adult's size.

    Raises:
        UserError: none makes it human.
    """
    size = body_size(joints)
    if not size > 0:
        raise UserError("wrong size: all joints are at one place")
    unit, error = min(
        ((unit, abs(np.log(size * metres / USUAL_SIZE))) for unit, metres in METRES.items()), key=lambda each: each[1]
    )
    if error > np.log(2):
        raise UserError(f"wrong size: the body measures {size:.4g}, which no unit makes human: give --units")
    return unit


def turn_up(joints: np.ndarray, up: str) -> np.ndarray:
    """Joints (T, J, 3) turned so that the axis `up` becomes y."""
    return np.stack([sign * joints[..., axis] for axis, sign in TURNS[up]], axis=-1)


def upright_axis(joints: np.ndarray) -> tuple[str, float]:
    """The axis along which the body of joints (T, 22, 3) stands, and how clearly, 0 to 1."""
    feet = joints[:, [SKELETON.left_foot[0], SKELETON.right_foot[0]]].mean(axis=1)
    up = np.median(joints[:, SKELETON.joint_names.index("neck")] - feet, axis=0)
    axis = int(np.abs(up).argmax())
    name = ("" if up[axis] > 0 else "minus_") + "xyz"[axis]
    return name, float(abs(up[axis]) / max(np.linalg.norm(up), 1e-12))
