"""Reads one motion file of any kind as the skeleton's joints, in metres, y up: the one way in, whatever comes after.

Letters: T frames, J joints, N nodes of the file's own skeleton.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from data.motions.body import frames_before_motion, likely_unit, likely_up, turn_up
from data.motions.bones import complete
from data.motions.cmu import true_rate
from data.motions.folder import demo_sample
from data.motions.joint_maps import JointMap, guess_joint_map, load_joint_map
from data.motions.settings import METRES, Axis, ReadSettings
from data.motions.smpl import LARGEST, BodyShape, smpl_motion
from storage.arrays import read_arrays
from storage.limits import CELLS, CELLS_TIMES
from utils.acclaim import read_amc
from utils.bvh import read_bvh
from utils.errors import UserError
from utils.formats import HUMANML3D, told_format
from utils.hierarchy import Hierarchy
from utils.motion_format import MotionFormat
from utils.rig import RigMotion, resample_joints

JOINTS_KEYS = ("joints", "positions", "joints3d", "keypoints3d", "motion")
RATE_KEYS = ("fps", "mocap_framerate", "mocap_frame_rate", "frame_rate")
SMPL_KEYS = ("poses", "trans", "betas", "gender")
KINDS = ("bvh", "amc", "joints", "smpl")
PROBED = 12  # files of a kind that are asked which axis is up


@dataclass(frozen=True)
class SourceMotion:
    """A motion file's content.

    Attributes:
        joints: (T, J, 3) metres, y up.
        fps: frames a second of the joints.
        kind: "bvh", "amc", "joints" or "smpl".
        source_frames, source_fps: of the file, whatever it claims.
        joint_map: name of the map that found the joints, "" where none is needed.
        unit, up: of the file; found or given.
        remarks: what looks odd, or was made up.
    """

    joints: np.ndarray
    fps: float
    kind: str
    source_frames: int
    source_fps: float
    joint_map: str = ""
    unit: str = "m"
    up: Axis = "y"
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Raw:
    """A file's content in its own unit and axes: joints (T, J, 3), and the root's path (S, 3) at the file's own rate.

    `rig` is the file's own skeleton, `chosen` the map from it; `sample` what the demo says of the file.
    """

    joints: np.ndarray
    root: np.ndarray
    fps: float
    kind: str
    source_frames: int
    source_fps: float
    rig: Hierarchy | None = None
    chosen: JointMap | None = None
    sample: Mapping[str, Any] | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class MotionReader:
    """How files are read.

    Attributes:
        settings: what the user says about them.
        fps: frames a second that are wanted; None: as each file has them.
        form: whose joints are wanted; its rate is that of joints files of which nothing tells the rate.
        bodies: SMPL bodies by gender, where pose parameters may come.
        axes: the axis that points up, by kind of file, see `agreed`; of other kinds each file's own is found.
    """

    settings: ReadSettings = ReadSettings()
    fps: float | None = None
    form: MotionFormat = HUMANML3D
    bodies: Mapping[str, BodyShape] = field(default_factory=dict)
    axes: Mapping[str, Axis] = field(default_factory=dict)

    def agreed(self, paths: Iterable[Path]) -> MotionReader:
        """The same, certain of the axis that points up: the user's, else that along which most bodies of files like
        `paths` stand, a sample of each kind."""
        if self.settings.up_axis != "auto":
            return replace(self, axes=dict.fromkeys(KINDS, self.settings.up_axis))
        kinds: dict[str, list[Path]] = {}
        for path in paths:
            kinds.setdefault(path.suffix.lower(), []).append(path)
        votes: dict[str, dict[Axis, float]] = {}
        for members in kinds.values():
            chosen = {round(place) for place in np.linspace(0, len(members) - 1, min(PROBED, len(members)))}
            for index in sorted(chosen):
                try:
                    raw = self._read(members[index])
                except UserError:
                    continue
                if raw.sample is None:
                    axis, clearness = likely_up(raw.joints, self.form)
                    kind = votes.setdefault(raw.kind, {})
                    kind[axis] = kind.get(axis, 0.0) + clearness
        return replace(self, axes={**{kind: max(each, key=each.get) for kind, each in votes.items()}, **self.axes})

    def read(self, path: Path | str) -> SourceMotion:
        """A motion in metres and with y up.

        Raises:
            UserError: the file cannot be read, has other joints, NaN, a body of no size, or begins with frames that are
                no motion; the file is named.
        """
        path = Path(path)
        try:
            return self._finished(self._read(path))
        except UserError as error:
            raise UserError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from error

    def _finished(self, raw: _Raw) -> SourceMotion:
        """In metres, turned up, with every bone."""
        said, ours = self.settings, raw.sample is not None
        known = ours or raw.kind == "smpl"
        unit = said.units if said.units != "auto" else "m" if known else likely_unit(raw.joints, self.form)
        if said.up_axis != "auto" or ours:
            up: Axis = "y" if said.up_axis == "auto" else said.up_axis
        else:
            up = self.axes.get(raw.kind) or likely_up(raw.joints, self.form)[0]
        joints, remarks = turn_up(raw.joints * METRES[unit], up), [*raw.remarks]
        if not ours:
            held, way = frames_before_motion(raw.root * METRES[unit], raw.source_fps)
            if held:
                frame = held + raw.source_frames - len(raw.root)
                raise UserError(
                    f"teleporting root: {way:.2f} m from frame {frame - 1} to {frame} of the file: if a T-pose or"
                    f" the like stands before the motion, give --skip_frames {frame}"
                )
            if len(raw.root) > 1 and not np.ptp(raw.root, axis=0).any():
                remarks.append("the file tells no way of the root: the body moves on the spot")
            joints, completed = complete(joints, self.form, raw.rig, raw.chosen, up)
            remarks += completed
        return SourceMotion(
            joints, raw.fps, raw.kind, raw.source_frames, raw.source_fps,
            raw.chosen.name if raw.chosen else "", unit, up, tuple(remarks),
        )  # fmt: skip

    def _read(self, path: Path) -> _Raw:
        if path.suffix.lower() in (".bvh", ".amc"):
            return self._read_hierarchy(path)
        arrays = read_arrays(path, (*JOINTS_KEYS, *RATE_KEYS, *SMPL_KEYS))
        if {"poses", "trans"} <= set(arrays):
            rig = smpl_motion(arrays, self.bodies, self._rate(arrays, None, required=True))
            return self._read_rig(rig, "smpl")
        sample = demo_sample(path)
        told = (
            self.form if (sample or {}).get("format") is None else told_format(sample["format"], "result.json: format")
        )
        if told.joint_names != self.form.joint_names:
            raise UserError(f"wrong joints: {told.name} has {told.difference(self.form)}")
        joints = _joints_of(arrays, self.form)
        source_fps = self._rate(arrays, sample)
        kept = joints[self._first(0, len(joints)) :]
        wanted = self.fps or source_fps
        _check_length(len(kept), self.form.n_joints, source_fps, wanted)
        again = resample_joints(kept, self.form.parents, source_fps, wanted)
        return _Raw(again, kept[:, 0], wanted, "joints", len(joints), source_fps, sample=sample)

    def _read_hierarchy(self, path: Path) -> _Raw:
        """A file of a skeleton of its own, at its true rate."""
        kind = path.suffix.lower()[1:]
        whole = read_bvh(path) if kind == "bvh" else read_amc(path, math.nan)
        claimed = None if math.isnan(whole.fps) else whole.fps
        fps = true_rate(path, whole.names, claimed) or self.settings.source_fps
        if fps is None:
            raise UserError("unknown rate: an .amc does not tell its frames a second, give --source_fps")
        raw = self._read_rig(replace(whole, fps=fps), kind)
        if fps == (claimed or fps):
            return raw
        return replace(raw, remarks=(f"the file claims {claimed:g} frames a second, CMU captured {fps:g}",))

    def _read_rig(self, whole: RigMotion, kind: str) -> _Raw:
        """A moving skeleton of named joints; where a file lacks some that are wanted, these may be its ends."""
        said = self.settings.joint_map
        if kind == "smpl" and whole.names == self.form.joint_names:
            chosen = JointMap("", tuple(((name, 1.0),) for name in whole.names))
        else:
            names = whole.names + (whole.end_names if isinstance(whole, Hierarchy) else ())
            chosen = load_joint_map(said, self.form) if said else guess_joint_map(names, self.form)
        ends = isinstance(whole, Hierarchy) and chosen.missing(whole.names)
        rig, first = whole.with_ends() if ends else whole, self._first(chosen.skip_frames, len(whole.rotations))
        rig = replace(rig, translations=rig.translations[first:], rotations=rig.rotations[first:])
        _check_length(len(rig.rotations), len(rig.names), rig.fps, self.fps or rig.fps)
        again = rig if self.fps is None else rig.resampled(self.fps)
        joints = chosen.apply(again.names, again.positions())
        root = rig.path(chosen.nodes(rig.names)[chosen.blends[0][0][0]])
        own = again if isinstance(again, Hierarchy) else None
        return _Raw(joints, root, again.fps, kind, len(whole.rotations), whole.fps, own, chosen)

    def _first(self, usual: int, count: int) -> int:
        """The first frame that is motion, of `count`."""
        skipped = usual if self.settings.skip_frames is None else self.settings.skip_frames
        if skipped >= count:
            raise UserError(f"too short: {count} frames, of which --skip_frames leaves none out of {skipped} to skip")
        return skipped

    def _rate(
        self, arrays: Mapping[str, np.ndarray], sample: Mapping[str, Any] | None, required: bool = False
    ) -> float:
        """The file's own frame rate, else the user's, else that of the folder."""
        for key in RATE_KEYS:
            if key in arrays:
                value = arrays[key]
                if value.size != 1 or value.dtype.kind not in "fiu" or not 0.1 <= float(value.item()) <= 10000:
                    raise UserError(f"{key} is no frame rate")
                return float(value.item())
        if self.settings.source_fps is None and required:
            raise UserError("pose parameters without a frame rate: give --source_fps")
        return self.settings.source_fps or float((sample or {}).get("fps", self.form.fps))


def _check_length(frames: int, nodes: int, source_fps: float, fps: float) -> None:
    """Raises `UserError` where another frame rate makes far more of a motion than its file holds."""
    again = frames / source_fps * fps
    if again * nodes > max(CELLS, CELLS_TIMES * frames * nodes):
        raise UserError(f"too long: {frames} frames at {source_fps:g} fps become {again:.0f} at {fps:g}")


def _joints_of(arrays: Mapping[str, np.ndarray], form: MotionFormat) -> np.ndarray:
    """(T, J, 3) float64."""
    named = [arrays[key] for key in ("", *JOINTS_KEYS) if key in arrays]
    candidates = named or [array for array in arrays.values() if array.ndim == 3]
    if len(candidates) != 1:
        raise UserError(f"wrong joints: expected one array of joints, called joints, among {', '.join(arrays)}")
    joints = candidates[0]
    if joints.ndim != 3 or joints.shape[1:] != (form.n_joints, 3):
        hint = ": these look like features, not joints" if joints.ndim == 2 and joints.shape[1] in (251, 263) else ""
        raise UserError(f"wrong joints: the shape is {joints.shape}, not (frames, {form.n_joints}, 3){hint}")
    if joints.dtype.kind not in "fiu":
        raise UserError(f"wrong joints: they must be numbers, not {joints.dtype}")
    if not len(joints):
        raise UserError("too short: no frames")
    with np.errstate(invalid="ignore"):  # NaN of a kind that signals
        joints = joints.astype(np.float64)
    bad = ~(np.abs(joints) < LARGEST).all(axis=(1, 2))
    if bad.any():
        raise UserError(f"NaN: or infinity or an absurd number, first in frame {int(bad.argmax())}")
    return joints
