"""Cost against size: tables with exponents beside what theory says, and pictures on logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.figures import table

TOLERANCE = 0.1  # of an exponent over its theory
FAR = 10.0  # an exponent is that over the last factor of so much


class Cost(NamedTuple):
    """What something costs at one size: a number of its unit, seconds those of the processor; on the clock besides."""

    amount: float
    clock: float | None = None

    def __str__(self) -> str:
        return f"{self.amount:.3g}" if self.clock is None else f"{self.amount:.3g} ({self.clock:.3g})"


@dataclass(frozen=True)
class Curve:
    """Costs against one size.

    Attributes:
        title, size: what grows, and in what.
        theory: by name of a cost, which ends in its unit (`search, s`), the exponent that it may have at most.
        sizes: (n,) ascending.
        costs: (n,) by name; what was not measured at a size is missing there.
    """

    title: str
    size: str
    theory: Mapping[str, float]
    sizes: tuple[int, ...]
    costs: tuple[Mapping[str, Cost], ...]

    def line(self, name: str) -> tuple[list[int], list[Cost]]:
        """The sizes at which a cost was measured, and the cost there."""
        there = [(size, costs[name]) for size, costs in zip(self.sizes, self.costs, strict=True) if name in costs]
        return [size for size, _ in there], [cost for _, cost in there]

    def exponent(self, name: str) -> float:
        """The power of the size by which a cost rises over the last factor of ten; NaN of fewer than two sizes."""
        sizes, costs = self.line(name)
        if len(sizes) < 2:
            return math.nan
        first = next(number for number, size in enumerate(sizes) if size * FAR >= sizes[-1] or number == len(sizes) - 2)
        first = min(first, len(sizes) - 2)
        return math.log(costs[-1].amount / costs[first].amount) / math.log(sizes[-1] / sizes[first])

    @property
    def names(self) -> list[str]:
        """The costs that were measured."""
        return [name for name in self.theory if any(name in costs for costs in self.costs)]

    @property
    def steeper(self) -> list[str]:
        """The costs that rise by a higher power than theory says."""
        return [name for name in self.names if self.exponent(name) > self.theory[name] + TOLERANCE]

    def table(self) -> str:
        """Markdown: a line a cost. Seconds are those of the processor, in brackets on the clock."""
        rows = []
        for name in self.names:
            found = [str(costs[name]) if name in costs else "-" for costs in self.costs]
            power = f"{self.exponent(name):.2f}"
            power = f"**{power}**" if name in self.steeper else power
            rows.append([name, *found, power, f"{self.theory[name]:g}"])
        sizes = [f"{size:,}" for size in self.sizes]
        return table((self.size, *sizes, "exponent", "at most"), rows)


def save_picture(path: Path, curve: Curve) -> None:
    """The costs on logarithmic axes, those of a unit together, each beside the line of its theory through its end."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    units = list(dict.fromkeys(name.rpartition(", ")[2] for name in curve.names))
    figure = Figure(figsize=(4.6 * len(units), 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, unit in zip(figure.subplots(1, len(units), squeeze=False)[0], units, strict=True):
        for name in (name for name in curve.names if name.endswith(f", {unit}")):
            sizes, costs = curve.line(name)
            amounts = [cost.amount for cost in costs]
            (drawn,) = axes.loglog(sizes, amounts, "o-", label=name.removesuffix(f", {unit}"), markersize=4)
            steepest = [amounts[-1] * (size / sizes[-1]) ** curve.theory[name] for size in sizes]
            axes.loglog(sizes, steepest, ":", color=drawn.get_color(), linewidth=1)
        axes.set(title=curve.title, xlabel=curve.size, ylabel="processor seconds" if unit == "s" else unit)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=75)


def in_own_process(function: Any, *arguments: Any) -> Any:
    """Calls a function of a module in a new process, whose memory is its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def memory() -> tuple[float, float]:
    """Megabytes of this process: its own, and pages of files, which the system takes back when it needs them."""
    told = Path("/proc/self/status").read_text()
    value = {line.split(":")[0]: line.split()[1] for line in told.splitlines() if line.startswith("Rss")}
    return int(value["RssAnon"]) / 1024, int(value["RssFile"]) / 1024


def median_cost(spent: Sequence[tuple[float, float]]) -> Cost:
    """The median of calls, each of which took so long on the clock and of the processor."""
    clock, processor = (sorted(each)[len(spent) // 2] for each in zip(*spent, strict=True))
    return Cost(processor, clock)
