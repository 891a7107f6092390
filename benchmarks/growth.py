"""How cost grows: `python -m benchmarks.growth --curves frames batch rows clips --picture_dir docs/images`.

Against the frames of a motion, motions made at once, rows of a library and clips of a data set. Beside each line stands
the exponent over the last factor of ten, where 1 is proportional, and the one that theory allows. Seconds are those of
the processor, in brackets on the clock: other programs may be busy.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.commands import Preset
from benchmarks.curves import Cost, Curve, median_cost, save_picture
from benchmarks.figures import spent
from options.command_line import parse
from options.groups import device_option
from utils.errors import UserError, run_script
from utils.schema import option

CURVES = ("frames", "batch", "rows", "clips")
# Attention over all cells, and all that is proportional; what is made at once is made one after the other.
GENERATION_THEORY = {"frames": 2.0, "batch": 1.0}


@dataclass(frozen=True)
class GrowthOptions:
    """python -m benchmarks.growth"""

    curves: tuple[str, ...] = option(("frames", "batch"), f"of {', '.join(CURVES)}")
    preset: Preset = option("mini", "whose sizes; paper: the README's commands")
    frames: tuple[int, ...] = option((40, 80, 120, 160, 196, 400, 800), "frames of one motion", minimum=4)
    batches: tuple[int, ...] = option((1, 2, 4, 8, 16, 32), "motions at once", minimum=1)
    rows: tuple[int, ...] = option((1000, 10_000, 100_000, 1_000_000), "motions of a library", minimum=64)
    index: Literal["none", "hnsw", "ivfpq"] = option("none", "of libraries of 10,000 to 1,000,000 rows (needs FAISS)")
    sentences: bool = option(False, "libraries and queries with sentence vectors")
    even: bool = option(False, "rows without any structure: the worst case of an exact search")
    clips: tuple[int, ...] = option((100, 1000, 10_000), "clips of a data set", minimum=32)
    repeats: int = option(3, "timed generations a size; the median counts", minimum=1)
    folder: str | None = option(None, "where libraries and data sets are written, one at a time; none: a temporary one")
    picture_dir: str | None = option(None, "gets growth_CURVE.png; none: no pictures")
    gpu_id: str = device_option()


def measured(
    title: str, size: str, theory: dict[str, float], sizes: Sequence[int], costs_of: Callable[[int], dict[str, Cost]]
) -> Curve:
    """The curve of what `costs_of` finds at every size, which is printed as soon as it is found."""
    sizes, costs = sorted(set(sizes)), []
    for each in sizes:
        costs.append(costs_of(each))
        print(f"{each:,} {size}: " + "; ".join(f"{name} {cost}" for name, cost in costs[-1].items()), flush=True)
    return Curve(title, size, theory, tuple(sizes), tuple(costs))


def generation(name: str, options: GrowthOptions) -> Curve:
    """What motions cost against their frames, or against how many are made at once."""
    from benchmarks.costs import count, synchronised
    from benchmarks.workloads import Generator
    from engine.schedule import seed_everything
    from utils.device import choose_device

    device, generators = choose_device(options.gpu_id), {}

    def costs_of(size: int) -> dict[str, Cost]:
        seed_everything(0)
        key = size if name == "frames" else max(options.batches)
        if key not in generators:
            generators.clear()
            generators[key] = (
                Generator(options.preset, 1, device, frames=size)
                if name == "frames"
                else Generator(options.preset, key, device)
            )
        generator, motions = generators[key], 1 if name == "frames" else size
        counts = count(lambda: generator(motions))
        times = [spent(lambda: synchronised(lambda: generator(motions), device)) for _ in range(options.repeats)]
        return {"work, GFLOP": Cost(counts.gflop), "time, s": median_cost(times), "memory, MB": Cost(1e3 * counts.peak)}

    theory = dict.fromkeys(("work, GFLOP", "time, s", "memory, MB"), GENERATION_THEORY[name])
    if name == "frames":
        return measured(f"one motion, {options.preset}", "frames", theory, options.frames, costs_of)
    return measured(f"motions at once, {options.preset}", "motions", theory, options.batches, costs_of)


def library(options: GrowthOptions) -> Curve:
    """What a library costs against its rows."""
    from benchmarks import library_size
    from benchmarks.gpu.stages import stage_options

    width = stage_options("tmr", False, preset=options.preset).model.embed_dim

    def costs_of(rows: int) -> dict[str, Cost]:
        with place(options) as folder:
            return library_size.measure(folder / "library", rows, width, options.even, options.index, options.sentences)

    title = f"library, {width} wide" + ", sentence vectors" * options.sentences
    return measured(title, "motions", library_size.THEORY, options.rows, costs_of)


def data_set(options: GrowthOptions) -> Curve:
    """What a data set costs against its clips."""
    from benchmarks import set_size

    def costs_of(clips: int) -> dict[str, Cost]:
        with place(options) as folder:
            return set_size.measure(folder, clips)

    return measured("data set", "clips", set_size.THEORY, options.clips, costs_of)


@contextlib.contextmanager
def place(options: GrowthOptions) -> Iterator[Path]:
    """A folder for what is measured, removed when the block ends."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        yield Path(folder)


def main() -> None:
    """Options -> curves -> tables and pictures."""
    options = parse(GrowthOptions, description=__doc__.splitlines()[0])
    if unknown := [name for name in options.curves if name not in CURVES]:
        raise UserError(f"--curves {unknown[0]}: must be some of {', '.join(CURVES)}")
    kinds = {"rows": library, "clips": data_set}
    for name in options.curves:
        curve = kinds[name](options) if name in kinds else generation(name, options)
        print(f"{curve.title} (load {os.getloadavg()[0]:.1f})\n{curve.table()}\n", flush=True)
        if options.picture_dir:
            path = Path(options.picture_dir) / f"growth_{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            save_picture(path, curve)
            print(f"written: {path}\n", flush=True)


if __name__ == "__main__":
    run_script(main)
