"""Clips and captions of a dataset in the published layout: reading, filtering, cropping by time tags."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.specs import SPLITS, DatasetSpec, require_files
from utils.errors import UserError
from utils.files import read_array

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Caption:
    """One caption of a clip.

    Attributes:
        text: the sentence.
        tokens: its words as `word/POS`.
        start: first second that it describes.
        end: last second that it describes; start and end both 0 mean the whole clip.
    """

    text: str
    tokens: tuple[str, ...] = ()
    start: float = 0.0
    end: float = 0.0


@dataclass(frozen=True, eq=False)
class Clip:
    """One motion with its captions.

    Attributes:
        id: unique in its dataset; the file's name, with `@start-end` (seconds) when it is a crop of the file.
        take: the id without mirror prefix and crop: clips of one take are the same performance.
        features: (T, D) float32, raw units, T a multiple of the dataset's unit length.
        captions: at least one, unless the split was loaded without captions.
    """

    id: str
    take: str
    features: np.ndarray
    captions: tuple[Caption, ...] = ()


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


def read_captions(path: Path | str) -> list[Caption]:
    """Reads a caption file: a line is `caption#word/POS word/POS ...#start#end`. Blank lines and captions are left out.

    A time of `nan` counts as 0.

    Raises:
        UserError: the file is missing or not UTF-8 (names the file), or a line is malformed (names file and line).
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError as error:
        raise UserError(f"caption file {path} does not exist") from error
    except UnicodeDecodeError as error:
        raise UserError(f"caption file {path} is not UTF-8 text: {error}") from error
    captions = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        # From the right: a `#` may occur in a sentence, but not in the fields after it.
        fields = line.rsplit("#", 3)
        if len(fields) != 4:
            raise UserError(f"{path} line {number}: expected caption#words#start#end, got {_shorten(line)!r}")
        text, tokens, start, end = fields
        times = [_seconds(value, path, number) for value in (start, end)]
        if text.strip():
            captions.append(Caption(" ".join(text.split()), tuple(tokens.split()), *times))
    return captions


def load_split(spec: DatasetSpec, split: str, *, captions: bool = True, keep_long: bool = False) -> list[Clip]:
    """Loads the clips of a split, in the order of its file.

    A caption with time tags makes a clip of its own of that part (captions with the same tags share it). Clips whose
    length in frames is not min_frames <= T <= max_clip_frames are left out; missing, non-finite and wrong-width motions
    and motions without a caption file are skipped and counted in one warning. Lengths are cut down to multiples of
    `unit_length`.

    Args:
        spec: the dataset.
        split: `train`, `val` or `test` (or any other `NAME.txt` in the folder).
        captions: False reads no caption files: every motion is one clip without captions.
        keep_long: keeps clips over `max_clip_frames` in full length, for windows or random crops.

    Raises:
        UserError: something is missing from the folder, a caption line is malformed, or no clip is left.
    """
    split_path = spec.split_path(split)
    require_files(spec, split_path, spec.features_dir, *([spec.texts_dir] if captions else []))
    ids = read_split(split_path)
    known_ids = frozenset(ids)
    skipped, filtered = Skipped(), Skipped()
    clips: list[Clip] = []
    for clip_id in tqdm(ids, desc=f"loading {spec.name}/{split}", unit="clip", delay=3, leave=False, disable=None):
        features = _read_features(spec, clip_id, skipped)
        if features is None or not _fits(spec, clip_id, features, keep_long, filtered):
            continue
        take = take_of(clip_id, known_ids)
        if not captions:
            clips.append(Clip(clip_id, take, _cut(features, spec.unit_length)))
            continue
        caption_path = spec.texts_dir / f"{clip_id}.txt"
        if not caption_path.is_file():
            skipped.add("without a caption file", clip_id)
            continue
        found = read_captions(caption_path)
        if not found:
            skipped.add("without a caption", clip_id)
        for (start, end), group in _by_times(found).items():
            crop_id, crop = clip_id, features
            if (start, end) != (0.0, 0.0):
                crop_id = f"{clip_id}@{start:g}-{end:g}"
                crop = features[int(start * spec.fps) : int(end * spec.fps) if end else None]
                if not _fits(spec, crop_id, crop, keep_long, filtered):
                    continue
            clips.append(Clip(crop_id, take, _cut(crop, spec.unit_length), tuple(group)))
    if skipped.ids:
        LOGGER.warning("%s/%s: skipped %s", spec.name, split, skipped)
    if filtered.ids:
        LOGGER.info("%s/%s: left out %s", spec.name, split, filtered)
    if not clips:
        reasons = "; ".join(str(counts) for counts in (skipped, filtered) if counts.ids) or "the file is empty"
        raise UserError(f"{split_path}: no usable clip: {reasons}")
    return clips


