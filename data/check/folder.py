"""The check of a whole dataset folder."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np

from data.check.captions import check_captions
from data.check.motions import (
    check_heights,
    check_motion,
    check_statistics,
    motion_digest,
    motion_sums,
    read_motion_file,
)
from data.check.report import Found, Report, SplitSummary, grouped
from data.clips import Clip, Skipped, cut_file, read_split, read_statistics, split_lines, take_of
from data.packing import file_stats
from data.specs import DATASET_KEYS, SPLITS, DatasetSpec, moved, require_files
from storage.files import parse_json, read_json
from storage.row_store import RowStore, digest
from utils.errors import UserError

DESCRIPTION = "dataset.json"
# Keys that tools write to say where a folder comes from.
INFORMATIVE_KEYS = ("name", "format_version", "seed", "n_clips", "command", "source", "sources", "license", "version")


@dataclass(frozen=True)
class _Checked:
    """What one clip turned out to be.

    Attributes:
        findings: kinds and names.
        digest: equal for equal motions; None: there is no readable one.
        frames, height: of the motion; height of its root, in units of the features.
        seconds: of the usable motion.
        captions: that are usable with it.
        sums: see `motion_sums`; of clips of training.
    """

    findings: list[Found]
    digest: str | None = None
    frames: int = 0
    height: float = 0.0
    seconds: float = 0.0
    captions: int = 0
    sums: np.ndarray | None = None

    @property
    def usable(self) -> bool:
        return self.seconds > 0 and self.captions > 0

    def to_row(self) -> np.ndarray:
        """Bytes that `from_row` reads."""
        told = json.dumps({name: value for name, value in vars(self).items() if name != "sums"})
        sums = b"" if self.sums is None else self.sums.tobytes()
        return np.frombuffer(told.encode() + b"\n" + sums, np.uint8)

    @classmethod
    def from_row(cls, row: np.ndarray) -> _Checked:
        """What `to_row` wrote."""
        told, _, sums = row.tobytes().partition(b"\n")
        return cls(**parse_json(told, "checked"), sums=np.frombuffer(sums).reshape(2, -1) if sums else None)


def check_sets(spec: DatasetSpec) -> list[Report]:
    """Checks a dataset, or each of several; these get one report more, on what they have in common.

    Raises:
        UserError: a folder is missing.
    """
    if not spec.members:
        return [check_folder(spec)]
    reports, checked, owners, homes = [], {}, {}, {}
    for one in spec.sets:
        report, clips, splits = _check(one)
        reports.append(report)
        checked |= {f"{one.name}/{clip_id}": clip for clip_id, clip in clips.items()}
        owners |= {f"{one.name}/{clip_id}": split for clip_id, split in splits.items()}
        for clip in clips.values():
            homes.setdefault(clip.digest, set()).add(one.name)
    shared = {clip_id: clip for clip_id, clip in checked.items() if len(homes[clip.digest]) > 1}
    findings = list(_same_motions(shared, owners))
    return [*reports, Report(spec.name, spec.argument, {}, grouped(findings, "problem"), grouped(findings, "note"))]


def check_folder(spec: DatasetSpec) -> Report:
    """Checks everything that training and evaluation will read of one dataset; `mini` is made if it is missing.

    What a clip turned out to be is kept in the dataset's cache until one of its files changes.

    Raises:
        UserError: the folder is missing.
    """
    return _check(spec)[0]


def _check(spec: DatasetSpec) -> tuple[Report, dict[str, _Checked], dict[str, str]]:
    """The report, the clips, and the split of each."""
    require_files(spec)
    findings: list[Found] = []
    findings.extend(_missing_parts(spec))
    findings.extend(_unknown_keys(spec))
    splits = {split: ids for split in SPLITS if (ids := _read_split(spec, split, findings)) is not None}
    findings.extend(_check_splits(splits))
    findings.extend(_unlisted(spec, splits))
    owners = {clip_id: split for split, ids in splits.items() for clip_id in ids}
    checked = _check_clips(spec, owners, splits.get("train", {}))
    for clip in checked.values():
        findings.extend(clip.findings)
    heights = {clip_id: clip.height / spec.format.units_per_metre for clip_id, clip in checked.items() if clip.frames}
    findings.extend(check_heights(spec.format, heights))
    findings.extend(_check_statistics(spec, checked.values()))
    findings.extend(_same_motions(checked, owners))
    summaries = {}
    for split, ids in splits.items():
        usable = [checked[clip_id] for clip_id in ids if checked[clip_id].usable]
        captions, seconds = sum(clip.captions for clip in usable), sum(clip.seconds for clip in usable)
        summaries[split] = SplitSummary(len(ids), len(usable), captions, round(seconds, 2))
        if ids and not usable:
            findings.append(("unusable-split", split))
    report = Report(spec.name, str(spec.root), summaries, grouped(findings, "problem"), grouped(findings, "note"))
    return report, checked, owners


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


def _read_split(spec: DatasetSpec, split: str, findings: list[Found]) -> dict[str, None] | None:
    """The split's ids in order, as keys; None if there is no such file."""
    path = spec.split_path(split)
    if not path.exists():
        return None
    try:
        ids = read_split(path)
    except UserError as error:
        findings.append(("unreadable-split", str(error)))
        return None
    if not ids:
        findings.append(("empty-split" if split == "train" else "unused-split", str(path)))
    seen: set[str] = set()
    for line in split_lines(path):
        if line in seen:
            findings.append(("repeated-id", f"{line} ({split})"))
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
    for clip_id in sorted(path.stem for path in spec.features_dir.glob("[!.]*.npy")):
        if clip_id not in listed:
            yield "unlisted", clip_id


