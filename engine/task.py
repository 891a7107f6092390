"""What a stage tells the training harness: how a batch becomes named losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from engine.health import HealthyRange


class Task(nn.Module):
    """Base of all training tasks. The harness owns backward, clipping, precision, steps, schedule and checkpoints.

    A task is one module, so that it can be distributed as a whole. Everything registered in it (also outside `model`:
    momentum encoders, queues) is part of latest.tar and so of an exact resume.

    Attributes:
        model: what is trained, saved and exported.
        loss_weights: weight of each loss that `forward` returns, under the same names.
        best: validation metric -> "min" or "max"; each keeps a checkpoint net_best_<metric>.tar.
        healthy: ranges of the numbers that `forward` and `validate` report; the harness says when one is left.
        distributed: arguments of DistributedDataParallel. Buffers are broadcast from the first process at each step,
            unless a task synchronises its own and says so here.
        indivisible: why a step cannot be computed in pieces (`--accumulate`), "" where it can.
    """

    model: nn.Module
    loss_weights: dict[str, float] = {}
    best: dict[str, str] = {}
    healthy: tuple[HealthyRange, ...] = ()
    distributed: dict[str, Any] = {"find_unused_parameters": True, "broadcast_buffers": True}
    indivisible: str = ""

    def forward(self, batch: Any) -> dict[str, Tensor]:
        """Named scalar losses of a batch, unweighted. Entries named `metric/...` are only logged, those of three names
        (`metric/perplexity/2`) not in the epoch's line. They may be nan where there is nothing to tell.

        All randomness must come from torch's global generators: the harness seeds them at each step.
        """
        raise NotImplementedError

    def weighted_sum(self, losses: dict[str, Tensor]) -> Tensor:
        """What is minimised, of what `forward` returned.

        Raises:
            ValueError: a loss without a weight.
        """
        weights = self.loss_weights
        if unknown := [name for name in losses if name not in weights and not name.startswith("metric/")]:
            raise ValueError(f"{type(self).__name__} returned losses without a weight: {', '.join(unknown)}")
        return sum(weights[name] * loss.float() for name, loss in losses.items() if name in weights)

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Parameter groups for AdamW, each with its own `lr`; `weight_decay` is the harness's unless a group sets it.

        The default: the trainable parameters of `model`, no decay on biases, norms and other vectors.
        """
        trainable = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        groups = [
            {"params": [parameter for parameter in trainable if parameter.ndim >= 2], "lr": lr},
            {"params": [parameter for parameter in trainable if parameter.ndim < 2], "lr": lr, "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]

    def host_fetcher(self) -> Callable[[Any], dict[str, Any]] | None:
        """What adds to a training batch, as it was collated, entries that are kept in host memory; None: nothing.

        It is called in the loader's processes, must not hold the model and must not draw random numbers. To fetch in
        `forward` instead would make the host wait for the device in every step.
        """
        return None

    def after_step(self) -> None:
        """Called after each optimiser step, which may have had several forward passes: momentum updates, queues."""

    def weights_changed(self) -> None:
        """Called when `model` got other weights before the first step (`--init_from`): copies of it have to follow."""

    def validate_batch(self, batch: Any, number: int) -> dict[str, Any]:
        """What validation finds in one batch; in evaluation mode, without gradients, in one of the processes.

        Args:
            batch: of the validation set, on the task's device.
            number: of the batch. Randomness may depend on it, and torch's global generators are seeded by it.

        Returns:
            tensors, arrays and numbers, small enough to be sent to the first process (embeddings, not motions).
        """
        return {}

    def summarise(self, records: list[dict[str, Any]]) -> dict[str, float]:
        """The validation metrics, from what `validate_batch` found in all batches, in order; on the first process.

        Args:
            records: tensors are on the CPU.
        """
        return {}
