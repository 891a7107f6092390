"""An evaluation as a page: a Markdown table and a picture of its curves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.evaluation.report import COLUMNS, format_cell, summarise, used_metrics
from utils.files import atomic_path

# What a picture shows, as far as the table has it.
CURVES = ("fid", "r_precision_top3", "semantic_accuracy")
SWEPT = re.compile(r"(.*), (cond_scale|res_cond_scale|retrieval_scale|time_steps) ([\d.]+)$")

Rows = Mapping[str, Mapping[str, Sequence[float]]]


def save_markdown(
    folder: Path, name: str, heading: str, rows: Rows, seconds: Mapping[str, float], machine: str
) -> Path:
    """Writes NAME.md and the NAME.png it shows; returns the page's path.

    Args:
        heading: what was evaluated: protocol, dataset, samples, repeats, seed.
        rows: values of every repeat by row and metric.
        seconds: what each row took.
        machine: where.
    """
    used = used_metrics(rows)
    lines = [["protocol", *(COLUMNS[metric] for metric in used), "seconds"]]
    lines += [
        [row, *(format_cell(metric, values.get(metric)) for metric in used), f"{seconds[row]:.0f}"]
        for row, values in rows.items()
    ]
    table = ["| " + " | ".join(line) + " |" for line in lines]
    table.insert(1, "| --- " * len(lines[0]) + "|")
    draw_curves(folder / f"{name}.png", rows)
    page = folder / f"{name}.md"
    with atomic_path(page) as temporary:
        text = f"# {name}\n\n{heading}. On {machine}.\n\n" + "\n".join(table) + f"\n\n![curves]({name}.png)\n"
        temporary.write_text(text, encoding="utf-8")
    return page


def draw_curves(path: Path, rows: Rows) -> None:
    """A column of panels a sweep and one for the other rows; a row of panels a metric. Bars are 95 % intervals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    sweeps: dict[str, dict[float, str]] = {}
    single: list[str] = []
    for name in rows:
        if found := SWEPT.match(name):
            sweeps.setdefault(found[2], {})[float(found[3])] = name
        else:
            single.append(name)
    metrics = [metric for metric in CURVES if any(metric in row for row in rows.values())]
    columns = [("rows", None), *sweeps.items()]
    figure, panels = pyplot.subplots(
        max(len(metrics), 1), len(columns), squeeze=False, figsize=(4.5 * len(columns), 2.6 * max(len(metrics), 1))
    )
    for metric, line in zip(metrics, panels, strict=False):
        for (title, sweep), panel in zip(columns, line, strict=True):
            names = [name for name in (single if sweep is None else [sweep[x] for x in sorted(sweep)])]
            names = [name for name in names if metric in rows[name]]
            summaries = [summarise(rows[name][metric]) for name in names]
            places = range(len(names)) if sweep is None else [x for x in sorted(sweep) if sweep[x] in names]
            heights = [summary["mean"] for summary in summaries]
            bars = [summary["interval"] for summary in summaries]
            panel.errorbar(places, heights, bars, fmt="o" if sweep is None else "o-", capsize=3)
            if sweep is None:
                panel.set_xticks(list(places), [name.replace(", ", "\n") for name in names], fontsize=7)
                panel.margins(x=0.15)
            panel.set_xlabel("" if sweep is None else title)
            panel.set_ylabel(COLUMNS[metric])
            panel.grid(alpha=0.3)
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    pyplot.close(figure)
