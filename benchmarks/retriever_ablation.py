"""What the retriever's choices are worth: trains it with each of them through the real command and prints a table.

    python -m benchmarks.retriever_ablation --dataset_name mini --seeds 1 2 3

Runs live in logs/ablation/<dataset>/; a run that is there already is not made again, so that the table can grow.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.commands import run_command
from options.command_line import parse
from utils.errors import UserError, run_script
from utils.schema import option

BASE = "BMM: queue 4096, momentum 0.99, six parts, false negatives removed"
VARIANTS = {
    BASE: "--queue_size 4096",
    "in-batch negatives only": "--queue_size 0",
    "queue 1024": "--queue_size 1024",
    "queue 16384": "--queue_size 16384",
    "momentum 0.9": "--queue_size 4096 --momentum 0.9",
    "momentum 0.999": "--queue_size 4096 --momentum 0.999",
    "whole body, one encoder": "--queue_size 4096 --parts whole",
    "false negatives kept": "--queue_size 4096 --no-remove_false_negatives",
    "part-level loss 0.1": "--queue_size 4096 --lambda_part 0.1",
}


@dataclass(frozen=True)
class AblationOptions:
    """Which table is made."""

    dataset_name: str = option("mini", "dataset")
    preset: str = option("mini", "sizes of the retriever")
    checkpoints_dir: str = option("logs/ablation", "folder of the runs")
    seeds: tuple[int, ...] = option((1, 2, 3), "one training each")
    variants: tuple[int, ...] = option((), "numbers of the variants, from 0; none: all of them")
    train: str = option("", "more flags of the training, in quotes, e.g. '--batch_size 16 --max_epoch 10'")


def recall(options: AblationOptions, number: int, seed: int) -> float:
    """R@1 text to motion of a variant, protocol `distinct`, on the test split."""
    flags = f"{list(VARIANTS.values())[number]} {options.train}".strip()
    name = f"v{number}_s{seed}"
    places = f"--name {name} --dataset_name {options.dataset_name} --checkpoints_dir {options.checkpoints_dir}"
    result = Path(options.checkpoints_dir) / Path(options.dataset_name).name / name / "eval" / "eval_test.json"
    if not result.is_file():
        run_command("Part_TMR.scripts.train", shlex.split(f"{places} --preset {options.preset} {flags} --seed {seed}"))
        run_command("Part_TMR.scripts.test", shlex.split(places))
    return json.loads(result.read_text())["distinct"]["text_to_motion"]["R1"]


def main() -> None:
    """Options -> trainings -> table."""
    options = parse(AblationOptions, description=__doc__)
    print(f"| {options.dataset_name}: R@1 text to motion, distinct captions | mean | std | seeds |")
    print("| --- | --- | --- | --- |")
    for number in options.variants or range(len(VARIANTS)):
        if number not in range(len(VARIANTS)):
            raise UserError(f"--variants must be numbers from 0 to {len(VARIANTS) - 1}, not {number}")
        values = [recall(options, number, seed) for seed in options.seeds]
        spread = np.std(values, ddof=1) if len(values) > 1 else float("nan")
        print(f"| {list(VARIANTS)[number]} | {np.mean(values):.1f} | {spread:.1f} | {len(values)} |", flush=True)


if __name__ == "__main__":
    run_script(main)
