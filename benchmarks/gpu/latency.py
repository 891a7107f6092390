"""How long a motion takes, alone and in batches."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.figures import median_seconds
from benchmarks.gpu.parity import FRAMES, PROMPTS
from benchmarks.gpu.report import Row
from benchmarks.workloads import Generator
from engine.schedule import seed_everything
from pipeline import TextToMotion

BATCHES, TINY_BATCHES = (1, 8, 32), (1, 3)
REPEATS, TINY_REPEATS = 7, 1


def latency_rows(tiny: bool, device_name: str) -> Iterator[Row]:
    """The shipped models from the prompt to joints, then models of the paper's sizes from conditions to features."""
    device = torch.device(device_name)
    batches, repeats = (TINY_BATCHES, TINY_REPEATS) if tiny else (BATCHES, REPEATS)
    t2m = TextToMotion.load(device=device)
    prompts = [f"{prompt} {number}" for number, prompt in enumerate(PROMPTS * 2)]
    for batch in batches:
        chosen = prompts[:batch]
        seconds = median_seconds(lambda chosen=chosen: t2m.generate(chosen, FRAMES), repeats)
        yield _row("shipped models, prompt to joints", batch, FRAMES, seconds)
    seed_everything(0)
    generate = Generator("paper", max(batches), device, tiny)
    what = "tiny models" if tiny else "paper's sizes, random weights"
    for batch in batches:
        seconds = median_seconds(partial(generate, batch), repeats)
        yield _row(f"{what}, condition to features", batch, generate.frames, seconds)


def _row(what: str, batch: int, frames: int, seconds: float) -> Row:
    figures = {"batch": batch, "frames": frames, "seconds": seconds, "motions a second": batch / seconds}
    return Row(what, None, figures)
