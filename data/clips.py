"""Clips and captions of a dataset in the published layout: reading, filtering, cropping by time tags, windows."""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from data.captions import Caption, read_captions
from data.mixture import pooled_statistics
from data.packing import pack_motions
from data.specs import SPLITS, DatasetSpec, require_files
from storage.arrays import read_array
from storage.files import read_text
from storage.limits import LONGEST_ID
from storage.row_store import Row
from utils.errors import UserError
from utils.progress import progress_bar

LOGGER = logging.getLogger(__name__)
# A tag may end so much after its clip: published tags are rounded, and features have a frame less than joints.
TOLERATED_SECONDS = 1.0


@dataclass(frozen=True, eq=False)
class Clip:
    """One motion with its captions.

    Attributes:
        id: unique; the file's name, with `@start-end` (seconds) when it is a crop of the file, and after the dataset's
            name (`mini/000123`) where there are several.
        take: the id without mirror prefix and crop: clips of one take are the same performance.
        features: (T, D) float32, raw units, T a multiple of the dataset's unit length. Those of `load_split` are read
            from the disk when they are looked at.
        captions: at least one, unless the split was loaded without captions.
        frames: the part of its file, first and last + 1; None: all of it.
    """

    id: str
    take: str
    features: np.ndarray | Row
    captions: tuple[Caption, ...] = ()
    frames: tuple[int, int] | None = None

    @property
    def source(self) -> str:
        """Which of several datasets it is from; "" of a single one's."""
        return self.id.rpartition("/")[0]


@dataclass
class Skipped:
    """Counts what a split's loading left out, with a few names each."""

    ids: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, clip_id: str) -> None:
        """Notes one clip."""
        self.ids.setdefault(reason, []).append(clip_id)

    def __str__(self) -> str:
        parts = []
        for reason, ids in self.ids.items():
            shown = ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")
            parts.append(f"{len(ids)} {reason} ({shown})")
        return "; ".join(parts)


def take_of(clip_id: str, known_ids: Collection[str] = ()) -> str:
    """The performance that a clip comes from: its id without a crop (`@1-3.5`) and without the mirror prefix `M`.

    `M` counts as the mirror prefix before a digit (`M000123`), or when the rest is one of `known_ids`.
    """
    name = clip_id.split("@", 1)[0]
    if re.match(r"M\d", name) or (name.startswith("M") and name[1:] in known_ids):
        return name[1:]
    return name


def load_split(
    spec: DatasetSpec, split: str, *, captions: bool = True, keep_long: bool = False, windows: bool = False
) -> list[Clip]:
    """Loads the clips of a split, in the order of its file.

    Those of several datasets come set after set, each within its own limits; ids and takes begin with the set's name.
    Sets that have none for validation or test are left out where others have some.

    A caption with time tags makes a clip of its own of that part (captions with the same tags share it). Clips whose
    length in frames is not min_frames <= T <= max_clip_frames are left out; missing, non-finite and wrong-width motions
    and motions without a caption file are skipped and counted in one warning. Lengths are cut down to multiples of
    `unit_length`. The motions are packed into the dataset's cache first, see `data.packing`.

    Args:
        spec: the dataset.
        split: `train`, `val` or `test` (or any other `NAME.txt` in the folder).
        captions: False reads no caption files: every motion is one clip without captions.
        keep_long: keeps clips over `max_clip_frames` in full length, for random crops in training.
        windows: cuts files over `max_clip_frames` into windows instead, see `cut_file`.

    Raises:
        UserError: something is missing from the folder, a caption line is malformed, or no clip is left.
    """
    if spec.members:
        how = {"captions": captions, "keep_long": keep_long, "windows": windows}
        held = [one for one in spec.members if split == "train" or not names_none(one, split)]
        return [
            replace(clip, id=f"{one.name}/{clip.id}", take=f"{one.name}/{clip.take}")
            for one in held or spec.members
            for clip in load_split(one, split, **how)
        ]
    split_path = spec.split_path(split)
    require_files(spec, split_path, spec.features_dir, *([spec.texts_dir] if captions else []))
    ids = read_split(split_path)
    known_ids = frozenset(ids)
    skipped, filtered = Skipped(), Skipped()
    clips: list[Clip] = []
    motions = pack_motions(spec, ids)
    bar = progress_bar(len(ids), f"reading captions of {spec.name}/{split}", "clip")
    for clip_id in ids:
        bar.update()
        features = motions[clip_id]
        if isinstance(features, str):
            skipped.add(features, clip_id)
            continue
        if not _fits(spec, clip_id, len(features), True, filtered):
            continue
        take = take_of(clip_id, known_ids)
        found: list[Caption] | None = None
        if captions:
            caption_path = spec.texts_dir / f"{clip_id}.txt"
            if not caption_path.is_file():
                skipped.add("without a caption file", clip_id)
                continue
            found = read_captions(caption_path)
            if not found:
                skipped.add("without a caption", clip_id)
        clips += cut_file(spec, Clip(clip_id, take, features), found, filtered, keep_long=keep_long, windows=windows)
    bar.close()
    if skipped.ids:
        LOGGER.warning("%s/%s: skipped %s", spec.name, split, skipped)
    if filtered.ids:
        LOGGER.info("%s/%s: left out %s", spec.name, split, filtered)
    if not clips:
        reasons = [str(counts) for counts in (skipped, filtered) if counts.ids] or ["the file is empty"]
        if not ids:
            reasons.append("prepare_dataset.py --split gives it a share of the clips, such as 0.7,0.3,0")
        if any(reason.startswith("over") for reason in filtered.ids):
            reasons.append("prepare_dataset.py --windows cuts long ones")
        raise UserError(f"{split_path}: no usable clip: {'; '.join(reasons)}")
    return clips


