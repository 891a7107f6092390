"""How long a motion takes, alone and in batches. Letters: B batch, N token steps."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks.figures import median_seconds
from benchmarks.gpu.parity import FRAMES, PROMPTS
from benchmarks.gpu.report import Row
from benchmarks.gpu.stages import build_stage
from engine.schedule import seed_everything
from models.configs import SamplingSettings
from models.transformer.sampling import Noise, sample_base, sample_residual
from models.vq.tokenise import decode_motions
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
    stages = {name: build_stage(name, tiny, flags=["--batch_size", str(max(batches))]) for name in ("mtrans", "rtrans")}
    vq = build_stage("vq", tiny, flags=["--batch_size", "1"]).task.model.to(device).eval()
    masked, residual = (stage.task.to(device).eval() for stage in stages.values())
    for task in (masked, residual):
        database = task.conditions.database.to(device)
        task.conditions.database, task.conditions.pool = database, task.conditions.pool.to(device)
    n_steps = stages["mtrans"].batch(1)["tokens"].shape[1]
    for batch in batches:

        def generate(batch: int = batch) -> None:
            index, steps = torch.arange(batch, device=device), torch.full((batch,), n_steps)
            conditions = [task.conditions.batch(index).to(device) for task in (masked, residual)]
            base = sample_base(masked.model, conditions[0], steps, Noise(range(batch), steps), SamplingSettings())
            decode_motions(vq, sample_residual(residual.model, base, conditions[1], steps, SamplingSettings()), steps)

        what = "tiny models" if tiny else "paper's sizes, random weights"
        yield _row(
            f"{what}, condition to features", batch, n_steps * vq.frames_per_step, median_seconds(generate, repeats)
        )


def _row(what: str, batch: int, frames: int, seconds: float) -> Row:
    figures = {"batch": batch, "frames": frames, "seconds": seconds, "motions a second": batch / seconds}
    return Row(what, None, figures)
