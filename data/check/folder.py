"""The check of a whole dataset folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np

from data.check.captions import Found, check_captions
from data.check.motions import MotionSums, check_motion, motion_digest, read_motion_file
from data.check.report import Findings, Report, SplitSummary
from data.clips import Clip, Skipped, cut_file, read_split, take_of
from data.specs import DATASET_KEYS, SPLITS, DatasetSpec, require_files
from utils.arrays import read_array
from utils.errors import UserError
from utils.files import read_json
from utils.progress import progress_bar

DESCRIPTION = "dataset.json"
# Keys that tools write to say where a folder comes from.
INFORMATIVE_KEYS = ("name", "format_version", "seed", "n_clips", "command", "source", "sources", "license", "version")


@dataclass(frozen=True)
class _Checked:
    """What one clip turned out to be."""

    digest: bytes | None = None
    seconds: float = 0.0
    captions: int = 0

    @property
    def usable(self) -> bool:
        return self.seconds > 0 and self.captions > 0


def check_folder(spec: DatasetSpec) -> Report:
    """Checks everything that training and evaluation will read. Nothing is written (`mini` is made if it is missing).

    Raises:
        UserError: the folder is missing.
    """
    require_files(spec)
    findings = Findings()
    findings.extend(_missing_parts(spec))
    findings.extend(_unknown_keys(spec))
    splits = {split: ids for split in SPLITS if (ids := _read_split(spec, split, findings)) is not None}
    findings.extend(_check_splits(splits))
    findings.extend(_unlisted(spec, splits))
    owners = {clip_id: split for split, ids in splits.items() for clip_id in ids}
    sums = MotionSums(spec)
    checked: dict[str, _Checked] = {}
    bar = progress_bar(len(owners), f"checking {spec.name}", "clip")
    for clip_id in owners:
        found: list[Found] = []
        checked[clip_id] = _check_clip(spec, clip_id, clip_id in splits.get("train", ()), sums, found)
        findings.extend(found)
        bar.update()
    bar.close()
    findings.extend(sums.check_heights())
    findings.extend(_check_statistics(spec, sums))
    findings.extend(_same_motions(checked, owners))
    summaries = {}
    for split, ids in splits.items():
        usable = [checked[clip_id] for clip_id in ids if checked[clip_id].usable]
        captions, seconds = sum(clip.captions for clip in usable), sum(clip.seconds for clip in usable)
        summaries[split] = SplitSummary(len(ids), len(usable), captions, round(seconds, 2))
        if ids and not usable:
            findings.add("unusable-split", split)
    return Report(spec.name, str(spec.root), summaries, findings.of("problem"), findings.of("note"))


def _missing_parts(spec: DatasetSpec) -> Iterator[Found]:
    places = [spec.features_dir, spec.texts_dir, spec.mean_path, spec.std_path, *map(spec.split_path, SPLITS)]
    for place in places:
        if not place.exists():
            yield "missing", f"{place.name}, it belongs at {place}"


def _unknown_keys(spec: DatasetSpec) -> Iterator[Found]:
    path = spec.root / DESCRIPTION
    content = read_json(path) if path.is_file() else {}
    for key in content if isinstance(content, dict) else ():
        if key not in (*DATASET_KEYS, *INFORMATIVE_KEYS):
            yield "unknown-key", key


def _read_split(spec: DatasetSpec, split: str, findings: Findings) -> dict[str, None] | None:
    """The split's ids in order, as keys; None if there is no such file."""
    path = spec.split_path(split)
    if not path.exists():
        return None
    try:
        ids = read_split(path)
    except UserError as error:
        findings.add("unreadable-split", str(error))
        return None
    if not ids:
        findings.add("empty-split", str(path))
    seen: set[str] = set()
    for line in filter(None, map(str.strip, path.read_text(encoding="utf-8-sig").splitlines())):
        if line in seen:
            findings.add("repeated-id", f"{line} ({split})")
        seen.add(line)
    return dict.fromkeys(ids)


