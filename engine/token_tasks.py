"""Training the transformers: tokens and captions -> named losses."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from engine.health import transformer_ranges
from engine.judge import FrechetJudge
from engine.loading import fetch_texts
from engine.probes import token_spread, watched
from engine.task import Task
from models.configs import SamplingSettings
from models.rag.conditions import ConditionSource
from models.transformer.condition import Condition
from models.transformer.masked import MaskedTransformer
from models.transformer.residual import ResidualTransformer
from models.transformer.sampling import Noise, sample_base, sample_residual
from models.transformer.token_grid import CellLoss
from utils.processes import Draws, relative_weight

VALIDATION_SEED = 7
SPREAD_SAMPLES = 8  # of a batch, whose tokens' spread is measured


class TokenTask(Task):
    """What both transformers share: conditions, their random withholding, and validation with a fixed seed.

    Args:
        model: what is trained.
        conditions: of the numbered captions.
        decode: codes (B, N, J, q) and steps (B,) -> raw features (T, D) each.
        judge: scores the motions generated for the validation captions, or None: the loss alone picks checkpoints.
    """

    def __init__(
        self,
        model: MaskedTransformer | ResidualTransformer,
        conditions: ConditionSource,
        decode: Callable[[Tensor, Tensor], list[np.ndarray]],
        judge: FrechetJudge | None = None,
    ):
        super().__init__()
        self.model = model
        self.conditions, self.decode, self.judge = conditions, decode, judge
        self.loss_weights = {"cross_entropy": 1.0}
        self.best = {"loss": "min"} if judge is None else {"fid": "min", "loss": "min"}
        self.healthy = transformer_ranges(model.config.retrieved != "none")

    def host_fetcher(self) -> Callable[[Any], dict[str, Any]]:
        """Adds `texts`."""
        return partial(fetch_texts, self.conditions.texts)

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """batch: tokens (B, N, J, Q), mask (B, N), caption_index (B,), and the fetched texts."""
        config, draws = self.model.config, Draws(len(batch["tokens"]), batch["tokens"].device)
        condition = self.conditions.batch(batch["caption_index"], draws, batch["texts"])
        condition = condition.randomly_withheld(
            config.cond_drop_prob, config.text_drop_prob, config.retrieval_drop_prob, draws
        )
        with watched([self.model.transformer]) as calls:
            found = self._loss(batch["tokens"], batch["mask"], condition, draws)
        weight = relative_weight(found.cells)
        cells = batch["mask"][:SPREAD_SAMPLES].repeat_interleave(self.model.n_parts, dim=1)
        _, rows = calls[0]
        spread = token_spread(rows[:SPREAD_SAMPLES], cells)
        return {
            "cross_entropy": found.loss * weight,
            "metric/accuracy": found.accuracy * weight,
            "metric/token_spread": spread,
        }

    def _loss(self, tokens: Tensor, mask: Tensor, condition: Condition, draws: Draws) -> CellLoss:
        raise NotImplementedError

    def _generated(self, tokens: Tensor, steps: Tensor, condition: Condition) -> Tensor:
        """Codes (B, N, J, q) that the model makes of a condition."""
        raise NotImplementedError

    def validate_batch(self, batch: dict[str, Any], number: int) -> dict[str, Any]:
        """Losses with the whole condition and without parts of it, and what the judge sees of generated motions."""
        device = batch["tokens"].device
        whole = self.conditions.batch(batch["caption_index"]).to(device)
        views = {
            "": whole,
            "_without_text": whole.withheld(text=True),
            "_without_retrieval": whole.withheld(retrieval=True),
            "_without_both": whole.withheld(text=True, retrieval=True),
        }
        record: dict[str, Any] = {"size": len(batch["tokens"])}
        for view, condition in views.items():
            # The same holes for every view and every validation.
            draws = Draws(record["size"], device, VALIDATION_SEED + number, shared=False)
            found = self._loss(batch["tokens"], batch["mask"], condition, draws)
            record[f"loss{view}"] = float(found.loss)
            if not view:
                record["accuracy"] = float(found.accuracy)
        if self.judge is not None:
            steps = batch["mask"].sum(dim=1).cpu()
            record["judged"] = self.judge.embed(self.decode(self._generated(batch["tokens"], steps, whole), steps))
        return record

    def summarise(self, records: list[dict[str, Any]]) -> dict[str, float]:
        """Loss and accuracy with the whole condition, the loss without parts of it, and with a judge the FID."""
        samples = sum(record["size"] for record in records)
        names = [name for name in records[0] if name not in ("size", "judged")]
        metrics = {name: sum(record[name] * record["size"] for record in records) / samples for name in names}
        if self.judge is not None:
            metrics["fid"] = self.judge.distance([record["judged"] for record in records])
        return metrics


class MaskedTask(TokenTask):
    """Cross-entropy of the masked base tokens."""

    def _loss(self, tokens: Tensor, mask: Tensor, condition: Condition, draws: Draws) -> CellLoss:
        return self.model.loss(tokens[..., 0], mask, condition, draws)

    def _generated(self, tokens: Tensor, steps: Tensor, condition: Condition) -> Tensor:
        noise = Noise(range(len(steps)), steps)
        return sample_base(self.model, condition, steps, noise, SamplingSettings())[..., None]


class ResidualTask(TokenTask):
    """Cross-entropy of the codes of one random level a sample."""

    def _loss(self, tokens: Tensor, mask: Tensor, condition: Condition, draws: Draws) -> CellLoss:
        return self.model.loss(tokens, mask, condition, draws)

    def _generated(self, tokens: Tensor, steps: Tensor, condition: Condition) -> Tensor:
        return sample_residual(self.model, tokens[..., 0], condition, steps, SamplingSettings())