def _check_clips(spec: DatasetSpec, ids: Collection[str], training: Collection[str]) -> dict[str, _Checked]:
    """All clips; those whose files, dataset and check are as they were are not checked again."""
    folders = ((spec.features_dir, ".npy"), (spec.joints_dir, ".npy"), (spec.texts_dir, ".txt"))
    files = [file_stats(*folder) for folder in folders]
    kind = digest(_code(), repr(moved(spec, Path())), *(str(folder.is_dir()) for folder, _ in folders))

    def key(name: str) -> bytes:
        stats = [each.get(name) for each in files]
        # The time of the last change of anything: a file that may be read now is as another file.
        states = ["" if stat is None else f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}" for stat in stats]
        return digest(kind, name, str(name in training), *states)

    names = list(ids)
    keys = list(map(key, names))
    store = RowStore(spec.cache_dir / "checked", (), np.uint8)
    store.keep_only(frozenset(keys))

    def check(missing: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        for number in missing:
            yield number, _check_clip(spec, names[number], names[number] in training).to_row()

    store.complete(keys, check, f"checking {spec.name}", "clip")
    return {clip_id: _Checked.from_row(store.read(key)) for clip_id, key in zip(names, keys, strict=True)}


@cache
def _code() -> bytes:
    """What decides besides the dataset: the code that reads, cuts and checks."""
    root = Path(__file__).parents[2]
    modules = [path for name in ("data", "storage", "utils") for path in sorted((root / name).rglob("*.py"))]
    return digest(*(path.read_bytes() for path in modules))  # ours


def _check_clip(spec: DatasetSpec, clip_id: str, is_training: bool) -> _Checked:
    findings: list[Found] = []
    features = read_motion_file(spec, clip_id, findings) if spec.features_dir.is_dir() else None
    captions = []
    if spec.texts_dir.is_dir():
        n_frames = None if features is None else len(features)
        captions = check_captions(spec, spec.texts_dir / f"{clip_id}.txt", n_frames, findings)
    if features is None:
        return _Checked(findings)
    findings += check_motion(spec, clip_id, features)
    n_frames = len(features)
    checked = _Checked(
        findings,
        motion_digest(features),
        n_frames,
        float(np.median(features[:, 3])) if n_frames else 0.0,
        sums=motion_sums(features) if is_training else None,
    )
    if n_frames < spec.min_frames:
        findings.append(("too-short", f"{clip_id}: {n_frames} frames, at least {spec.min_frames} are needed"))
        return checked
    # What loading makes of it: validation and test leave out a whole that is too long.
    used = cut_file(spec, Clip(clip_id, clip_id, features), captions, Skipped(), keep_long=is_training)
    if n_frames > spec.max_clip_frames and not all(each.start or each.end for each in captions):
        findings.append(("too-long", f"{clip_id}: {n_frames} frames, at most {spec.max_clip_frames} fit"))
    return replace(checked, seconds=n_frames / spec.format.fps, captions=sum(len(clip.captions) for clip in used))


def _check_statistics(spec: DatasetSpec, checked: Iterable[_Checked]) -> Iterator[Found]:
    statistics: list[np.ndarray] = []
    for path in (spec.mean_path, spec.std_path):
        try:
            if path.exists():
                statistics.append(read_statistics(spec, path).astype(np.float64))
        except UserError as error:
            yield "statistics", str(error)
    training = [clip for clip in checked if clip.frames and clip.sums is not None]
    if len(statistics) == 2 and training:
        sums, rows = sum(clip.sums for clip in training), sum(clip.frames for clip in training)
        yield from check_statistics(spec.format, sums, rows, *statistics)


def _same_motions(checked: Mapping[str, _Checked], owners: Mapping[str, str]) -> Iterator[Found]:
    """Motions that are the same number by number."""
    groups: dict[str, list[str]] = {}
    for clip_id, clip in checked.items():
        if clip.digest is not None:
            groups.setdefault(clip.digest, []).append(clip_id)
    for ids in groups.values():
        if len(ids) > 1:
            across = len({owners[clip_id] for clip_id in ids}) > 1
            names = " = ".join(f"{clip_id} ({owners[clip_id]})" if across else clip_id for clip_id in ids)
            yield ("same-motion-across" if across else "same-motion"), names
