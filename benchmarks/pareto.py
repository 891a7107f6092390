"""Which generator is worth its cost: candidates trained for the same processor time on a real dataset, in one table.

    python -m benchmarks.pareto --dataset_name mine --seeds 1 2 3

The dataset's folder of runs must hold an evaluator and a retriever, `tmr`, which all candidates share. Each trains its
RVQ-VAE, masked and residual transformer with one thread; how many steps fit is measured before. A run or an evaluation
that is there already is not made again: the table grows, and several processes may each fill a part of it.
"""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

from benchmarks.commands import COMMANDS, readme_flags, run_command
from benchmarks.figures import spent, table
from options.command_line import parse
from storage.files import read_json, write_json
from utils.errors import UserError, run_script
from utils.schema import option

Stage = Literal["vq", "mtrans", "rtrans"]
SHARES: dict[Stage, float] = {"vq": 0.3, "mtrans": 0.45, "rtrans": 0.25}  # of a candidate's time
SCRIPTS: dict[Stage, str] = {"vq": "train_vq", "mtrans": "train_mask_transformer", "rtrans": "train_res_transformer"}
# What all candidates have in common, so that only sizes and design differ.
BATCH = 32
COMMON = "--schedule cosine --gamma 0.02 --num_workers 0 --mixed_precision bf16 --grad_clip 1"
COMMON += " --eval_every_e 100000"  # the end of the training is judged, not the best of several validations
WINDOW = 32  # frames: clips of real motion may be as short as 36
MEASURED_STEPS, WARM_UP = 3, 0.1
COUNTED = 2  # samples: each costs the same
_TEXT = "--text_encoder minilm"
_NARROW = f"{_TEXT} --lr 1e-3 --latent_dim 128 --n_heads 4 --ff_size 256 --dropout 0.1"


@dataclass(frozen=True)
class Candidate:
    """A design.

    Attributes:
        preset: whose defaults, and whose commands of the README with `paper`.
        flags: a stage, on top.
        vq: of which candidate the RVQ-VAE is, where it is the same.
    """

    preset: str
    flags: Mapping[Stage, str]
    vq: str | None = None


CANDIDATES = {
    # At 2e-4 nothing of this size would learn in a few hundred steps.
    "paper": Candidate("paper", {"vq": "--lr 5e-4", "mtrans": f"{_TEXT} --lr 5e-4", "rtrans": f"{_TEXT} --lr 5e-4"}),
    # The published design at the cost of ours: does the design win, or the size?
    "narrow": Candidate(
        "paper", {"vq": "--lr 1e-3 --width 160 --code_dim2d 256", "mtrans": _NARROW, "rtrans": _NARROW}
    ),
    "small": Candidate("small", {}),
    "base": Candidate("base", {}),
    "deep": Candidate(
        "base",
        dict.fromkeys(("mtrans", "rtrans"), "--latent_dim 192 --n_layers 5 --n_heads 6 --ff_size 384"),
        vq="base",
    ),
}
SCORES = {"fid": "FID", "r_precision_top3": "R@3", "foot_skate": "skate, cm a frame"}
# Column -> number, and what it is multiplied by.
COLUMNS = {
    "GFLOP a motion": ("generation", 1),
    "GFLOP a training sample": ("training", 1),
    "minutes": ("minutes", 1),
    "MPJPE, cm": ("mpjpe", 100),
    "FID": ("fid", 1),
    "R@3": ("r_precision_top3", 1),
    "skate, cm": ("foot_skate", 100),
}


