"""Training the transformers: tokens and captions -> named losses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from engine.task import Task
from models.rag.conditions import ConditionSource
from models.transformer.condition import Condition
from models.transformer.masked import MaskedTransformer
from models.transformer.residual import ResidualTransformer

VALIDATION_SEED = 7


class TokenTask(Task):
    """What both transformers share: conditions, their random withholding, and validation with a fixed seed."""

    best = {"loss": "min"}

    def __init__(self, model: MaskedTransformer | ResidualTransformer, conditions: ConditionSource):
        super().__init__()
        self.model = model
        self.conditions = conditions
        self.loss_weights = {"cross_entropy": 1.0}

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """batch: tokens (B, N, J, Q), mask (B, N), caption_index (B,)."""
        config = self.model.config
        condition = self.conditions.batch(batch["caption_index"], vary=True).to(batch["tokens"].device)
        condition = condition.randomly_withheld(
            config.cond_drop_prob, config.text_drop_prob, config.retrieval_drop_prob
        )
        loss, accuracy = self._loss(batch["tokens"], batch["mask"], condition)
        return {"cross_entropy": loss, "metric/accuracy": accuracy}

    def _loss(self, tokens: Tensor, mask: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    @torch.no_grad()
    def validate(self, loader: Iterable[dict[str, Any]]) -> dict[str, float]:
        """Loss and accuracy with the whole condition, and the loss without text, without retrieval, without both."""
        views: dict[str, Callable[[Condition], Condition]] = {
            "": lambda condition: condition,
            "_without_text": lambda condition: condition.withheld(text=True),
            "_without_retrieval": lambda condition: condition.withheld(retrieval=True),
            "_without_both": lambda condition: condition.withheld(text=True, retrieval=True),
        }
        sums = dict.fromkeys([*(f"loss{view}" for view in views), "accuracy"], 0.0)
        samples = 0
        for number, batch in enumerate(loader):
            whole = self.conditions.batch(batch["caption_index"]).to(batch["tokens"].device)
            size = len(batch["tokens"])
            samples += size
            for view, change in views.items():
                # The same holes for every view and every validation.
                with torch.random.fork_rng():
                    torch.manual_seed(VALIDATION_SEED + number)
                    loss, accuracy = self._loss(batch["tokens"], batch["mask"], change(whole))
                sums[f"loss{view}"] += float(loss) * size
                if not view:
                    sums["accuracy"] += float(accuracy) * size
        return {name: value / max(samples, 1) for name, value in sums.items()}


class MaskedTask(TokenTask):
    """Cross-entropy of the masked base tokens."""

    def _loss(self, tokens: Tensor, mask: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        return self.model.loss(tokens[..., 0], mask, condition)


class ResidualTask(TokenTask):
    """Cross-entropy of the codes of one random level a sample."""

    def _loss(self, tokens: Tensor, mask: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        levels = self.model.draw_levels(len(tokens), tokens.device)
        return self.model.loss(tokens, levels, mask, condition)
