"""Training the transformers: tokens and captions -> named losses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.health import transformer_ranges
from engine.judge import FrechetJudge
from engine.probes import token_spread, watched
from engine.task import Task
from models.configs import SamplingSettings
from models.rag.conditions import ConditionSource
from models.transformer.condition import Condition
from models.transformer.masked import MaskedTransformer
from models.transformer.residual import ResidualTransformer
from models.transformer.sampling import Noise, sample_base, sample_residual

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

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """batch: tokens (B, N, J, Q), mask (B, N), caption_index (B,)."""
        config = self.model.config
        condition = self.conditions.batch(batch["caption_index"], vary=True).to(batch["tokens"].device)
        condition = condition.randomly_withheld(
            config.cond_drop_prob, config.text_drop_prob, config.retrieval_drop_prob
        )
        with watched([self.model.transformer]) as outputs:
            loss, accuracy = self._loss(batch["tokens"], batch["mask"], condition)
        cells = batch["mask"][:SPREAD_SAMPLES].repeat_interleave(self.model.n_parts, dim=1)
        spread = token_spread(outputs[0][:SPREAD_SAMPLES], cells)
        return {"cross_entropy": loss, "metric/accuracy": accuracy, "metric/token_spread": spread}

    def _loss(self, tokens: Tensor, mask: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def _generated(self, tokens: Tensor, steps: Tensor, condition: Condition) -> Tensor:
        """Codes (B, N, J, q) that the model makes of a condition."""
        raise NotImplementedError

    @torch.no_grad()
    def validate(self, loader: Iterable[dict[str, Any]]) -> dict[str, float]:
        """Loss and accuracy with the whole condition, the loss without parts of it, and with a judge the FID."""
        views: dict[str, Callable[[Condition], Condition]] = {
            "": lambda condition: condition,
            "_without_text": lambda condition: condition.withheld(text=True),
            "_without_retrieval": lambda condition: condition.withheld(retrieval=True),
            "_without_both": lambda condition: condition.withheld(text=True, retrieval=True),
        }
        sums = dict.fromkeys([*(f"loss{view}" for view in views), "accuracy"], 0.0)
        samples = 0
        motions: list[np.ndarray] = []
        for number, batch in enumerate(loader):
            size, device = len(batch["tokens"]), batch["tokens"].device
            whole = self.conditions.batch(batch["caption_index"]).to(device)
            samples += size
            for view, change in views.items():
                # The same holes for every view and every validation.
                with torch.random.fork_rng([device] if device.type == "cuda" else []):
                    torch.manual_seed(VALIDATION_SEED + number)
                    loss, accuracy = self._loss(batch["tokens"], batch["mask"], change(whole))
                sums[f"loss{view}"] += float(loss) * size
                if not view:
                    sums["accuracy"] += float(accuracy) * size
            if self.judge is not None:
                steps = batch["mask"].sum(dim=1).cpu()
                motions += self.decode(self._generated(batch["tokens"], steps, whole), steps)
        metrics = {name: value / max(samples, 1) for name, value in sums.items()}
        return metrics if self.judge is None else metrics | {"fid": self.judge(motions)}


class MaskedTask(TokenTask):
    """Cross-entropy of the masked base tokens."""

    def _loss(self, tokens: Tensor, mask: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        return self.model.loss(tokens[..., 0], mask, condition)

    def _generated(self, tokens: Tensor, steps: Tensor, condition: Condition) -> Tensor:
        noise = Noise(range(len(steps)), steps)
        return sample_base(self.model, condition, steps, noise, SamplingSettings())[..., None]


class ResidualTask(TokenTask):
    """Cross-entropy of the codes of one random level a sample."""

    def _loss(self, tokens: Tensor, mask: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        levels = self.model.draw_levels(len(tokens), tokens.device)
        return self.model.loss(tokens, levels, mask, condition)

    def _generated(self, tokens: Tensor, steps: Tensor, condition: Condition) -> Tensor:
        return sample_residual(self.model, tokens[..., 0], condition, steps, SamplingSettings())