@dataclass(frozen=True)
class ParetoOptions:
    """python -m benchmarks.pareto"""

    dataset_name: str = option("mini", "prepared dataset")
    checkpoints_dir: str = option("logs", "folder of the runs: evaluator and tmr must be there")
    candidates: tuple[str, ...] = option(tuple(CANDIDATES), f"some of {', '.join(CANDIDATES)}")
    seeds: tuple[int, ...] = option((1,), "one training each", minimum=0)
    minutes: float = option(20.0, "of one processor, for all three trainings of a candidate", minimum=0.1)
    split: Literal["val", "test"] = option("val", "what is measured; the choice between candidates is validation's")
    repeat_times: int = option(3, "repeats of the evaluation", minimum=1)
    picture: str | None = option(None, "PNG of cost against scores; none: no picture")


class Contest:
    """Trains and measures candidates in the folder of a dataset's runs."""

    def __init__(self, options: ParetoOptions):
        self.options = options
        self.runs = ["--dataset_name", options.dataset_name, "--checkpoints_dir", options.checkpoints_dir]
        self.runs += ["--gpu_id", "-1"]
        self.folder = Path(options.checkpoints_dir) / Path(options.dataset_name).name
        for name in ("evaluator", "tmr"):
            if not (self.folder / name / "config.json").is_file():
                raise UserError(f"{self.folder}: no run {name}: train it first; all candidates share it")

    def row(self, name: str, seed: int) -> dict[str, float]:
        """Everything the table says of a candidate's training with a seed."""
        candidate, tokeniser = CANDIDATES[name], CANDIDATES[name].vq or name
        vq, masked, residual = f"vq_{tokeniser}_s{seed}", f"mtrans_{name}_s{seed}", f"rtrans_{name}_s{seed}"
        seconds = self._train("vq", CANDIDATES[tokeniser], vq, seed)
        database = self._database(vq)
        tokens = ["--vq_name", vq, "--database", database]
        seconds += self._train("mtrans", candidate, masked, seed, tokens)
        seconds += self._train("rtrans", candidate, residual, seed, tokens)
        return {"minutes": seconds / 60} | self._scores(vq, masked, residual, database)

    def _train(self, stage: Stage, candidate: Candidate, name: str, seed: int, more: Sequence[str] = ()) -> float:
        """Trains for the stage's share of the time, once; returns the processor seconds that it took."""
        done = self.folder / name / "pareto.json"
        if not done.is_file():
            published = candidate.preset == "paper"
            flags = readme_flags(COMMANDS[stage][1]) if published else ["--preset", candidate.preset]
            flags += flags_beside_preset(stage, candidate)
            step = training(stage, candidate, self._mean_frames)
            seconds = statistics.median(spent(step)[1] for _ in range(MEASURED_STEPS))
            steps = max(10, round(SHARES[stage] * self.options.minutes * 60 / seconds))
            schedule = f"--max_steps {steps} --max_epoch {steps} --warm_up_iter {round(WARM_UP * steps)} --seed {seed}"
            seconds = run(SCRIPTS[stage], ["--name", name, *flags, *self.runs, *schedule.split(), *more])
            write_json(done, {"seconds": seconds, "steps": steps})
        return read_json(done)["seconds"]

    @cached_property
    def _mean_frames(self) -> int:
        from data.clips import load_split
        from data.specs import get_spec

        clips = load_split(get_spec(self.options.dataset_name), "train")
        return 4 * round(statistics.mean(len(clip.features) for clip in clips) / 4)

    def _database(self, vq: str) -> str:
        database = self.folder / vq / "database"
        if not database.is_dir():
            run("build_rag_database", ["--name", "tmr", "--vq_name", vq, "--output", str(database), *self.runs])
        return str(database)

    def _scores(self, vq: str, masked: str, residual: str, database: str) -> dict[str, float]:
        options = self.options
        kept = self.folder / residual / "eval" / f"pareto_{options.split}.json"
        if not kept.is_file():
            names = ["--mtrans_name", masked, "--rtrans_name", residual, "--vq_name", vq, "--database", database]
            protocol = f"--ext pareto_{options.split} --split {options.split} --repeat_times {options.repeat_times}"
            run("eval_res", [*names, *self.runs, *protocol.split(), "--mm_captions", "0"])
        rows = read_json(kept)["rows"]
        return {"mpjpe": rows["vq"]["mpjpe"]["mean"]} | {metric: rows["res"][metric]["mean"] for metric in SCORES}


