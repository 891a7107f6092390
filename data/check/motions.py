"""What can be wrong with a motion file, and with the statistics of all of them.

Letters: T frames, J joints, D feature columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from data.check.report import Found
from data.specs import DatasetSpec
from storage.arrays import read_array
from utils.errors import UserError
from utils.motion_format import MotionFormat
from utils.representation import features_to_joints

HEIGHTS = (0.03, 4.0)  # metres: what a clip's median root height can be, from lying on the floor to climbing
USUAL_HEIGHTS = (0.4, 1.15)  # metres: what the median of a whole dataset can be
FASTEST = 15.0  # metres a second
ROTATION_TOLERANCE = 0.05  # how far from orthonormal the columns of a rotation may be
JOINT_TOLERANCE = 0.01  # metres between the joints of the features and those of the file
# Lengths of a metre in units that motion capture comes in.
UNITS = {"centimetres": 100.0, "millimetres": 1000.0, "inches": 39.37, "KIT's units": 640.0, "metres": 1.0}
FEWEST_ROWS = 500  # frames: fewer say little about a dataset's statistics
LARGEST_MEAN_SHIFT = 1.0  # standard deviations
LARGEST_STD_RATIO = 3.0


def read_motion_file(spec: DatasetSpec, clip_id: str, findings: list[Found]) -> np.ndarray | None:
    """One motion (T, D) float32, or None and a finding when loading would skip it."""
    path = spec.features_dir / f"{clip_id}.npy"
    if not path.is_file():
        findings.append(("no-motion", clip_id))
        return None
    try:
        features = read_array(path)
    except UserError:
        findings.append(("unreadable-motion", clip_id))
        return None
    if features.ndim != 2 or features.shape[1] != spec.format.n_features or features.dtype.kind not in "fiu":
        findings.append(
            ("wrong-shape", f"{clip_id}: {features.shape} {features.dtype}, not (T, {spec.format.n_features})")
        )
        return None
    features = features.astype(np.float32, copy=False)
    finite = np.isfinite(features)
    if not finite.all():
        frame, column = (int(each[0]) for each in np.nonzero(~finite))
        findings.append(("not-finite", f"{clip_id}: first in frame {frame}, column {column}"))
        return None
    return features


def motion_digest(features: np.ndarray) -> str:
    """Equal for equal motions."""
    return hashlib.blake2b(features.reshape(-1), digest_size=16).hexdigest()


def check_motion(spec: DatasetSpec, clip_id: str, features: np.ndarray) -> Iterator[Found]:
    """What is implausible in a readable motion (T, D); its unit of length is judged by `check_heights`."""
    layout = spec.format
    contacts = features[:, layout.contacts]
    if np.abs(contacts * (contacts - 1)).max(initial=0) > 1e-3:
        yield "contacts", f"{clip_id}: {contacts.min():.3g} to {contacts.max():.3g}"
    ground = features[:, 1:3].astype(np.float64) * spec.format.fps / layout.units_per_metre
    speed = np.hypot(ground[:, 0], ground[:, 1]).max(initial=0)
    if speed > FASTEST:
        yield "speed", f"{clip_id}: {speed:.0f} m/s"
    first, second = np.moveaxis(features[:, layout.rotations].reshape(len(features), layout.n_joints - 1, 2, 3), 2, 0)
    pairs = ((first, first, 1), (second, second, 1), (first, second, 0))
    products = (np.einsum("tjc,tjc->tj", left, right) - expected for left, right, expected in pairs)
    if max(np.abs(product).max(initial=0) for product in products) > ROTATION_TOLERANCE:
        yield "rotations", clip_id
    yield from _compare_joints(spec, layout, clip_id, features)


def _compare_joints(spec: DatasetSpec, layout: MotionFormat, clip_id: str, features: np.ndarray) -> Iterator[Found]:
    """The joints of the features and those of the file in new_joints, if there is one."""
    path: Path = spec.joints_dir / f"{clip_id}.npy"
    if not path.is_file() or not len(features):
        return
    try:
        joints = read_array(path)
    except UserError:
        yield "unreadable-joints", clip_id
        return
    frames = len(features)
    # Published folders keep the joints of the T feature rows, others the T + 1 that these came from.
    if joints.shape not in ((frames, layout.n_joints, 3), (frames + 1, layout.n_joints, 3)):
        wanted = f"({frames} or {frames + 1}, {layout.n_joints}, 3)"
        yield "unreadable-joints", f"{clip_id}: {joints.shape}, not {wanted}"
        return
    if joints.dtype.kind not in "fiu" or not np.isfinite(joints).all():
        yield "unreadable-joints", f"{clip_id}: not finite"
        return
    recovered = features_to_joints(features, spec.format)
    distance = min(
        float(np.linalg.norm(joints[:frames] / unit - recovered, axis=-1).max())
        for unit in {1.0, layout.units_per_metre}
    )
    if distance > JOINT_TOLERANCE:
        yield "joints", f"{clip_id}: up to {distance:.2g} m apart"


def motion_sums(features: np.ndarray) -> np.ndarray:
    """What `check_statistics` adds up of a motion (T, D): sums and sums of squares, (2, D)."""
    rows = features.astype(np.float64)
    return np.stack([rows.sum(axis=0), np.einsum("td,td->d", rows, rows)])


def check_heights(form: MotionFormat, heights: Mapping[str, float]) -> Iterator[Found]:
    """A wrong unit of length, or else the clips whose median root height, metres if the unit is right, cannot be."""
    if not heights:
        return
    usual = float(np.median(list(heights.values())))
    if not USUAL_HEIGHTS[0] <= usual <= USUAL_HEIGHTS[1]:
        yield "units", f"the median root height is {usual:.3g} m{_likely_unit(form, usual)}"
        return
    for clip_id, height in heights.items():
        if not HEIGHTS[0] <= height <= HEIGHTS[1]:
            yield "height", f"{clip_id}: {height:.2f} m"


def _likely_unit(form: MotionFormat, usual: float) -> str:
    own = form.units_per_metre
    for name, units in UNITS.items():
        if units != own and USUAL_HEIGHTS[0] <= usual * own / units <= USUAL_HEIGHTS[1]:
            return f": the features seem to be in {name}, they must have {own:g} units a metre"
    return ""


def check_statistics(
    form: MotionFormat, sums: np.ndarray, rows: int, mean: np.ndarray, std: np.ndarray
) -> Iterator[Found]:
    """The groups of columns whose mean or spread is not that of `mean` and `std`, (D,) each.

    Args:
        sums: of the `motion_sums` of training clips.
        rows: frames of these clips.
    """
    if rows < FEWEST_ROWS:
        return
    own_mean, own_squares = sums / rows
    own_std = np.sqrt(np.maximum(own_squares - own_mean**2, 0))
    for name, columns in form.groups.items():
        spread, given = own_std[columns].mean(), std[columns].mean()
        if spread < 1e-6:
            continue
        if not 1 / LARGEST_STD_RATIO <= given / spread <= LARGEST_STD_RATIO:
            yield "statistics-fit", f"{name}: Std.npy has {given:.3g}, the training clips {spread:.3g}"
            continue
        shifts = np.abs(own_mean - mean)[columns] / max(spread, given)
        if np.median(shifts) > LARGEST_MEAN_SHIFT:
            yield "statistics-fit", f"{name}: Mean.npy is {np.median(shifts):.1f} standard deviations off"