def load_validation(spec: DatasetSpec) -> list[Clip]:
    """The clips of `val` as `load_split` gives them; none where its files are there and name none."""
    return [] if all(names_none(one, "val") for one in spec.sets) else load_split(spec, "val")


def names_none(spec: DatasetSpec, split: str) -> bool:
    """Whether the file of a split is there and empty, in one dataset's folder."""
    return (path := spec.split_path(split)).is_file() and not split_lines(path)


def cut_file(
    spec: DatasetSpec,
    whole: Clip,
    captions: Sequence[Caption] | None,
    left_out: Skipped,
    *,
    keep_long: bool = False,
    windows: bool = False,
) -> list[Clip]:
    """The clips that one file gives.

    Without `windows`: the whole, if there are captions of it and it fits, and the parts of time tags. With them, a file
    over `max_clip_frames` gives windows (see `window_spans`) instead of the whole. A window has the captions of the
    whole and those whose tagged part lies in it, or fills it, by half at least; windows without any are left out.
    Tagged parts that fit `max_clip_frames` are clips of their own besides.

    Args:
        spec: the dataset.
        whole: the file, its features uncut.
        captions: of the file; None: clips without captions.
        left_out: notes what is left out.
        keep_long: the whole and its parts may be longer than `max_clip_frames`.
        windows: cut long files.
    """
    n_frames = len(whole.features)
    cut_up = windows and n_frames > spec.max_clip_frames
    clips: list[Clip] = []

    def add(clip_id: str, first: int, last: int, chosen: Sequence[Caption]) -> None:
        last = first + (last - first) // spec.format.unit_length * spec.format.unit_length
        frames = None if clip_id == whole.id else (first, last)
        part = whole.features.part(first, last) if isinstance(whole.features, Row) else whole.features[first:last]
        clips.append(Clip(clip_id, whole.take, part, tuple(chosen), frames))

    if cut_up:
        for first, last in window_spans(n_frames, spec):
            inside = [
                caption for caption in captions or () if _belongs(caption, first, last, spec.format.fps, n_frames)
            ]
            clip_id = f"{whole.id}@{first / spec.format.fps:g}-{last / spec.format.fps:g}"
            if inside or captions is None:
                add(clip_id, first, last, inside)
            elif captions:
                left_out.add("windows without a caption", clip_id)
    elif captions is None and _fits(spec, whole.id, n_frames, keep_long, left_out):
        add(whole.id, 0, n_frames, ())
    for (start, end), group in _by_times(captions or ()).items():
        if (start, end) == (0.0, 0.0):
            if not cut_up and _fits(spec, whole.id, n_frames, keep_long, left_out):
                add(whole.id, 0, n_frames, group)
            continue
        first, last = tag_frames(group[0], spec.format.fps, n_frames)
        part_id = f"{whole.id}@{start:g}-{end:g}"
        if first >= last:
            left_out.add("tagged outside of the file", part_id)
        elif cut_up and (last - first > spec.max_clip_frames or part_id in {clip.id for clip in clips}):
            continue  # windows have its captions
        elif _fits(spec, part_id, last - first, keep_long, left_out):
            add(part_id, first, last, group)
    return clips


