"""What everything costs that a user waits for: `python -m benchmarks.run --preset mini`.

For each kind of work: GFLOP a sample, memory, seconds, samples a second, and cost, which is seconds a sample times the
GFLOP a second of a matrix product on this machine, measured beside it. Median of several calls. The numbers are kept in
benchmarks/results/<preset>.json (on a GPU <preset>_cuda.json), what was not measured this time as it was.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.commands import Preset
from benchmarks.figures import table
from options.command_line import parse
from options.groups import device_option
from storage.files import read_json, write_json
from utils.errors import run_script
from utils.schema import option

RESULTS = Path(__file__).parent / "results"
HEADINGS = ("work", "GFLOP a sample", "seconds a sample", "samples a second", "cost", "memory, GB", "made, GB")


@dataclass(frozen=True)
class CostOptions:
    """python -m benchmarks.run"""

    preset: Preset = option("mini", "whose sizes; paper: the README's commands")
    stage: tuple[str, ...] = option(
        ("all",), "vq, tmr, mtrans, rtrans, length, evaluator, generation, retrieval, demo, all"
    )
    repeats: int = option(5, "timed calls a kind of work; 0: counts alone", minimum=0)
    counts: bool = option(True, "count operations and memory too, which takes two more calls")
    at_once: tuple[int, ...] = option((1, 8, 32), "motions made at once", minimum=1)
    texts: str | None = option(
        None, "folder with HumanML3D's lengths.csv and train.txt: the transformers' steps also with its lengths"
    )
    out: str = option(str(RESULTS), "folder of the numbers")
    gpu_id: str = device_option()


def measure(
    kind: str, preset: str, device: Any, repeats: int, counts: bool = True, at_once: Sequence[int] = (1, 8)
) -> Iterator[tuple[str, dict[str, float]]]:
    """Name and numbers of each kind of work."""
    from benchmarks.costs import count, matrix_peak, synchronised
    from benchmarks.workloads import workloads

    for work in workloads(kind, preset, device, at_once):
        numbers: dict[str, float] = {"samples": work.samples}
        if counts and work.counted:
            work.job()  # what a first call makes for all the others
            found = asdict(count(work.job))
            numbers |= {"gflop": found["gflop"] / work.samples, "made": found["allocated"], "memory": found["peak"]}
        if repeats:
            peak = matrix_peak(device)
            seconds = statistics.median(synchronised(work.job, device) for _ in range(repeats)) / work.samples
            peak = (peak + matrix_peak(device)) / 2
            numbers |= {"seconds": seconds, "matrix_gflop_a_second": peak, "cost": seconds * peak}
        yield work.name, numbers


def with_lengths(kind: str, preset: str, device: Any, texts: Path) -> dict[str, dict[str, float]]:
    """The same of a transformer's step in batches of HumanML3D's lengths: work and the share of it that is padding."""
    from benchmarks.lengths import expected, training_steps

    return {
        f"{kind} training step, HumanML3D's lengths": expected(kind, preset, device, training_steps(texts))._asdict()
    }


def row(name: str, numbers: Mapping[str, float]) -> list[str]:
    """A line of the table."""

    def shown(key: str, form: str) -> str:
        return format(numbers[key], form) if key in numbers else "-"

    speed = f"{1 / numbers['seconds']:.3g}" if "seconds" in numbers else "-"
    columns = [shown("gflop", ".3g"), shown("seconds", ".3g"), speed, shown("cost", ".3g")]
    return [name, *columns, shown("memory", ".2f"), shown("made", ".2f")]


def main() -> None:
    """Options -> measurements -> table and JSON."""
    options = parse(CostOptions, description=__doc__.splitlines()[0])

    import torch

    from benchmarks.workloads import WORKLOADS
    from utils.device import choose_device, describe_device
    from utils.errors import UserError

    kinds = WORKLOADS if options.stage == ("all",) else options.stage
    if unknown := [kind for kind in kinds if kind not in WORKLOADS]:
        raise UserError(f"--stage {unknown[0]}: must be all, or some of {', '.join(WORKLOADS)}")
    device = choose_device(options.gpu_id)
    path = Path(options.out) / f"{options.preset}{'_cuda' if device.type == 'cuda' else ''}.json"
    kept = read_json(path)["work"] if path.is_file() else {}
    for kind in kinds:
        for name, numbers in measure(kind, options.preset, device, options.repeats, options.counts, options.at_once):
            kept[name] = kept.get(name, {}) | numbers
        if options.texts and kind.endswith("trans"):
            kept |= with_lengths(kind, options.preset, device, Path(options.texts))
        machine = {"device": describe_device(device), "threads": torch.get_num_threads(), "torch": torch.__version__}
        write_json(path, {"preset": options.preset, **machine, "work": kept})
    print(table(HEADINGS, [row(name, numbers) for name, numbers in kept.items()]))
    print(f"written: {path}")


if __name__ == "__main__":
    run_script(main)
