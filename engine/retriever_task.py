"""Training the retriever: motions and captions -> contrastive losses. Legend: B batch, N keys, D embedding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from engine.health import retriever_ranges
from engine.task import Task
from Part_TMR.evaluation import caption_numbers
from Part_TMR.losses import info_nce, not_negatives, part_info_nce
from Part_TMR.model import RetrieverModel
from Part_TMR.momentum_model import Keys, MomentumModel, of_all
from Part_TMR.ranking import both_directions
from utils.processes import gathered, own_rows, relative_weight

if TYPE_CHECKING:
    from models.text_encoder import TextFeatures, TextFeatureStore

TEXT_BATCH = 256
IN_BATCH = "the loss compares the samples of a batch with each other, and pieces would have fewer to compare"


class CaptionTexts:
    """The captions of a split: features that were computed once, or the sentences for a trained text encoder.

    Args:
        captions: every caption of the split.
        clips: (n_captions,) whose caption it is, a clip index.
        store: features of a frozen text encoder in the order of the captions; none: sentences are given out.
    """

    def __init__(self, captions: Sequence[str], clips: np.ndarray, store: TextFeatureStore | None) -> None:
        self.captions = list(captions)
        self.clips = np.asarray(clips)
        self.store = store
        self.distinct = torch.from_numpy(caption_numbers(captions))

    def rows(self, indices: Tensor, device: torch.device) -> TextFeatures | list[str]:
        """What `RetrieverModel.encode_text` takes, for caption indices (B,)."""
        if self.store is None:
            return [self.captions[index] for index in indices.tolist()]
        return self.store.rows(indices.cpu()).to(device)

    def embedded(self, model: nn.Module) -> Tensor:
        """All captions as `model.encode_text` embeds them, (n_captions, D) on the CPU."""
        device, numbers = model.normalizer.mean.device, torch.arange(len(self.captions))
        chunks = (model.encode_text(self.rows(chunk, device)) for chunk in numbers.split(TEXT_BATCH))
        return torch.cat([chunk.float().cpu() for chunk in chunks])

    def fetch(self, indices: Tensor) -> dict[str, Any]:
        """`texts` as `rows` gives them and `caption` (B,), the number of the distinct caption, both on the host."""
        return {"texts": self.rows(indices, torch.device("cpu")), "caption": self.distinct[indices]}

    def fetch_batch(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        """`fetch` for the batch's `caption_index` (B,)."""
        return self.fetch(batch["caption_index"])


