"""How cost grows: `python -m benchmarks.growth --preset mini` prints tables and writes a picture.

Work against the frames of a motion, motions made at once, and rows of a library. Beside each row stands what theory
says: the exponent between it and the row before, where 1 is proportional. Attention over all cells makes generation
steeper than proportional in the frames, but never steeper than 2; a batch and a library may not exceed 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.commands import Preset
from benchmarks.figures import table
from options.command_line import parse
from options.groups import device_option
from utils.errors import run_script
from utils.schema import option


@dataclass(frozen=True)
class GrowthOptions:
    """python -m benchmarks.growth"""

    preset: Preset = option("mini", "whose sizes; paper: the README's commands")
    frames: tuple[int, ...] = option((40, 80, 120, 160, 196, 400, 800), "frames of one motion", minimum=4)
    batches: tuple[int, ...] = option((1, 2, 4, 8, 16, 32), "motions at once", minimum=1)
    repeats: int = option(3, "timed calls a row; the median counts", minimum=1)
    picture: str | None = option(None, "PNG with the curves; none: no picture")
    gpu_id: str = device_option()


@dataclass(frozen=True)
class Curve:
    """Cost against one size.

    Attributes:
        title, size: what grows, and in what.
        sizes: (n,).
        gflop: (n,) counted, or empty.
        seconds: (n,) median.
    """

    title: str
    size: str
    sizes: tuple[int, ...]
    gflop: tuple[float, ...]
    seconds: tuple[float, ...]

    def table(self) -> str:
        """Markdown: sizes, work, seconds, and the exponents from row to row."""
        rows = []
        for number, size in enumerate(self.sizes):
            counted = (
                [f"{self.gflop[number]:.3g}", exponent(self.sizes, self.gflop, number)] if self.gflop else ["-", "-"]
            )
            rows.append(
                [f"{size:,}", *counted, f"{self.seconds[number]:.3g}", exponent(self.sizes, self.seconds, number)]
            )
        return table((self.size, "GFLOP", "exponent", "seconds", "exponent"), rows)


def exponent(sizes: Sequence[float], costs: Sequence[float], number: int) -> str:
    """The power of the size by which the cost rose since the row before."""
    if not number:
        return ""
    return f"{math.log(costs[number] / costs[number - 1]) / math.log(sizes[number] / sizes[number - 1]):.2f}"


def curve(
    title: str,
    size: str,
    sizes: Sequence[int],
    job_of: Callable[[int], Callable[[], object]],
    device: Any,
    repeats: int,
) -> Curve:
    """Counts and times a job of every size."""
    import statistics

    from benchmarks.costs import count, synchronised

    gflop, seconds = [], []
    for each in sizes:
        job = job_of(each)
        gflop.append(count(job).gflop)
        seconds.append(statistics.median(synchronised(job, device) for _ in range(repeats)))
    return Curve(title, size, tuple(sizes), tuple(gflop), tuple(seconds))


def save_picture(path: Path, curves: Sequence[Curve]) -> None:
    """The curves on logarithmic axes, each beside a proportional line through its first point."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(curves), 4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, each in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves, strict=True):
        proportional = [each.seconds[0] * size / each.sizes[0] for size in each.sizes]
        axes.loglog(each.sizes, each.seconds, "o-", label="measured")
        axes.loglog(each.sizes, proportional, "k--", linewidth=1, label="proportional")
        axes.set(title=each.title, xlabel=each.size, ylabel="seconds")
        axes.grid(alpha=0.3, which="both")
        axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Options -> curves -> tables and picture."""
    options = parse(GrowthOptions, description=__doc__.splitlines()[0])

    from functools import partial

    from benchmarks.workloads import Generator
    from engine.schedule import seed_everything
    from utils.device import choose_device

    device = choose_device(options.gpu_id)

    def of_frames(frames: int) -> Callable[[], object]:
        seed_everything(0)
        return partial(Generator(options.preset, 1, device, frames=frames), 1)

    seed_everything(0)
    together = Generator(options.preset, max(options.batches), device)
    curves = [
        curve("one motion", "frames", options.frames, of_frames, device, options.repeats),
        curve("motions at once", "motions", options.batches, partial(partial, together), device, options.repeats),
    ]
    for each in curves:
        print(f"{each.title}\n{each.table()}\n", flush=True)
    if options.picture:
        save_picture(Path(options.picture), curves)
        print(f"written: {options.picture}")


if __name__ == "__main__":
    run_script(main)