def flags_beside_preset(stage: Stage, candidate: Candidate, batch_size: int = BATCH) -> list[str]:
    """The training's flags, but for the preset, its names and its number of steps."""
    window = f"--window_size {WINDOW} --window_stride 16" if stage == "vq" else ""
    return f"{candidate.flags.get(stage, '')} --batch_size {batch_size} {COMMON} {window}".split()


def training(stage: Stage, candidate: Candidate, frames: int, batch_size: int = BATCH) -> Callable[[], None]:
    """A step of the training on random motions, with one thread."""
    import torch

    from benchmarks.gpu.stages import build_stage
    from benchmarks.workloads import training_step

    torch.set_num_threads(1)
    flags = flags_beside_preset(stage, candidate, batch_size)
    built = build_stage(stage, False, flags=flags, preset=candidate.preset, frames=frames)
    step = torch.autocast("cpu", torch.bfloat16)(training_step(built, torch.device("cpu")))
    step()  # what a first one makes for all the others
    return step


def gflop(name: str) -> dict[str, float]:
    """Of a motion of 196 frames, and of a sample of them (RVQ-VAE: a window) in the costliest training."""
    import torch

    from benchmarks.costs import count
    from benchmarks.workloads import FRAMES, Generator

    candidate = CANDIDATES[name]
    flags = {"vq": CANDIDATES[candidate.vq or name].flags.get("vq", ""), **candidate.flags}
    generator = Generator(candidate.preset, 1, torch.device("cpu"), flags={k: v.split() for k, v in flags.items()})
    generator(1)
    trained = [count(training(stage, candidate, FRAMES, COUNTED)).gflop / COUNTED for stage in ("mtrans", "rtrans")]
    return {"generation": count(lambda: generator(1)).gflop, "training": max(trained)}


def run(module: str, arguments: Sequence[str]) -> float:
    """A command of the project, with one thread; returns its processor seconds."""
    print(f"$ -m {module} {shlex.join(arguments)}", flush=True)
    return spent(partial(run_command, module, arguments, OMP_NUM_THREADS="1"))[1]


def save_picture(path: Path, points: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """GFLOP a motion against each score; a dot a seed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(SCORES), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (metric, title) in zip(figure.subplots(1, len(SCORES)), SCORES.items(), strict=True):
        for name, rows in points.items():
            axes.semilogx([row["generation"] for row in rows], [row[metric] for row in rows], "o", label=name)
        axes.set(title=title, xlabel="GFLOP a motion of 196 frames")
        axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path, dpi=100)


def main() -> None:
    """Options -> trainings and evaluations that are missing -> table, picture."""
    options = parse(ParetoOptions, description=__doc__.splitlines()[0])
    if unknown := [name for name in options.candidates if name not in CANDIDATES]:
        raise UserError(f"--candidates {unknown[0]}: must be some of {', '.join(CANDIDATES)}")
    contest = Contest(options)
    points = {name: [contest.row(name, seed) for seed in options.seeds] for name in options.candidates}
    lines = []
    for name, rows in points.items():
        costs = gflop(name)
        for row in rows:
            row |= costs
        lines.append([name, *(cell([row[key] for row in rows], unit) for key, unit in COLUMNS.values())])
    print(table(("candidate", *COLUMNS), lines))
    if options.picture:
        save_picture(Path(options.picture), points)


def cell(values: Sequence[float], unit: float) -> str:
    """Mean of the seeds, and their standard deviation."""
    shown = f"{statistics.mean(values) * unit:.3g}"
    return shown if len(set(values)) == 1 else f"{shown} ± {statistics.stdev(values) * unit:.2g}"


if __name__ == "__main__":
    run_script(main)
