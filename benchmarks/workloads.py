"""The work that a user waits for, of a preset's sizes with random weights: training steps, coding, generation.

Letters: B batch, T frames, N token steps.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu.stages import STAGES, Stage, build_stage
from engine.schedule import seed_everything
from models.configs import SamplingSettings
from models.rag.database import Embedded, Entry, RAGDatabase
from models.transformer.sampling import Noise, sample_base, sample_residual
from models.vq.tokenise import decode_motions

FRAMES = 196
EMBEDDED_FRAMES = 224  # what the published retriever pads a motion to
STEP_SAMPLES = 8  # what a CPU can do; a sample costs the same in any batch
COUNTED = 8
LIBRARY_ROWS, CAPTIONS_A_MOTION, TOP = 66_912, 3, 10  # the training captions of HumanML3D
QUERIES = 64
PLAIN = SamplingSettings()
ROOT = Path(__file__).parents[1]
WORKLOADS = (*STAGES, "generation", "retrieval", "demo")


@dataclass(frozen=True)
class Workload:
    """One kind of work.

    Attributes:
        name: as the table shows it.
        samples: what one call of the job does.
        job: does it.
        counted: whether its operations run in this process and were not counted before.
    """

    name: str
    samples: int
    job: Callable[[], object]
    counted: bool = True


def workloads(kind: str, preset: str, device: torch.device, at_once: Sequence[int]) -> Iterator[Workload]:
    """The work of a stage (or of `generation` of so many motions at once, `retrieval`, `demo`) at a preset's sizes."""
    seed_everything(0)
    if kind == "generation":
        generator = Generator(preset, max(at_once), device)
        for samples in at_once:
            job = partial(generator, samples)
            # In company they share the first pass that is told nothing: what that saves shows with few.
            yield Workload(f"generate {FRAMES} frames, {samples} at once", samples, job, counted=samples <= COUNTED)
    elif kind == "retrieval":
        yield from _retrieval(preset, device)
    elif kind == "demo":
        yield Workload("demo.py, start to files", 1, _demo, counted=False)
    else:
        stage = build_stage(kind, False, flags=["--batch_size", str(STEP_SAMPLES)], preset=preset, frames=FRAMES)
        yield Workload(f"{kind} training step", STEP_SAMPLES, training_step(stage, device))
        if kind == "vq":
            yield from _coding(stage.task.model.eval(), device)
        if kind == "tmr":
            motion = torch.randn(1, EMBEDDED_FRAMES, stage.task.model.form.n_features, device=device)
            mask = torch.ones(motion.shape[:2], dtype=torch.bool, device=device)
            embed = torch.no_grad()(partial(stage.task.model.eval().encode_motion, motion, mask))
            yield Workload(f"tmr embed {EMBEDDED_FRAMES} frames", 1, embed)


def training_step(stage: Stage, device: torch.device) -> Callable[[], None]:
    """Forward, backward and optimiser on one batch: always the same random numbers."""
    task = stage.task.to(device).train()
    batch = _to(stage.batch(), device)
    optimizer = torch.optim.AdamW(task.parameter_groups(1e-5), fused=True)

    def step() -> None:
        seed_everything(0)
        task.weighted_sum(task(batch)).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        task.after_step()

    return step


def _to(batch: object, device: torch.device) -> object:
    from accelerate.utils import send_to_device

    return send_to_device(batch, device)


def _coding(vq: nn.Module, device: torch.device) -> Iterator[Workload]:
    features = torch.randn(1, FRAMES, vq.form.n_features, device=device)
    with torch.no_grad():
        codes = vq.encode(features)
    yield Workload(f"vq encode {FRAMES} frames", 1, torch.no_grad()(lambda: vq.encode(features)))
    yield Workload(f"vq decode {FRAMES} frames", 1, torch.no_grad()(lambda: vq.decode(codes)))


class Generator:
    """Untrained models of a preset, from conditions to features.

    Args:
        preset: whose sizes.
        most: motions at once.
        device: where they run.
        tiny: the tiny sizes of the GPU check instead.
        frames: of every motion; the tiny ones are shorter.
        flags: more flags, a stage.
    """

    def __init__(
        self,
        preset: str,
        most: int,
        device: torch.device,
        tiny: bool = False,
        frames: int = FRAMES,
        flags: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        def stage(name: str, size: int, **sizes: Any) -> Stage:
            return build_stage(name, tiny, flags=["--batch_size", str(size), *flags.get(name, ())], **sizes)

        sizes = {"preset": preset, "frames": None if tiny else frames}
        stages = [stage(name, most, **sizes) for name in ("mtrans", "rtrans")]
        self.vq = stage("vq", 1, preset=preset).task.model.to(device).eval()
        self.tasks, self.device = [stage.task.to(device).eval() for stage in stages], device
        for task in self.tasks:
            conditions = task.conditions
            if conditions.database is not None:
                conditions.database, conditions.pool = conditions.database.to(device), conditions.pool.to(device)
        self.n_steps = stages[0].batch(1)["tokens"].shape[1]
        self.frames = self.n_steps * self.vq.frames_per_step

    def __call__(self, count: int, settings: SamplingSettings = PLAIN) -> Tensor:
        """Makes the codes and the features of `count` motions of the full length; returns the codes (B, N, J, Q)."""
        index, steps = torch.arange(count, device=self.device), torch.full((count,), self.n_steps)
        masked, residual = self.tasks
        conditions = [task.conditions.batch(index).to(self.device) for task in self.tasks]
        base = sample_base(masked.model, conditions[0], steps, Noise(range(count), steps), settings)
        codes = sample_residual(residual.model, base, conditions[1], steps, settings)
        decode_motions(self.vq, codes, steps)
        return codes


def _retrieval(preset: str, device: torch.device) -> Iterator[Workload]:
    width = build_stage("tmr", False, flags=["--batch_size", "1"], preset=preset).options.model.embed_dim
    motions = LIBRARY_ROWS // CAPTIONS_A_MOTION
    entries = tuple(Entry(f"{n:06d}", f"{n:06d}", ("a caption",) * CAPTIONS_A_MOTION) for n in range(motions))
    rows = [nn.functional.normalize(torch.randn(n, width), dim=-1) for n in (LIBRARY_ROWS, motions, QUERIES)]
    database = RAGDatabase(Embedded(entries, rows[0], rows[1], torch.zeros(motions, 6, 1)), {}).to(device)
    queries = rows[2].to(device)
    for count in (1, QUERIES):
        yield Workload(
            f"retrieve, {LIBRARY_ROWS:,} rows, {count} at once", count, partial(database.search, queries[:count], TOP)
        )


def _demo() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "demo.py", "--text_prompt", "a person waves", "--output_dir", folder]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
