"""An evaluation as a page: a Markdown table and a picture of its curves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.evaluation.report import COLUMNS, Rows, summarise, table_cells
from storage.files import atomic_path

# What a picture shows, as far as the table has it.
CURVES = ("fid", "r_precision_top3", "semantic_accuracy")
SWEPT = re.compile(r"(.*), (cond_scale|res_cond_scale|retrieval_scale|time_steps) ([\d.]+)$")


def save_markdown(
    folder: Path,
    name: str,
    heading: str,
    rows: Rows,
    seconds: Mapping[str, float],
    machine: str,
    notes: Sequence[str] = (),
) -> Path:
    """Writes NAME.md and the NAME.png it shows; returns the page's path.

    Args:
        heading: what was evaluated: protocol, dataset, samples, repeats, seed.
        rows: values of every repeat by row and metric.
        seconds: what each row took; the others are parts of them, and in no picture.
        machine: where.
        notes: lines under the table.
    """
    spent = ["seconds", *(f"{seconds[row]:.0f}" if row in seconds else "" for row in rows)]
    lines = [[*line, each] for line, each in zip(table_cells(rows), spent, strict=True)]
    table = ["| " + " | ".join(line) + " |" for line in lines]
    table.insert(1, "| --- " * len(lines[0]) + "|")
    draw_curves(folder / f"{name}.png", {row: rows[row] for row in seconds})
    page = folder / f"{name}.md"
    with atomic_path(page) as temporary:
        text = f"# {name}\n\n{heading}. On {machine}.\n\n" + "\n".join(table)
        text += "".join(f"\n\n{note}" for note in notes) + f"\n\n![curves]({name}.png)\n"
        temporary.write_text(text, encoding="utf-8")
    return page


def draw_curves(path: Path, rows: Rows) -> None:
    """A column of panels a sweep and one for the other rows; a row of panels a metric. Bars are 95 % intervals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns: dict[str, dict[float, str]] = {"": {}}  # those of no sweep come first, side by side
    for name in rows:
        if found := SWEPT.match(name):
            columns.setdefault(found[2], {})[float(found[3])] = name
        else:
            columns[""][len(columns[""])] = name
    metrics = [metric for metric in CURVES if any(metric in row for row in rows.values())]
    height = max(len(metrics), 1)
    size = 4.5 * len(columns), 2.6 * height
    figure, panels = pyplot.subplots(height, len(columns), squeeze=False, figsize=size)
    for metric, line in zip(metrics, panels, strict=False):
        for (sweep, names), panel in zip(columns.items(), line, strict=True):
            shown = {place: name for place, name in sorted(names.items()) if metric in rows[name]}
            summaries = [summarise(rows[name][metric]) for name in shown.values()]
            heights, bars = ([summary[key] for summary in summaries] for key in ("mean", "interval"))
            panel.errorbar(list(shown), heights, bars, fmt="o-" if sweep else "o", capsize=3)
            if not sweep:
                panel.set_xticks(list(shown), [name.replace(", ", "\n") for name in shown.values()], fontsize=7)
                panel.margins(x=0.15)
            panel.set_xlabel(sweep)
            panel.set_ylabel(COLUMNS[metric])
            panel.grid(alpha=0.3)
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    pyplot.close(figure)
