"""What a training run shows and logs: a progress bar, the points of its curves, one line an epoch."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from engine.events import EventLog, keep_points
from engine.tracking import TrackerLog
from utils.errors import UserError

try:
    import resource
except ImportError:  # Windows
    resource = None

GIGABYTE = 1e9


def peak_memory(device: torch.device) -> float:
    """Highest memory use so far in GB: the GPU's, or the process's on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIGABYTE
    if resource is None:
        import psutil

        return psutil.Process().memory_info().peak_wset / GIGABYTE
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIGABYTE


class Progress:
    """Bar, points and train.log of one run. Silent in all processes but the first.

    What cannot be written, because a disk is full or a terminal gone, is told once where that is possible, and the
    training goes on.

    Args:
        run_dir: the run's folder; events go to run_dir/events, the summary lines to run_dir/train.log and stdout.
        step: the step that the run starts at.
        total_steps: the step that it ends at.
        log_every: steps between points.
        device: whose memory is reported.
        former: what `state` gave when the run was saved; {} for none.
        validated: whether the validation after `step` is done.
        active: False in all processes but the first.
        events: whether TensorBoard's files are written.
        tracker: who else gets the points.
    """

    def __init__(
        self,
        run_dir: Path,
        step: int,
        total_steps: int,
        log_every: int,
        device: torch.device,
        former: Mapping[str, Any],
        validated: bool = True,
        active: bool = True,
        events: bool = True,
        tracker: TrackerLog | None = None,
    ) -> None:
        self.active, self.log_every, self.device = active, log_every, device
        self.log_path = run_dir / "train.log"
        self.bar = tqdm(
            total=total_steps,
            initial=step,
            unit="step",
            dynamic_ncols=True,
            disable=None if active else True,
            leave=False,
        )
        self._failed: set[str] = set()
        self._points: dict[str, EventLog | TrackerLog] = {f"{tracker.name}'s points": tracker} if tracker else {}
        if active:
            with self._unhindered("TensorBoard's points"):
                keep_points(
                    run_dir, lambda tag, at: at < step or (at == step and (validated or not tag.startswith("val/")))
                )
                if events:
                    self._points["TensorBoard's points"] = EventLog(run_dir)
        self._reset()
        self.sums.update(former.get("sums", {}))
        self.count = former.get("count", 0)
        self.start -= former.get("seconds", 0.0)

    def _reset(self) -> None:
        self.sums: dict[str, float] = defaultdict(float)
        self.count, self.start = 0, time.perf_counter()

    def state(self) -> dict[str, Any]:
        """What the epoch has so far: its means cover all of it after a resume too."""
        return {"sums": dict(self.sums), "count": self.count, "seconds": time.perf_counter() - self.start}

    @contextlib.contextmanager
    def _unhindered(self, what: str) -> Iterator[None]:
        """In it nothing that the disk or a terminal refuses stops the training."""
        try:
            yield
        except (OSError, UserError) as error:
            if what in self._failed:
                return
            self._failed.add(what)
            reason = error.strerror if isinstance(error, OSError) else error
            self.say(f"warning: {what} cannot be written ({reason}): the training goes on")

    def _log(self, method: str, *arguments: Any) -> None:
        """Calls a method of everything that takes points, unless it failed once."""
        for what in list(self._points):
            log = self._points.pop(what)
            with self._unhindered(what):
                getattr(log, method)(*arguments)
                self._points[what] = log

    def say(self, *lines: str) -> None:
        """Prints lines beside the bar and appends them to train.log."""
        if not self.active:
            return
        for line in lines:
            with self._unhindered("the log"), open(self.log_path, "a", encoding="utf-8") as file:
                file.write(line + "\n")
            if "the output" not in self._failed:
                with self._unhindered("the output"):
                    tqdm.write(line, file=sys.stdout)
                    sys.stdout.flush()
                if "the output" in self._failed:
                    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - what is left in the former one stays there

    def step(self, step: int, losses: Mapping[str, float], lr: float) -> None:
        """Takes the losses of step number `step` (counted from 1); "loss" is the weighted sum."""
        if not self.active:
            return
        for name, value in losses.items():
            self.sums[name] += value
        self.count += 1
        with self._unhindered("the progress bar"):
            self.bar.set_postfix(loss=f"{losses['loss']:.4f}", refresh=False)
            self.bar.update()
        if step % self.log_every == 0:
            points = {f"train/{name}": value for name, value in losses.items() if not math.isnan(value)}
            self._log("add", points | {"train/lr": lr}, step)

    def epoch(
        self, epoch: int, epochs: int, step: int, lr: float, metrics: Mapping[str, float], best: list[str]
    ) -> None:
        """Writes the epoch's summary line: mean losses, validation metrics, speed, peak memory."""
        if not self.active:
            return
        seconds = time.perf_counter() - self.start
        parts = [f"epoch {epoch}/{epochs}", f"step {step}"]
        shown = {name: total for name, total in self.sums.items() if name.count("/") < 2}
        parts += [f"{name} {total / self.count:.4f}" for name, total in shown.items()]
        for name, value in metrics.items():
            parts.append(f"val {name} {value:.4f}{' (best)' if name in best else ''}")
        if metrics:
            self._log("add", {f"val/{name}": value for name, value in metrics.items()}, step)
        parts += [f"lr {lr:.2e}", f"{seconds:.1f} s", f"peak {peak_memory(self.device):.2f} GB"]
        self.say(" | ".join(parts))
        self._reset()

    def close(self) -> None:
        """Ends the bar and the points."""
        with self._unhindered("the progress bar"):
            self.bar.close()
        self._log("close")
