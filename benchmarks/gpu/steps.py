"""Training steps of a stage, measured: samples a second, memory, idle device, hidden synchronisations."""

from __future__ import annotations

import contextlib
import gc
import statistics
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.autograd import DeviceType

from benchmarks.gpu.report import Row
from benchmarks.gpu.stages import Stage, build_stage
from engine.harness import Harness
from engine.progress import peak_memory
from engine.schedule import seed_everything

ROOT = Path(__file__).parents[2]
SYNCHRONISED = "called a synchronizing CUDA operation"


class Plan(NamedTuple):
    """Steps of a measurement, in this order. The first ones start libraries, fill codebooks and may wait."""

    warm: int
    watched: int
    timed: int
    profiled: int


PLAN, TINY_PLAN = Plan(4, 2, 10, 2), Plan(1, 1, 2, 1)


class SyncWatch:
    """Notes where a step makes the host wait for the GPU. On a CPU it sees nothing.

    Attributes:
        found: place in our code -> how often.
    """

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        self.found: Counter[str] = Counter()
        self.active = False

    @classmethod
    def works(cls, device: torch.device) -> bool:
        """Whether a deliberate synchronisation is noted."""
        watch = cls(device)
        with watch.watching():
            torch.ones(1, device=device).item()
        return bool(watch.found)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Synchronising operations in here are noted."""
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = self._note
            self.active = True
            self._set_mode("warn")
            try:
                yield
            finally:
                self._set_mode("default")
                self.active = False

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        """In here they are not noted."""
        active = self.active
        if active:
            self._set_mode("default")
        try:
            yield
        finally:
            if active:
                self._set_mode("warn")

    def _set_mode(self, mode: str) -> None:
        if self.cuda:
            torch.cuda.set_sync_debug_mode(mode)

    def _note(self, message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any) -> None:
        if SYNCHRONISED not in str(message):
            return
        frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_stack()]
        own = [
            f"{path.relative_to(ROOT)}:{number}"
            for path, number in frames
            if path.is_relative_to(ROOT) and "site-packages" not in path.parts and path != Path(__file__)
        ]
        self.found[own[-1] if own else f"{filename}:{lineno}"] += 1


class MeasuredHarness(Harness):
    """A harness that notes losses and times of its steps, watches some of them and profiles the last ones."""

    def measure(self, plan: Plan) -> None:
        """Must be called before `fit`."""
        self.timing = plan
        self.starts: list[float] = []
        self.watch = SyncWatch(self.device)
        self.profiler: torch.profiler.profile | None = None

    def _train_step(self, *arguments: Any) -> None:
        number, (warm, watched, timed, _) = len(self.starts), self.timing
        self.starts.append(time.perf_counter())
        if number == warm + watched + timed:
            self._synchronise()
            on = torch.profiler.ProfilerActivity
            self.profiler = torch.profiler.profile(activities=[on.CUDA if self.device.type == "cuda" else on.CPU])
            self.profiler.start()
        with self.watch.watching() if warm <= number < warm + watched else contextlib.nullcontext():
            super()._train_step(*arguments)
        if self.step == self.total_steps and self.profiler is not None:
            self._synchronise()
            self.profiler.stop()

    def _agree(self, *arguments: Any) -> dict[str, float]:
        with self.watch.allowed():
            return super()._agree(*arguments)

    def _synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    @property
    def step_seconds(self) -> float:
        """Median time from one step's start to the next one's, loading included."""
        first = self.timing.warm + self.timing.watched
        starts = self.starts[first : first + self.timing.timed + 1]
        return statistics.median(after - before for before, after in zip(starts, starts[1:], strict=False))

    @property
    def device_seconds(self) -> float | None:
        """Time a step in which the GPU was at work; None if the profiler saw none."""
        spans = [
            (event.time_range.start, event.time_range.end)
            for event in self.profiler.events()
            if event.device_type == DeviceType.CUDA and not getattr(event, "is_user_annotation", False)
        ]
        return covered(spans) / 1e6 / self.timing.profiled if spans else None


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union of intervals: what runs side by side counts once."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def measured_training(stage: Stage, device: torch.device, precision: str, plan: Plan) -> MeasuredHarness:
    """Trains a stage for the steps of a measurement."""
    steps = sum(plan)
    settings = replace(stage.options.train, mixed_precision=precision, max_epoch=steps, max_steps=steps)
    with tempfile.TemporaryDirectory(prefix="gpu_check_") as folder:
        harness = MeasuredHarness(folder, stage.task, stage.dataset, None, settings, stage.collate, device)
        harness.measure(plan)
        harness.fit()
    return harness


def step_rows(name: str, tiny: bool, device_name: str) -> Iterator[Row]:
    """A stage's training in single and in half precision."""
    device = torch.device(device_name)
    plan = TINY_PLAN if tiny else PLAN
    if device.type == "cuda" and not SyncWatch.works(device):
        yield Row(
            "watch over synchronisations", False, {}, "a deliberate one was not noted: the zeros below say nothing"
        )
    for precision, shown in (("no", "fp32"), ("bf16", "bf16")):
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        seed_everything(0)
        stage = build_stage(name, tiny, batches=sum(plan))
        try:
            yield _row(measured_training(stage, device, precision, plan), stage, shown)
        except torch.OutOfMemoryError:
            size = stage.options.train.batch_size
            yield Row(f"{name}, {shown}", False, {"batch": size}, "a batch does not fit the GPU's memory")


def _row(harness: MeasuredHarness, stage: Stage, precision: str) -> Row:
    batch_size, seconds, busy = stage.options.train.batch_size, harness.step_seconds, harness.device_seconds
    found = harness.watch.found
    figures = {
        "batch": batch_size,
        "samples a second": batch_size / seconds,
        "step, ms": 1000 * seconds,
        "memory, GB": peak_memory(harness.device),
        "device idle": None if busy is None else max(0.0, 1 - busy / seconds),
        "hidden synchronisations": sum(found.values()) if harness.watch.cuda else None,
    }
    places = ", ".join(f"{place} ({count}x)" for place, count in found.most_common())
    return Row(f"{stage.name}, {precision}", not found, figures, f"the host waits in {places}" if places else "")
