"""Trainings that are killed and go on, and trainings of several processes. `python -m benchmarks.gpu.trainings` is one
process of the latter."""

from __future__ import annotations

import hashlib
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.gpu.report import Row
from benchmarks.gpu.stages import build_stage
from engine.harness import Harness
from engine.schedule import seed_everything
from engine.task import Task
from options.command_line import parse
from storage.files import read_json, write_json
from utils.device import choose_device
from utils.errors import run_script
from utils.schema import option

ROOT = Path(__file__).parents[2]
STEPS, KILLED_AFTER, SAVE_EVERY = 8, 5, 3  # the steps 4 and 5 are lost and taken again
TOLERANCE = 1e-4  # relative: the order of additions on a GPU is not fixed everywhere
RESUMED = ("tmr", "vq", "mtrans", "rtrans")
SHARED = ("length", "tmr", "vq", "mtrans")
SAME_LOSSES = "length"  # without dropout it draws no random numbers: processes together do what one alone does
FLAGS = {"vq": "--quantize_dropout_prob 0.5"}


class RecordingHarness(Harness):
    """Writes the losses of its steps to a file, and may kill itself: nothing is cleaned up then."""

    losses_path: Path
    killed_after = 0

    def _agree(self, *arguments: object) -> dict[str, float]:
        values = super()._agree(*arguments)
        if self.rank == 0:
            write_json(self.losses_path, _losses(self.losses_path) | {str(self.step): values["loss"]})
        return values

    def _train_step(self, *arguments: object) -> None:
        super()._train_step(*arguments)
        if self.step == self.killed_after:
            os.kill(os.getpid(), signal.SIGKILL)


def _train(name: str, flags: str, folder: Path, losses: Path, device: str, killed_after: int = 0) -> Task:
    """Trains a tiny stage from fixed random numbers."""
    seed_everything(0)
    stage = build_stage(name, tiny=True, batches=3, flags=f"{FLAGS.get(name, '')} {flags}".split())
    settings = replace(stage.options.train, max_epoch=STEPS, max_steps=STEPS, save_every=SAVE_EVERY)
    harness = RecordingHarness(folder, stage.task, stage.dataset, None, settings, stage.collate, device)
    harness.losses_path, harness.killed_after = losses, killed_after
    harness.fit()
    return stage.task


def resume_rows(tiny: bool, device_name: str) -> Iterator[Row]:
    """Trainings that are killed in the middle and started again, against uninterrupted ones: tiny, with dropout."""
    device = torch.device(device_name)
    context = multiprocessing.get_context("fork" if device.type == "cpu" else "spawn")  # no fork once CUDA is there
    for name in RESUMED[:1] if tiny else RESUMED:
        with tempfile.TemporaryDirectory(prefix="gpu_check_") as place:
            codes, histories = [], []
            for run, kills in (("whole", [0]), ("killed", [KILLED_AFTER, 0])):
                losses = Path(place) / f"{run}.json"
                for killed_after in kills:
                    arguments = (name, "", Path(place) / run, losses, str(device), killed_after)
                    process = context.Process(target=_train, args=arguments)
                    process.start()
                    process.join()
                    codes.append(process.exitcode)
                histories.append(_losses(losses))
        whole, resumed = histories
        worst = _worst(whole, resumed)
        figures = {"steps": len(whole), "largest relative difference": worst, "bitwise": worst == 0}
        as_meant = len(whole) == STEPS and codes == [0, -signal.SIGKILL, 0]
        note = f"killed after step {KILLED_AFTER}, saved at {SAVE_EVERY}" if as_meant else f"exit codes {codes}"
        yield Row(f"{name}, killed and resumed", as_meant and worst <= TOLERANCE, figures, note)


@dataclass(frozen=True)
class WorkerOptions:
    """One process of a shared training."""

    stage: str = option(help="which")
    out: str = option(help="folder of the losses and of each process's digest")
    gpu_id: str = option("auto", "as for a training")


def _digest(module: torch.nn.Module) -> str:
    """Of all parameters and buffers, queues too: equal where all processes hold the same."""
    digest = hashlib.sha256()
    for tensor in module.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def worker() -> None:
    """Trains a tiny stage; writes losses and digest."""
    options = parse(WorkerOptions)
    flags = "" if options.stage in FLAGS else "--dropout 0"
    flags += " --text_encoder minilm" * (options.stage == "tmr")
    out, rank = Path(options.out), int(os.environ.get("RANK", 0))
    task = _train(options.stage, flags, out / "run", out / "losses.json", str(choose_device(options.gpu_id)))
    write_json(out / f"digest_{rank}.json", _digest(task))


def process_rows(tiny: bool, device_name: str) -> Iterator[Row]:
    """Two processes, on two GPUs if there are two, started as run_mtrans.sh starts them."""
    device = torch.device(device_name)
    if device.type == "cuda" and torch.cuda.device_count() < 2:
        yield Row("two processes", None, {}, "not looked at: there is one GPU only")
        return
    ids = "0,1" if device.type == "cuda" else "-1"
    for name in SHARED[:1] if tiny else SHARED:
        with tempfile.TemporaryDirectory(prefix="gpu_check_") as place:
            together = _launched(name, Path(place) / "together", ids, ["-m", "utils.launch", "--nproc_per_node", "2"])
            figures = {"steps": len(together.losses), "same weights in both": len(set(together.digests)) == 1}
            passed = together.code == 0 and len(together.digests) == 2 and len(together.losses) == STEPS
            passed = passed and figures["same weights in both"]
            if name == SAME_LOSSES:
                alone = _launched(name, Path(place) / "alone", ids.split(",")[0], [])
                worst = _worst(alone.losses, together.losses)
                figures["largest relative difference from one process"] = worst
                passed = passed and worst <= TOLERANCE
            yield Row(f"{name}, two processes", passed, figures, f"exit code {together.code}" * bool(together.code))


@dataclass(frozen=True)
class Finished:
    """What a shared training left: exit code, losses by step, digests of the processes' weights."""

    code: int
    losses: dict[str, float]
    digests: list[str]


def _launched(name: str, out: Path, gpu_id: str, launcher: list[str]) -> Finished:
    words = ["-m", "benchmarks.gpu.trainings", "--stage", name, "--out", str(out), "--gpu_id", gpu_id]
    code = subprocess.run([sys.executable, *launcher, *words], cwd=ROOT, check=False).returncode
    return Finished(code, _losses(out / "losses.json"), [read_json(path) for path in sorted(out.glob("digest_*.json"))])


def _losses(path: Path) -> dict[str, float]:
    """By step; none if the training did not come so far."""
    return read_json(path) if path.is_file() else {}


def _worst(expected: dict[str, float], found: dict[str, float]) -> float:
    """The largest relative difference of the losses; infinite if steps are missing."""
    if not expected or set(expected) != set(found):
        return math.inf
    return max(abs(found[step] - loss) / max(abs(loss), 1e-8) for step, loss in expected.items())


if __name__ == "__main__":
    run_script(worker)
