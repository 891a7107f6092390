"""One clip from its motion file to the dataset's files. Runs in worker processes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data.captions import Caption
from data.clips import TOLERATED_SECONDS, frame_time, tag_frames, window_spans
from data.motions.reader import MotionReader
from data.motions.smpl import BodyShape
from data.prepare.captions import caption_line, mirrored
from data.prepare.checks import check_motion
from data.prepare.settings import ClipSettings
from data.prepare.sources import INDEX_FPS, INDEX_PIECE, Source
from data.specs import DatasetSpec
from storage.arrays import write_array
from storage.files import atomic_path
from utils.errors import UserError
from utils.mirror import mirror_joints
from utils.representation import canonicalize, joints_to_features

FOLDERS = {"new_joint_vecs": ".npy", "new_joints": ".npy", "texts": ".txt"}
MIRROR_PREFIX = "M"
LONGER = 1.5  # than an index says: so much makes a take's frame rate doubtful, they differ by factors of two


@dataclass(frozen=True)
class ClipJob:
    """What a worker is asked to do.

    Attributes:
        source: the motion.
        captions: with tokens.
        mirror_id: id of the mirrored copy, None for none.
        fingerprint: of motion and captions, kept with the result.
    """

    source: Source
    captions: tuple[Caption, ...]
    mirror_id: str | None
    fingerprint: str


@dataclass(frozen=True)
class Record:
    """What became of a clip.

    Attributes:
        name, file: of the clip, and of its motion below the folder of motions.
        fingerprint: as in the job.
        reason: why it was refused, "" when it was taken.
        twin: the clip with the very same motion that this one was refused for, "".
        ids: its files' names without suffix: the clip and perhaps its mirrored copy.
        frames: feature rows.
        captions: how many.
        distance: length of the root's way on the ground, metres.
        top_speed: of the root, metres a second, over a fifth of a second.
        kind, joint_map, unit, source_frames, source_fps: as the file was read.
        digest: of the features.
        remarks: what looks odd.
    """

    name: str
    file: str
    fingerprint: str
    reason: str = ""
    twin: str = ""
    ids: tuple[str, ...] = ()
    frames: int = 0
    captions: int = 0
    distance: float = 0.0
    top_speed: float = 0.0
    kind: str = ""
    joint_map: str = ""
    unit: str = ""
    source_frames: int = 0
    source_fps: float = 0.0
    digest: str = ""
    remarks: tuple[str, ...] = ()


def make_clip(
    job: ClipJob, motions: Path, out: Path, settings: ClipSettings, bodies: Mapping[str, BodyShape]
) -> Record:
    """Reads, checks, retargets and writes one clip; a bad one is refused, never half-written."""
    blank = Record(job.source.name, str(job.source.path.relative_to(motions)), job.fingerprint)
    try:
        return _make_clip(job, blank, out, settings, bodies)
    except UserError as error:
        reason = str(error).removeprefix(str(job.source.path)).removeprefix(":")
        return replace(blank, reason=" ".join(reason.split()).removeprefix("is ") or "unusable")


def reader_of(settings: ClipSettings, bodies: Mapping[str, BodyShape]) -> MotionReader:
    """What reads the motions of a preparation."""
    return MotionReader(settings, settings.fps, settings.form, bodies, dict(settings.up))


def _make_clip(
    job: ClipJob, blank: Record, out: Path, settings: ClipSettings, bodies: Mapping[str, BodyShape]
) -> Record:
    motion = reader_of(settings, bodies).read(job.source.path)
    cut, odd = cropped(motion.joints, job.source.crop, settings.fps)
    remarks = [*motion.remarks, *odd, *check_motion(cut, settings)]
    joints = canonicalize(cut, settings.form)
    features = joints_to_features(joints, settings.form)
    if not np.isfinite(features).all():
        raise UserError("NaN: the features of this motion are not finite")
    captions, dropped = usable_captions(job.captions, len(features), settings)
    if not captions:
        raise UserError(f"no caption: {dropped[0]}")
    ids = [job.source.name]
    write_clip(out, job.source.name, joints, features, captions)
    if job.mirror_id is not None:
        other = canonicalize(mirror_joints(joints, settings.form), settings.form)
        rows = joints_to_features(other, settings.form)
        write_clip(out, job.mirror_id, other, rows, [mirrored(caption) for caption in captions])
        ids.append(job.mirror_id)
    ground = np.diff(joints[:, 0, [0, 2]].astype(np.float64), axis=0)
    window = min(max(round(settings.fps / 5), 1), len(ground))
    places = joints[:, 0, [0, 2]].astype(np.float64)
    speeds = np.linalg.norm(places[window:] - places[:-window], axis=-1) * settings.fps / window
    return replace(
        blank,
        ids=tuple(ids),
        frames=len(features),
        captions=len(captions),
        distance=round(float(np.linalg.norm(ground, axis=-1).sum()), 4),
        top_speed=round(float(speeds.max()), 4),
        kind=motion.kind,
        joint_map=motion.joint_map,
        unit=motion.unit,
        source_frames=motion.source_frames,
        source_fps=round(motion.source_fps, 4),
        digest=hashlib.sha256(features.tobytes()).hexdigest()[:20],
        remarks=(*remarks, *dropped),
    )


def cropped(joints: np.ndarray, crop: tuple[int, int | None] | None, fps: float) -> tuple[np.ndarray, list[str]]:
    """The frames of joints (T, J, 3) that an index's crop means, and a remark where take and index disagree a little.

    Raises:
        UserError: the crop ends much later than they do, or begins after their end.
    """
    if crop is None:
        return joints, []
    first, last = (len(joints) if frame is None else round(frame / INDEX_FPS * fps) for frame in crop)
    there = round(len(joints) / fps * INDEX_FPS)
    told = f"frames {crop[0]} to {crop[1] or 'the end'} at {INDEX_FPS:g} fps, the take has {there}"
    if first >= len(joints) or last > len(joints) + TOLERATED_SECONDS * fps:
        raise UserError(f"crop past the end: {told}")
    remarks = [f"the crop ends after the take: {told}"] if last > len(joints) + fps / INDEX_FPS else []
    # HumanML3D cut takes into pieces of 200 frames; only at a take's end there are shorter ones.
    if crop[1] is not None and crop[1] - crop[0] < INDEX_PIECE and there > crop[1] * LONGER + INDEX_FPS:
        remarks.append(f"the take goes on where the index ends it, is its frame rate true? {told}")
    return joints[first:last], remarks


def write_clip(out: Path, clip_id: str, joints: np.ndarray, features: np.ndarray, captions: list[Caption]) -> None:
    """The three files of a clip in the published layout; each appears whole or not at all."""
    write_array(out / "new_joints" / f"{clip_id}.npy", joints)
    with atomic_path(out / "texts" / f"{clip_id}.txt") as temporary:
        temporary.write_text("".join(map(caption_line, captions)), encoding="utf-8")
    write_array(out / "new_joint_vecs" / f"{clip_id}.npy", features)


def usable_captions(
    captions: Sequence[Caption], n_frames: int, settings: ClipSettings
) -> tuple[list[Caption], list[str]]:
    """The captions of a clip of `n_frames` feature rows that training can use, and remarks about the others.

    Ends after the clip's end become the clip's end. Parts that are shorter than a clip may be are left out. With
    `window_frames` a caption of more than models can see becomes one of each window, see `data.clips.window_spans`.
    """
    seconds = n_frames / settings.fps
    kept, remarks = [], []
    for caption in captions:
        if caption.start >= seconds:
            remarks.append(f"a caption starts at {caption.start:g} s, after the clip's end at {seconds:.2f} s")
            continue
        if caption.end > seconds:
            if caption.end > seconds + TOLERATED_SECONDS:
                remarks.append(f"a caption ends at {caption.end:g} s, the clip at {seconds:.2f} s: cut there")
            caption = replace(caption, end=round(seconds, 4) if caption.start else 0.0)
        first, last = tag_frames(caption, settings.fps, n_frames)
        if last - first < settings.min_frames:
            remarks.append(
                f"a caption of {caption.start:g} to {caption.end or seconds:g} s is left out: {last - first} frames, "
                f"--min_frames is {settings.min_frames}"
            )
            continue
        kept += in_windows(caption, first, last, n_frames, settings)
    return kept, remarks


def in_windows(caption: Caption, first: int, last: int, n_frames: int, settings: ClipSettings) -> list[Caption]:
    """The caption of frames `first` to `last`, once for each window where these are more than models can see."""
    if not settings.window_frames:
        return [caption]
    spec = DatasetSpec("", Path(), settings.form, settings.min_frames, settings.window_frames)
    if last - first <= spec.max_clip_frames:
        return [caption]
    spans = window_spans(last - first, spec)
    return [
        replace(caption, start=frame_time(first + start, settings.fps), end=frame_time(first + end, settings.fps))
        for start, end in spans
    ]