def window_spans(n_frames: int, spec: DatasetSpec) -> list[tuple[int, int]]:
    """Cuts a long motion into as few windows as possible, (first, last + 1) frame each.

    They are equally long, at most `max_frames`, begin at equal distances, overlap by at least a quarter of their length
    (so that no action is only there in halves), and cover everything but the frames that do not fill a unit.
    """
    unit = spec.format.unit_length
    n_frames = n_frames // unit * unit
    if n_frames <= spec.max_frames:
        return [(0, n_frames)]
    # n windows that overlap by a quarter are together (3 n + 1) / 4 windows long.
    count = math.ceil((4 * n_frames / spec.max_frames - 1) / 3)
    length = max(math.ceil(4 * n_frames / (3 * count + 1) / unit) * unit, -(-spec.min_frames // unit) * unit)
    starts = [round(number * (n_frames - length) / (count - 1)) for number in range(count)]
    return [(start, start + length) for start in starts]


def frame_time(frame: int, fps: float) -> float:
    """The second at which a frame begins, so that `tag_frames` finds that frame again."""
    seconds = round(frame / fps, 4)
    return seconds if int(seconds * fps) == frame else frame / fps + 1e-6


def tag_frames(caption: Caption, fps: float, n_frames: int) -> tuple[int, int]:
    """The frames (first, last + 1) of a clip of `n_frames` that a caption describes; an end of 0 is the clip's end."""
    first, last = int(caption.start * fps), int(caption.end * fps) if caption.end else n_frames
    return min(first, n_frames), min(last, n_frames)


def read_split(path: Path) -> list[str]:
    """The clip ids of a split file, one a line, without blanks and repetitions.

    Raises:
        UserError: see `split_lines`, or a line is no name of files in the dataset's folders.
    """
    ids = list(dict.fromkeys(split_lines(path)))
    for line in ids:
        if len(line) > LONGEST_ID or line in (".", "..") or "/" in line or not line.isprintable():
            raise UserError(f"{path}: {line[:80]!r} is no clip's id, which is the name of its files")
    return ids


def split_lines(path: Path) -> list[str]:
    """The lines of a split file that are not blank.

    Raises:
        UserError: the file is missing or not UTF-8.
    """
    if not path.is_file():
        remedy = "it belongs there" if path.stem in SPLITS else f"the usual splits are {', '.join(SPLITS)}"
        raise UserError(f"split file {path} is missing: {remedy}")
    return [line.strip() for line in read_text(path).split("\n") if line.strip()]


def by_source(clips: Sequence[Clip]) -> dict[str, list[int]]:
    """The numbers of the clips of each of several datasets, by its name; nothing of a single one."""
    numbers: dict[str, list[int]] = {}
    for number, clip in enumerate(clips):
        numbers.setdefault(clip.source, []).append(number)
    return numbers if len(numbers) > 1 else {}


def load_statistics(spec: DatasetSpec, clips: Iterable[Clip] = ()) -> tuple[np.ndarray, np.ndarray]:
    """The dataset's feature means and standard deviations, each (D,) float32, raw units.

    Those of several datasets are of all together, each as much as training sees of it.

    Args:
        clips: of training; their frames tell that where the datasets have no shares.

    Raises:
        UserError: a file is missing, or see `read_statistics`.
    """
    if spec.members:
        frames = Counter(spec.shares)
        for clip in () if frames else clips:
            frames[clip.source] += len(clip.features)
        statistics = [load_statistics(one) for one in spec.members]
        return pooled_statistics(statistics, [frames[one.name] for one in spec.members], spec.format)
    require_files(spec, spec.mean_path, spec.std_path)
    return read_statistics(spec, spec.mean_path), read_statistics(spec, spec.std_path)


def read_statistics(spec: DatasetSpec, path: Path) -> np.ndarray:
    """The numbers (D,) float32 of `Mean.npy` or `Std.npy`.

    Raises:
        UserError: they have another shape or are not finite, or a deviation is not positive.
    """
    values = read_array(path)
    if values.shape != (spec.format.n_features,) or values.dtype.kind not in "fiu":
        raise UserError(f"{path}: expected {spec.format.n_features} finite numbers, got shape {values.shape}")
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)  # what is finite, and above zero, must be so for the models
    if not np.isfinite(values).all():
        raise UserError(f"{path}: NaN or infinite in column {int(np.argmax(~np.isfinite(values)))}")
    if path == spec.std_path and (values <= 0).any():
        raise UserError(f"{path}: not positive in column {int((values <= 0).argmax())}")
    return values


def _fits(spec: DatasetSpec, clip_id: str, n_frames: int, keep_long: bool, left_out: Skipped) -> bool:
    """Whether the length is within the dataset's limits; notes it when not."""
    if n_frames < spec.min_frames:
        left_out.add(f"under {spec.min_frames} frames", clip_id)
        return False
    if n_frames > spec.max_clip_frames and not keep_long:
        left_out.add(f"over {spec.max_clip_frames} frames", clip_id)
        return False
    return True


def _belongs(caption: Caption, first: int, last: int, fps: float, n_frames: int) -> bool:
    """Whether a window has a caption: half of what it describes lies in the window, or fills half of it."""
    start, end = tag_frames(caption, fps, n_frames)
    shared = min(end, last) - max(start, first)
    return shared > 0 and 2 * shared >= min(end - start, last - first)


def _by_times(captions: Iterable[Caption]) -> dict[tuple[float, float], list[Caption]]:
    """Captions grouped by what part of the file they describe, in order of first appearance."""
    groups: dict[tuple[float, float], list[Caption]] = {}
    for caption in captions:
        groups.setdefault((caption.start, caption.end), []).append(caption)
    return groups