class RetrieverTask(Task):
    """InfoNCE text -> motion and motion -> text, against momentum keys of the batch and the queue (or the batch alone).

    Batches are those of `MotionTextDataset`. Validation ranks all motions of the split for each caption, and back.
    The captions and motions of a process meet the keys of all. A piece of a step meets its own keys and the queue;
    losses that know no queue need the whole batch.
    """

    best = {"r1": "max"}
    healthy = retriever_ranges()
    # The queues are the same in all processes: every process adds the keys of all.
    distributed = {"find_unused_parameters": True, "broadcast_buffers": False}

    def __init__(
        self,
        model: RetrieverModel,
        texts: CaptionTexts,
        validation_texts: CaptionTexts | None,
        motion_lr_factor: float = 1.0,
        text_lr_factor: float = 1.0,
        head_lr_factor: float = 1.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.momentum = MomentumModel(model) if model.config.queue_size else None
        self.texts = texts
        self.validation_texts = validation_texts
        self.lr_factors = {"motion_encoder.encoder": motion_lr_factor, "text_backbone": text_lr_factor}
        self.head_lr_factor = head_lr_factor
        self.loss_weights = {"text_to_motion": 0.5, "motion_to_text": 0.5}
        if model.text_to_parts is not None:
            self.loss_weights["parts"] = model.config.lambda_part
        if self.momentum is None or model.text_to_parts is not None:
            self.indivisible = IN_BATCH
        self._step_keys: list[Keys] = []

    def host_fetcher(self) -> Callable[[Any], dict[str, Any]]:
        """Adds `texts` and `caption`."""
        return self.texts.fetch_batch

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """batch: motion (B, T, D), mask (B, T), take_index (B,), and what was fetched: texts, caption (B,)."""
        takes, captions, features = batch["take_index"], batch["caption"], batch["texts"]
        tokens = self.model.part_tokens(batch["motion"], batch["mask"])
        encoded = self.model.motion_encoder.encode(tokens)
        texts, own = self.model.encode_text(features), own_rows(len(takes), takes.device)
        if self.momentum is None:
            keys = of_all(Keys(encoded.motion, texts, takes, captions))
        else:
            with torch.no_grad():
                former = self.momentum.model
                motion_keys = former.motion_encoder.encode(tokens).motion
                in_batch = of_all(Keys(motion_keys, former.encode_text(features), takes, captions))
            self._step_keys.append(in_batch)
            keys = in_batch.followed_by(self.momentum.queue.contents())
        ignored = self._ignored(takes, captions, keys)
        temperature = self.model.temperature
        losses = {
            "text_to_motion": info_nce(texts, keys.motion, ignored, temperature, own),
            "motion_to_text": info_nce(encoded.motion, keys.text, ignored, temperature, own),
        }
        motions = gathered(encoded.motion.detach())
        ignored = ignored[:, : len(motions)]
        if self.model.text_to_parts is not None:
            sides = self.model.texts_as_parts(texts), encoded.parts
            pairs = (sides[0], gathered(sides[1])), (sides[1], gathered(sides[0]))
            losses["parts"] = sum(part_info_nce(*pair, ignored, temperature, own) for pair in pairs) / 2
        return losses | self._similarities(texts.detach(), motions, ignored, own)

    def _similarities(self, texts: Tensor, motions: Tensor, ignored: Tensor, own: Tensor) -> dict[str, Tensor]:
        """Of captions (B, D) to their own motions and to those of the whole batch (N, D) that are not `ignored`
        (B, N)."""
        similarities = texts.float() @ motions.float().T
        is_own = torch.arange(len(motions), device=own.device) == own[:, None]
        negatives = ~(ignored | is_own)
        count = negatives.sum()
        metrics = {
            "metric/batch_r1": (similarities.argmax(dim=1) == own).float().mean(),
            "metric/positive_similarity": (similarities * is_own).sum() / len(texts),
            "metric/negative_similarity": (similarities * negatives).sum() / count * relative_weight(count),
        }
        if self.momentum is not None:
            metrics["metric/queue_fill"] = self.momentum.queue.filled_share
        return metrics

    def _ignored(self, takes: Tensor, captions: Tensor, keys: Keys) -> Tensor:
        """(B, N) keys that are no negatives."""
        if not self.model.config.remove_false_negatives:
            return torch.zeros(len(takes), len(keys.takes), dtype=torch.bool, device=takes.device)
        return not_negatives(takes, captions, keys.takes, keys.captions)

    def after_step(self) -> None:
        """The momentum copy follows, and the keys of all pieces of the step join the queue."""
        if self.momentum is not None:
            self.momentum.update(self.model, Keys(*map(torch.cat, zip(*self._step_keys, strict=True))))
            self._step_keys.clear()

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Motion encoders, text encoder and heads at their factors of `lr`; no decay of biases, norms and tokens."""
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for name, parameter in self.model.named_parameters():
            if not parameter.requires_grad:
                continue
            found = (value for prefix, value in self.lr_factors.items() if name.startswith(prefix))
            factor = next(found, self.head_lr_factor)
            decayed = parameter.squeeze().ndim >= 2 and not name.endswith(("bias", "norm.weight", "class_token"))
            groups.setdefault((factor, decayed), []).append(parameter)
        return [
            {"params": parameters, "lr": lr * factor} | ({} if decayed else {"weight_decay": 0.0})
            for (factor, decayed), parameters in groups.items()
        ]

    def weights_changed(self) -> None:
        """The momentum copy starts as the model does."""
        if self.momentum is not None:
            self.momentum.model.load_state_dict(self.model.state_dict())

    def validate_batch(self, batch: dict[str, Any], number: int) -> dict[str, Any]:
        """The embedded motions and which clips they are."""
        motion = self.model.encode_motion(batch["motion"], batch["mask"]).motion
        return {"motion": motion.float(), "clips": batch["clip_index"]}

    def summarise(self, records: list[dict[str, Any]]) -> dict[str, float]:
        """Recalls in percent and median ranks; `r1` is text -> motion."""
        motion, clips = (torch.cat([record[name] for record in records]) for name in ("motion", "clips"))
        right = self.validation_texts.clips[:, None] == clips.numpy()
        tables = both_directions((self.validation_texts.embedded(self.model) @ motion.T).numpy(), right)
        metrics = {"r1": tables["text_to_motion"]["R1"]}
        for direction, table in tables.items():
            metrics |= {f"{direction}/{name}": table[name] for name in ("R1", "R5", "R10", "MedR")}
        return metrics
