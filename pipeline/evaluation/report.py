"""Tables of means with 95 % intervals, as text, log and JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from storage.files import atomic_path, write_json

Rows = Mapping[str, Mapping[str, Sequence[float]]]  # every repeat's value, by protocol and metric
# What a reader looks at first comes first; metres are shown in centimetres.
COLUMNS = {
    "fid": "FID",
    "r_precision_top1": "R@1",
    "r_precision_top2": "R@2",
    "r_precision_top3": "R@3",
    "matching_score": "MM-dist",
    "diversity": "diversity",
    "multimodality": "multimod.",
    "semantic_accuracy": "semantic",
    "shown": "shown",
    "held": "still held",
    "kept_changed": "kept changed",
    "seam": "seam",
    "seam_p95": "seam 95 %",
    "seam_above": "seam > 1.5",
    "unedited_above": "unedited > 1.5",
    "waypoint_error": "way cm",
    "foot_skate": "skate cm",
    "mpjpe": "MPJPE cm",
    "joint_error": "error cm",
    "codebook_use": "code use",
}


def summarise(values: Sequence[float]) -> dict[str, float]:
    """Mean and half width of the 95 % interval, 1.96 std / sqrt(n), over repeats; NaN of none."""
    array = np.asarray(values, dtype=np.float64)
    if not len(array):
        return {"mean": math.nan, "interval": math.nan}
    interval = 1.96 * float(array.std(ddof=1)) / math.sqrt(len(array)) if len(array) > 1 else float("nan")
    return {"mean": float(array.mean()), "interval": interval}


def format_cell(metric: str, values: Sequence[float] | None) -> str:
    """Mean and interval of a metric's repeats; nothing where a row has none, n/a where it can have none."""
    if values is None:
        return ""
    if not values:
        return "n/a"
    decimals = 5 if metric == "fid" else 3  # our own evaluator's vectors have length 1: its distances are small
    factor = 100 if COLUMNS[metric].endswith("cm") else 1
    summary = {key: value * factor for key, value in summarise(values).items()}
    interval = "" if math.isnan(summary["interval"]) else f" ±{summary['interval']:.{decimals}f}"
    return f"{summary['mean']:.{decimals}f}{interval}"


def table_cells(rows: Rows) -> list[list[str]]:
    """The heading and a line a protocol, a column a metric that any row has."""
    used = [name for name in COLUMNS if any(name in row for row in rows.values())]
    heading = ["protocol", *(COLUMNS[name] for name in used)]
    return [heading, *([name, *(format_cell(each, row.get(each)) for each in used)] for name, row in rows.items())]


def format_table(title: str, rows: Rows) -> str:
    """A text table, see `table_cells`."""
    lines = table_cells(rows)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([title, *text])


def save_report(
    folder: Path,
    name: str,
    table: str,
    rows: Mapping[str, Any],
    settings: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> Path:
    """Writes NAME.log and NAME.json; the JSON holds every repeat's value, and what the numbers do not tell by
    themselves. Returns the JSON's path."""
    with atomic_path(folder / f"{name}.log") as temporary:
        temporary.write_text(table + "\n", encoding="utf-8")
    content = {
        "settings": dict(settings),
        "rows": {
            protocol: {metric: {**_plain(summarise(values)), "values": list(values)} for metric, values in row.items()}
            for protocol, row in rows.items()
        },
        **({"notes": list(notes)} if notes else {}),
    }
    write_json(folder / f"{name}.json", content)
    return folder / f"{name}.json"


def _plain(summary: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no NaN: an interval of one repeat is null."""
    return {key: None if math.isnan(value) else value for key, value in summary.items()}
