"""What was prepared, what was not and why: as plain values, and in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from data.prepare.captions import words_of
from data.prepare.run import Outcome
from utils.errors import listed

SHOWN = 20  # names a reason in the readable report; the JSON file has all
QUANTILES = (0, 5, 25, 50, 75, 95, 100)


def report_of(outcome: Outcome, command: str) -> dict[str, Any]:
    """The whole report as plain values."""
    taken = outcome.taken
    frames = np.array([record.frames for record in taken], dtype=np.float64)
    captions = [caption for record in taken for caption in outcome.captions[record.name]]
    words = Counter(word for caption in captions for word in set(words_of(caption.text)))
    non_ascii = [name for name, rows in outcome.captions.items() if not all(row.text.isascii() for row in rows)]
    mirrored = sum(len(record.ids) - 1 for record in taken)
    lengths = {record_id: record.frames for record in taken for record_id in record.ids}
    return {
        "dataset": str(outcome.out),
        "command": command,
        "fps": outcome.settings.fps,
        "min_frames": outcome.settings.min_frames,
        "max_frames": outcome.max_frames,
        "up_axis": dict(outcome.settings.up),
        "clips": {"taken": len(taken), "mirrored_copies": mirrored, "refused": len(outcome.refused)},
        "splits": {
            split: {"clips": len(ids), "hours": _hours([lengths[clip_id] for clip_id in ids], outcome.settings.fps)}
            for split, ids in outcome.splits.items()
        },
        "hours": _hours(frames, outcome.settings.fps),
        "frames": _quantiles(frames),
        "seconds": _quantiles(frames / outcome.settings.fps),
        "windows": outcome.settings.window_frames > 0,
        "longer_than_max_frames": sorted(record.name for record in taken if record.frames > outcome.max_frames + 3),
        "mean_speed": _quantiles([record.distance / record.frames * outcome.settings.fps for record in taken]),
        "top_speed": _quantiles([record.top_speed for record in taken]),
        "distance": _quantiles([record.distance for record in taken]),
        "captions": {
            "count": len(captions),
            "different": len({caption.text for caption in captions}),
            "per_clip": _quantiles([record.captions for record in taken]),
            "words": _quantiles([len(caption.text.split()) for caption in captions]),
            "vocabulary": len(words),
            "commonest_words": dict(words.most_common(40)),
            "of_a_part": sum(caption.end > 0 or caption.start > 0 for caption in captions),
            "beyond_ascii": sorted(non_ascii),
        },
        "sources": {
            name: dict(sorted(Counter(str(getattr(record, key)) for record in taken).items()))
            for name, key in (
                ("kinds", "kind"), ("joint_maps", "joint_map"), ("units", "unit"), ("frame_rates", "source_fps"),
            )
        },
        "refused": [
            vars(each)
            for each in sorted(outcome.refused, key=lambda each: (group_of(each.reason), each.file, each.name))
        ],
        "remarks": [{"name": name, "remark": remark} for name, remark in outcome.remarks],
    }  # fmt: skip


def group_of(reason: str) -> str:
    """The kind of a reason: what stands before its colon."""
    group = reason.partition(":")[0]
    return "same motion as another clip" if reason.startswith("same motion as") else group


def markdown(report: dict[str, Any], contact_sheet: bool) -> str:
    """The report in words."""
    clips, captions = report["clips"], report["captions"]
    lines = [f"# {report['dataset']}", "", f"`{report['command']}`", ""]
    lines += [
        f"{clips['taken']:,} clips were taken, {clips['refused']:,} were refused"
        + (f"; {clips['mirrored_copies']:,} mirrored copies were added" if clips["mirrored_copies"] else "")
        + f". {report['hours']:.2f} hours at {report['fps']:g} frames a second"
        + (", without the mirrored copies." if clips["mirrored_copies"] else "."),
        "",
    ]
    if contact_sheet:
        lines += ["![some of the clips](contact_sheet.png)", ""]
    lines += ["| split | clips | hours |", "| --- | --- | --- |"]
    lines += [f"| {split} | {row['clips']:,} | {row['hours']:.2f} |" for split, row in report["splits"].items()]
    lines += ["", "## Motions", "", "| | " + " | ".join(f"{each} %" for each in QUANTILES) + " |"]
    lines += ["| --- " * (len(QUANTILES) + 1) + "|"]
    for label, key in (
        ("seconds", "seconds"),
        ("frames", "frames"),
        ("way of the root, m", "distance"),
        ("its mean speed, m/s", "mean_speed"),
        ("its top speed, m/s", "top_speed"),
    ):
        lines.append(f"| {label} | " + " | ".join(f"{value:.4g}" for value in report[key].values()) + " |")
    lines.append("")
    for label, key in (("kinds of files", "kinds"), ("joint maps", "joint_maps"), ("units", "units")):
        counts = {name: count for name, count in report["sources"][key].items() if name}
        lines += [f"- {label}: {_counted(counts)}"] if counts else []
    lines.append(f"- frames a second of the files: {_counted(report['sources']['frame_rates'])}")
    lines.append(f"- up: {_counted(report['up_axis'])}")
    if long := report["longer_than_max_frames"]:
        lines.append(f"- {long_clips(report)}: {listed(long, ', ', SHOWN)}")
    lines += ["", "## Captions", ""]
    lines.append(
        f"{captions['count']:,} captions, {captions['different']:,} of them different, {captions['vocabulary']:,} "
        f"different words; {captions['words']['50']:g} words in the middle, {captions['words']['100']:g} at most; "
        f"{captions['of_a_part']:,} speak of a part of their clip."
    )
    if captions["beyond_ascii"]:
        lines += ["", f"With letters beyond ASCII: {listed(captions['beyond_ascii'], ', ', SHOWN)}."]
    common = _counted(captions["commonest_words"])
    lines += ["", f"In most captions: {common}."]
    lines += ["", "## Refused", ""] + (_refused(report["refused"]) or ["Nothing."])
    if report["remarks"]:
        lines += ["", "## Remarks", ""]
        by_remark: dict[str, list[str]] = {}
        for each in report["remarks"]:
            key = each["remark"] if each["name"] else each["remark"].partition(":")[0]
            by_remark.setdefault(key, []).append(each["name"] or each["remark"].partition(": ")[2])
        lines += [f"- {remark}: {listed(names, ', ', SHOWN)}" for remark, names in by_remark.items()]
    return "\n".join(lines) + "\n"


def long_clips(report: dict[str, Any]) -> str:
    """What becomes of clips that are longer than models see."""
    count = len(report["longer_than_max_frames"])
    what = (
        f"{count:,} clip{'s are' if count > 1 else ' is'} longer than the {report['max_frames']} frames that models see"
    )
    if report["windows"]:
        return f"{what}, and used in windows of at most so many"
    return f"{what}: training crops them, validation and test leave them out; --windows uses them everywhere"


def _refused(rows: Sequence[dict[str, str]]) -> list[str]:
    groups: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault(group_of(row["reason"]), []).append(row)
    lines = []
    for group, members in groups.items():
        lines.append(f"- **{group}**: {len(members)}")
        for row in members[:SHOWN]:
            detail = row["reason"].removeprefix(group).removeprefix(": ")
            lines.append(f"  - `{row['file'] or row['name']}`" + (f": {detail}" if detail else ""))
        if len(members) > SHOWN:
            lines.append(f"  - and {len(members) - SHOWN} more, see report.json")
    return lines


def _hours(frames: Iterable[float], fps: float) -> float:
    return round(float(sum(frames)) / fps / 3600, 4)


def _quantiles(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Least, 5 %, ..., largest; zeros for nothing."""
    found = np.percentile(values, QUANTILES) if len(values) else np.zeros(len(QUANTILES))
    return {str(each): round(float(value), 4) for each, value in zip(QUANTILES, found, strict=True)}


def _counted(counts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
