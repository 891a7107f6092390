"""What `benchmarks.health` looks at while a stage trains, besides the numbers that the training itself reports.

Letters: B batch, Q quantisers, R cells of a batch, D channels.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.instruments import GradientNorms, SavedForBackward, attention_to_memory
from engine.harness import Harness
from engine.health import HealthMonitor
from engine.probes import token_spread, watched
from engine.retriever_task import RetrieverTask
from engine.token_tasks import TokenTask
from engine.validation import validate
from engine.vq_task import VQTask
from models.vq.quantizer import Quantized
from Part_TMR.losses import not_negatives
from Part_TMR.momentum_model import Keys

PROBED_SAMPLES = 32
Row = dict[str, float]


class Recorder(HealthMonitor):
    """The harness's monitor, which also keeps the means of every `every` steps and what a probe finds there."""

    def __init__(self, harness: Harness, every: int) -> None:
        super().__init__(harness.task.healthy, every)
        self.probe = probe_of(harness)
        self.gradients = GradientNorms(harness.task.model)
        self.rows: list[Row] = []
        self.losses: list[float] = []
        self.validation: Row = {}
        self.start, self.seconds = time.perf_counter(), 0.0
        self.saved = SavedForBackward(harness.task.model)
        self.saved_bytes = 0  # most of a step's

    def after_step(self, step: int, numbers: Mapping[str, float]) -> list[str]:
        self.losses.append(numbers["loss"])
        self.seconds = time.perf_counter() - self.start
        self.saved_bytes = max(self.saved_bytes, self.saved.take())
        self.gradients.active = (step + 1) % self.every == 0
        return super().after_step(step, numbers)

    def after_validation(self, step: int, metrics: Mapping[str, float]) -> list[str]:
        self.validation = dict(metrics)
        return super().after_validation(step, metrics)

    def _news(self, step: int, numbers: Mapping[str, float]) -> list[str]:
        if "metric/gradient_norm" in numbers:  # of steps, not of a validation
            norms = {f"gradient/{name}": norm for name, norm in self.gradients.take().items()}
            self.rows.append({"step": step, **numbers, **norms, **self.probe()})
            numbers = self.rows[-1]
        return super()._news(step, numbers)

    def verdict(self) -> dict[str, str | None]:
        """Each kind of range with its complaint about the end of the training, however early that was."""
        last = {**(self.rows[-1] if self.rows else {}), **self.validation}
        return {healthy.kind: healthy.complaint(last) for healthy in self.ranges}


def probe_of(harness: Harness) -> Callable[[], Row]:
    """The probe that fits the harness's task."""
    if isinstance(harness.task, VQTask):
        return CodebookProbe(harness.task)
    if isinstance(harness.task, RetrieverTask):
        return QueueProbe(harness.task, harness.settings.batch_size)
    return TransformerProbe(harness)


class CodebookProbe:
    """Of the last step that used all levels: the share of the codes that were chosen, and of vectors with the nearest.

    Training draws codes at random by their distance: where hardly any vector gets its nearest, tokens are noise.
    """

    def __init__(self, task: VQTask) -> None:
        self.quantizer = task.model.quantizer
        self.last: tuple[Tensor, Tensor] | None = None  # latents (R, D) of the valid cells, codes (R, Q)
        self.quantizer.register_forward_hook(self._keep)

    def _keep(self, _module: nn.Module, inputs: tuple[Tensor, Tensor], output: Quantized) -> None:
        latent, mask = inputs
        codes = output.codes[mask]
        if (codes >= 0).all():
            self.last = latent.detach()[mask].flatten(0, 1), codes.flatten(0, 1)

    @torch.no_grad()
    def __call__(self) -> Row:
        if self.last is None:
            return {}
        residual, codes = self.last
        row: Row = {}
        for number, (level, chosen) in enumerate(zip(self.quantizer.levels, codes.unbind(-1), strict=True)):
            row[f"use/{number}"] = chosen.unique().numel() / len(level.codes)
            row[f"nearest/{number}"] = float((level.nearest(residual) == chosen).float().mean())
            residual = residual - level.codes[chosen]
        return row


class TransformerProbe:
    """On some validation samples: losses without parts of the condition, spread of tokens, attention to retrieval."""

    def __init__(self, harness: Harness) -> None:
        self.task: TokenTask = harness.task
        count = min(PROBED_SAMPLES, len(harness.val_dataset))
        batch = harness.collate([harness.val_dataset[index] for index in range(count)])
        self.batch = {name: value.to(harness.device) for name, value in batch.items()}

    @torch.no_grad()
    def __call__(self) -> Row:
        model = self.task.model
        stack = model.transformer
        judge, self.task.judge = self.task.judge, None
        with watched(stack.ssta) as attended, watched(stack.feed_forwards) as fed:
            row: Row = {f"val/{name}": value for name, value in validate(self.task, [self.batch]).items()}
        self.task.judge = judge
        # The first pass is that with the whole condition.
        cells = self.batch["mask"].repeat_interleave(model.n_parts, dim=1)
        for layer, (_, rows) in enumerate(fed[: len(stack.feed_forwards)]):
            row[f"spread/{layer}"] = float(token_spread(rows, cells))
        return row | self._attention([inputs for inputs, _ in attended[: len(stack.ssta)]])

    def _attention(self, inputs: list[tuple[Any, ...]]) -> Row:
        config = self.task.model.config
        if config.retrieved == "none":
            return {}
        condition = self.task.conditions.batch(self.batch["caption_index"])
        first = condition.text_states.shape[1] if config.text_states and condition.text_states is not None else 0
        row: Row = {}
        for layer, (attention, given) in enumerate(zip(self.task.model.transformer.ssta, inputs, strict=True)):
            share, equal = (values.mean() for values in attention_to_memory(attention, *given, first))
            row[f"attention/{layer}"] = float(share)
            row["attention/equal"] = float(equal)
            row["attention/retrieved"] = max(row.get("attention/retrieved", 0.0), float(share))
        return row


class QueueProbe:
    """What the queue holds: how many negatives there are among it, how alike they are, and whether age tells them."""

    def __init__(self, task: RetrieverTask, batch_size: int) -> None:
        self.task, self.batch_size = task, batch_size

    @torch.no_grad()
    def __call__(self) -> Row:
        if self.task.momentum is None or not len((keys := self.task.momentum.queue.contents()).takes):
            return {}
        queue = self.task.momentum.queue
        age = (int(queue.added) - 1 - torch.arange(len(keys.takes), device=keys.takes.device)) % queue.size
        order = age.argsort()
        newest = Keys(*(entry[order[: self.batch_size]] for entry in keys))
        ignored = not_negatives(newest.takes, newest.captions, keys.takes, keys.captions)
        row: Row = {
            "queue/filled": len(keys.takes) / queue.size,
            "queue/negatives": float((~ignored).float().mean()),
            "queue/distinct_takes": keys.takes.unique().numel(),
            "queue/distinct_captions": keys.captions.unique().numel(),
        }
        similarity = (newest.text.float() @ keys.motion.float().T).masked_fill(ignored, math.nan)
        eighth = -(-len(order) // 8)
        for name, part in (("newest", order[:eighth]), ("oldest", order[-eighth:])):
            row[f"queue/similarity_{name}"] = float(similarity[:, part].nanmean())
            row[f"queue/hardest_{name}"] = float(similarity[:, part].nan_to_num(-1.0).amax(dim=1).mean())
        return {name: value for name, value in row.items() if math.isfinite(value)}
