"""The curves of a run: a picture in its folder, and one line that says how the training went.

They are read from what the run has written, TensorBoard's points and the lines of its epochs: a resume changes nothing.
"""

from __future__ import annotations

import math
import re
import textwrap
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.events import event_files, read_points
from engine.verdict import verdict
from storage.files import atomic_path, read_text
from utils.errors import readable

PICTURE = "curves.png"
SHARE = 0.02  # of a training's time that pictures may take before its end
FIRST_COST = 1.0  # seconds that the first one is taken to cost
MOST_POINTS = 1000  # of a curve in the picture
_ENTRY = re.compile(r"(?P<val>val )?(?P<name>\S+) (?P<value>-?[\d.]+(e[+-]\d+)?)( \(best\))?")

Points = Mapping[str, Mapping[int, float]]  # tag -> step -> value


class Curves:
    """Draws the curves of one run, seldom enough to cost nothing.

    Args:
        run_dir: the run's folder.
        best: the metrics that are watched, see `Task.best`.
        active: False in all processes but the first.
    """

    def __init__(self, run_dir: Path, best: Mapping[str, str], active: bool = True) -> None:
        self.run_dir, self.best, self.active = run_dir, best, active
        self._due = time.perf_counter() + FIRST_COST / SHARE

    def after_validation(self, step: int) -> list[str]:
        """Draws what there is after `step` steps, unless that was done just now; returns what went wrong."""
        if not self.active or time.perf_counter() < self._due:
            return []
        start = time.perf_counter()
        _, problems = self._drawn(step)
        now = time.perf_counter()
        self._due = now + (now - start) / SHARE
        return problems

    def at_end(self, step: int) -> list[str]:
        """Draws the training as it was; returns how it went, in words, and what went wrong."""
        if not self.active:
            return []
        words, problems = self._drawn(step)
        return [*([f"{self.run_dir / PICTURE}: {words}"] if words else []), *problems]

    def _drawn(self, step: int) -> tuple[str, list[str]]:
        """What is to say of the points that there are, which are drawn, and what went wrong."""
        words = ""
        try:
            if points := points_of(self.run_dir, step):
                words = verdict(points, self.best, step)
                draw(self.run_dir / PICTURE, points, self.best, words)
        except Exception as error:  # whatever it is: a picture is no reason to lose a training
            return words, [f"warning: {PICTURE} cannot be drawn ({readable(str(error))}): the training is not touched"]
        return words, []


def points_of(run_dir: Path, last: int) -> dict[str, dict[int, float]]:
    """All points of a run up to step `last`, in order: tag (`train/loss`, `val/fid`, `train/lr`) -> step -> value."""
    points: dict[str, dict[int, float]] = defaultdict(dict)
    log, before = run_dir / "train.log", -1
    for line in read_text(log).split("\n") if log.is_file() else ():
        head, *entries = line.split(" | ")
        if not head.startswith("epoch ") or not entries or not re.fullmatch(r"step \d+", entries[0]):
            continue
        step = int(entries[0].removeprefix("step "))
        if step <= before:  # from there on it was trained anew
            points = defaultdict(dict, {tag: _until(step - 1, values) for tag, values in points.items()})
        before = step
        for entry in entries[1:]:
            if found := _ENTRY.fullmatch(entry):
                points[f"{'val' if found['val'] else 'train'}/{found['name']}"][step] = float(found["value"])
    for path in event_files(run_dir):
        for tag, step, value in read_points(path):
            points[tag][step] = value
    return {tag: kept for tag, values in points.items() if (kept := _until(last, values))}


def _until(last: int, values: Mapping[int, float]) -> dict[int, float]:
    """The finite values up to a step, in order."""
    return {step: values[step] for step in sorted(values) if step <= last and math.isfinite(values[step])}


def draw(path: Path, points: Points, best: Mapping[str, str], words: str) -> None:
    """Panels of the loss, its parts, every watched metric and the learning rate, over the steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    panels = _panels(points, best)
    columns = min(len(panels), 2 if len(panels) in (2, 4) else 3)
    rows = -(-len(panels) // columns)
    title = textwrap.wrap(words, 58 * columns)
    width, height, head = 4.2 * columns, 3.2 * rows, 0.4 + 0.18 * len(title)  # inches
    figure = Figure(figsize=(width, height + head))
    FigureCanvasAgg(figure)
    figure.suptitle("\n".join(title), fontsize=10, y=1 - 0.1 / (height + head), va="top")
    # matplotlib's own layouts take as long as the drawing
    sides = {
        "left": 0.65 / width,
        "right": 1 - 0.2 / width,
        "bottom": 0.5 / (height + head),
        "top": height / (height + head),
    }
    figure.subplots_adjust(**sides, wspace=0.22, hspace=0.38)
    last = max(step for values in points.values() for step in values)
    for number, (title, tags) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(rows, columns, number)
        for tag in tags:
            _draw_curve(axes, tag, points[tag], best)
        drawn = [value for tag in tags for value in points[tag].values()]
        if title != "learning rate" and min(drawn) > 0 and max(drawn) > 20 * min(drawn):
            axes.set_yscale("log")
        axes.set_title(title, fontsize=10)
        axes.set_xlim(0, 1.02 * last)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
        if len(tags) > 1 or tags[0].startswith("val/"):
            axes.legend(fontsize=7)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100, format="png")


def _panels(points: Points, best: Mapping[str, str]) -> dict[str, list[str]]:
    """Title -> tags; a panel has at least one."""

    def validated(metric: str) -> list[str]:
        own = f"val/{metric}"
        return [tag for tag in points if tag == own or tag.startswith(f"{own}_")]

    parts = [tag for tag in points if tag.startswith("train/") and "metric/" not in tag]
    parts = [tag for tag in parts if tag not in ("train/loss", "train/lr")]
    panels = {"loss": [tag for tag in ("train/loss",) if tag in points] + validated("loss")}
    panels["parts of the training loss"] = parts if len(parts) > 1 else []
    panels |= {metric: validated(metric) for metric in best if metric != "loss"}
    panels["learning rate"] = [tag for tag in ("train/lr",) if tag in points]
    return {title: tags for title, tags in panels.items() if tags}


def _draw_curve(axes: Any, tag: str, values: Mapping[int, float], best: Mapping[str, str]) -> None:
    """A curve; one of many points also as its running mean, one that is watched with its best point."""
    kind, _, name = tag.partition("/")
    steps, heights = list(values), list(values.values())
    if kind == "val":
        (line,) = axes.plot(steps, heights, "o-", markersize=3, label=f"validation {name}")
        if name in best:
            at = {"min": min, "max": max}[best[name]](values, key=values.__getitem__)
            axes.plot(at, values[at], "*", markersize=11, color=line.get_color(), label=f"best, step {at:,}")
        return
    every = -(-len(steps) // MOST_POINTS)
    window = len(steps) // 40
    if tag == "train/lr" or window < 2:
        axes.plot(steps[::every], heights[::every], label=f"training {name}")
        return
    (line,) = axes.plot(steps[::every], heights[::every], linewidth=0.7, alpha=0.35)
    sums = [0.0]
    for height in heights:
        sums.append(sums[-1] + height)
    spans = [(max(0, place - window), min(len(heights), place + window + 1)) for place in range(0, len(heights), every)]
    means = [(sums[stop] - sums[start]) / (stop - start) for start, stop in spans]
    axes.plot(steps[::every], means, color=line.get_color(), label=f"training {name}")
