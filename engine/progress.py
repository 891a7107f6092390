"""What a training run shows and logs: a progress bar, tensorboard, one line an epoch."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

GIGABYTE = 1e9


def peak_memory(device: torch.device) -> float:
    """Highest memory use so far in GB: the GPU's, or the process's on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIGABYTE
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIGABYTE


class Progress:
    """Bar, tensorboard and train.log of one run. Silent in all processes but the first.

    Args:
        run_dir: the run's folder; events go to run_dir/events, the summary lines to run_dir/train.log and stdout.
        step: the step that the run starts at.
        total_steps: the step that it ends at.
        log_every: steps between tensorboard points.
        device: whose memory is reported.
        active: False in all processes but the first.
    """

    def __init__(
        self, run_dir: Path, step: int, total_steps: int, log_every: int, device: torch.device, active: bool = True
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
        self.writer = SummaryWriter(str(run_dir / "events"), purge_step=step) if active else None
        self._reset()

    def _reset(self) -> None:
        self.sums: dict[str, float] = defaultdict(float)
        self.count, self.start = 0, time.perf_counter()

    def say(self, *lines: str) -> None:
        """Prints lines beside the bar and appends them to train.log."""
        if not self.active:
            return
        for line in lines:
            tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()
            with open(self.log_path, "a", encoding="utf-8") as file:
                file.write(line + "\n")

    def step(self, step: int, losses: Mapping[str, float], lr: float) -> None:
        """Takes the losses of step number `step` (counted from 1); "loss" is the weighted sum."""
        if not self.active:
            return
        for name, value in losses.items():
            self.sums[name] += value
        self.count += 1
        self.bar.set_postfix(loss=f"{losses['loss']:.4f}", refresh=False)
        self.bar.update()
        if step % self.log_every == 0:
            for name, value in losses.items():
                if not math.isnan(value):
                    self.writer.add_scalar(f"train/{name}", value, step)
            self.writer.add_scalar("train/lr", lr, step)

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
            self.writer.add_scalar(f"val/{name}", value, step)
        parts += [f"lr {lr:.2e}", f"{seconds:.1f} s", f"peak {peak_memory(self.device):.2f} GB"]
        self.say(" | ".join(parts))
        self._reset()

    def close(self) -> None:
        """Ends the bar and the event file."""
        self.bar.close()
        if self.writer is not None:
            self.writer.close()