def read_split(path: Path) -> list[str]:
    """The clip ids of a split file, one a line, without blanks and repetitions.

    Raises:
        UserError: the file is missing.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split()
    except FileNotFoundError as error:
        remedy = "it belongs there" if path.stem in SPLITS else f"the usual splits are {', '.join(SPLITS)}"
        raise UserError(f"split file {path} is missing: {remedy}") from error
    return list(dict.fromkeys(lines))


def load_statistics(spec: DatasetSpec) -> tuple[np.ndarray, np.ndarray]:
    """The dataset's feature means and standard deviations, each (D,) float32, raw units.

    Raises:
        UserError: a file is missing, or its content has another shape or is not finite.
    """
    require_files(spec, spec.mean_path, spec.std_path)
    statistics = []
    for path in (spec.mean_path, spec.std_path):
        values = read_array(path)
        if values.shape != (spec.n_features,) or not np.isfinite(values).all():
            raise UserError(f"{path}: expected {spec.n_features} finite numbers, got shape {values.shape}")
        statistics.append(values.astype(np.float32))
    return statistics[0], statistics[1]


def _read_features(spec: DatasetSpec, clip_id: str, skipped: Skipped) -> np.ndarray | None:
    """One feature file as (T, D) float32, or None and a note when it cannot be used."""
    try:
        features = np.load(spec.features_dir / f"{clip_id}.npy", allow_pickle=False)
    except FileNotFoundError:
        skipped.add("without a motion file", clip_id)
        return None
    except (ValueError, EOFError, OSError):
        skipped.add("unreadable", clip_id)
        return None
    if features.ndim != 2 or features.shape[1] != spec.n_features or features.dtype.kind not in "fiu":
        skipped.add(f"of another width than {spec.n_features}", clip_id)
        return None
    features = features.astype(np.float32, copy=False)
    if not np.isfinite(features).all():
        skipped.add("not finite", clip_id)
        return None
    return features


def _fits(spec: DatasetSpec, clip_id: str, features: np.ndarray, keep_long: bool, filtered: Skipped) -> bool:
    """Whether the length is within the dataset's limits; notes it when not."""
    if len(features) < spec.min_frames:
        filtered.add(f"under {spec.min_frames} frames", clip_id)
        return False
    if len(features) > spec.max_clip_frames and not keep_long:
        filtered.add(f"over {spec.max_clip_frames} frames", clip_id)
        return False
    return True


def _cut(features: np.ndarray, unit_length: int) -> np.ndarray:
    """The features without the frames that do not fill a unit."""
    return features[: len(features) // unit_length * unit_length]


def _by_times(captions: list[Caption]) -> dict[tuple[float, float], list[Caption]]:
    """Captions grouped by what part of the file they describe, in order of first appearance."""
    groups: dict[tuple[float, float], list[Caption]] = {}
    for caption in captions:
        groups.setdefault((caption.start, caption.end), []).append(caption)
    return groups


def _seconds(value: str, path: Path | str, number: int) -> float:
    """A time tag in seconds; `nan` is 0."""
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if math.isnan(seconds):
        return 0.0
    if not 0 <= seconds < math.inf:
        raise UserError(f"{path} line {number}: {value.strip()!r} is no time in seconds")
    return seconds


def _shorten(line: str, length: int = 60) -> str:
    """The line's beginning, for an error message."""
    return line if len(line) <= length else line[:length] + "..."