def _check_splits(splits: Mapping[str, Mapping[str, None]]) -> Iterator[Found]:
    """Clips, and performances, that are in several splits."""
    known = frozenset(chain.from_iterable(splits.values()))
    homes: dict[str, dict[str, str]] = {}
    for split, ids in splits.items():
        for clip_id in ids:
            homes.setdefault(take_of(clip_id, known), {}).setdefault(split, clip_id)
    for clip_id in known:
        if len(where := [split for split, ids in splits.items() if clip_id in ids]) > 1:
            yield "overlap", f"{clip_id} ({', '.join(where)})"
    for where in homes.values():
        if len(set(where.values())) > 1:
            yield "leak", ", ".join(f"{clip_id} ({split})" for split, clip_id in where.items())


def _unlisted(spec: DatasetSpec, splits: Mapping[str, Mapping[str, None]]) -> Iterator[Found]:
    if set(splits) < set(SPLITS) or not spec.features_dir.is_dir():
        return
    listed = frozenset(chain.from_iterable(splits.values()))
    for path in sorted(spec.features_dir.glob("*.npy")):
        if path.stem not in listed and not path.name.startswith("."):
            yield "unlisted", path.stem


def _check_clip(
    spec: DatasetSpec, clip_id: str, is_training: bool, sums: MotionSums, findings: list[Found]
) -> _Checked:
    features = read_motion_file(spec, clip_id, findings) if spec.features_dir.is_dir() else None
    n_frames = None if features is None else len(features)
    captions = []
    if spec.texts_dir.is_dir():
        captions = check_captions(spec, spec.texts_dir / f"{clip_id}.txt", n_frames, findings)
    if features is None or n_frames is None:
        return _Checked()
    findings += check_motion(spec, clip_id, features)
    sums.add(clip_id, features, is_training)
    digest = motion_digest(features)
    if n_frames < spec.min_frames:
        findings.append(("too-short", f"{clip_id}: {n_frames} frames, at least {spec.min_frames} are needed"))
        return _Checked(digest)
    is_long = n_frames > spec.max_clip_frames
    # What loading makes of it: validation and test leave out a whole that is too long.
    used = cut_file(spec, Clip(clip_id, clip_id, features), captions, Skipped(), keep_long=is_training)
    if is_long and not all(each.start or each.end for each in captions):
        findings.append(("too-long", f"{clip_id}: {n_frames} frames, at most {spec.max_clip_frames} fit"))
    return _Checked(digest, n_frames / spec.format.fps, sum(len(clip.captions) for clip in used))


def _check_statistics(spec: DatasetSpec, sums: MotionSums) -> Iterator[Found]:
    statistics: list[np.ndarray] = []
    for path in (spec.mean_path, spec.std_path):
        if not path.exists():
            continue
        try:
            values = read_array(path)
        except UserError as error:
            yield "statistics", str(error)
            continue
        if values.shape != (spec.format.n_features,) or values.dtype.kind not in "fiu":
            yield "statistics", f"{path}: shape {values.shape}, not ({spec.format.n_features},)"
        elif not np.isfinite(values).all():
            yield "statistics", f"{path}: NaN or infinite in column {int(np.argmax(~np.isfinite(values)))}"
        elif path == spec.std_path and (values <= 0).any():
            yield "statistics", f"{path}: not positive in column {int(np.argmax(values <= 0))}"
        else:
            statistics.append(values.astype(np.float64))
    if len(statistics) == 2:
        yield from sums.check_statistics(*statistics)


def _same_motions(checked: Mapping[str, _Checked], owners: Mapping[str, str]) -> Iterator[Found]:
    """Motions that are the same number by number."""
    groups: dict[bytes, list[str]] = {}
    for clip_id, clip in checked.items():
        if clip.digest is not None:
            groups.setdefault(clip.digest, []).append(clip_id)
    for ids in groups.values():
        if len(ids) > 1:
            across = len({owners[clip_id] for clip_id in ids}) > 1
            names = " = ".join(f"{clip_id} ({owners[clip_id]})" if across else clip_id for clip_id in ids)
            yield ("same-motion-across" if across else "same-motion"), names
