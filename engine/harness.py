"""The one training loop. Every stage uses it; what differs between stages is in their `Task`."""

from __future__ import annotations

import contextlib
import math
import signal
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs, broadcast_object_list
from torch import Tensor
from torch.utils.data import Dataset

from engine.health import HealthMonitor
from engine.loading import device_loader
from engine.progress import Progress
from engine.run_state import LATEST, best_name
from engine.schedule import VALIDATION_SALT, epoch_batches, learning_rate_factor, seed_everything
from engine.task import Task
from options.groups import TrainSettings
from utils.checkpoint import load_state, read_checkpoint, save_checkpoint
from utils.errors import UserError
from utils.files import read_json

INTERRUPTED_EXIT_CODE = 130
VALIDATION_TIMEOUT = timedelta(hours=3)  # the other processes wait while the first one validates


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM, at a point where the training state is consistent. No `except Exception` swallows it."""


class Harness:
    """Trains a task, with resume, validation, best checkpoints, mixed precision and several processes.

    Randomness is a function of (seed, step, process), the order of samples one of (seed, epoch): a run that is killed
    and started again continues with the same losses. A dataset may offer `set_epoch(epoch)` for its own random choices,
    and `lengths` (one a sample) so that samples of like length share a batch.

    Args:
        run_dir: the run's folder, see `engine.run_state.prepare_run`.
        task: what is trained.
        train_dataset: map-style dataset.
        val_dataset: the same, or None: no validation, no best checkpoints.
        settings: batch size, steps, optimiser, schedule, cadences.
        collate: list of samples -> batch; default torch's.
        device: where to run; default the first GPU if there is one.

    Raises:
        UserError: an empty training set, or settings that this machine or number of processes cannot do.
    """

    def __init__(
        self,
        run_dir: Path | str,
        task: Task,
        train_dataset: Dataset,
        val_dataset: Dataset | None,
        settings: TrainSettings,
        collate: Callable[[list[Any]], Any] | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        self.health = HealthMonitor(task.healthy)
        self.run_dir, self.task, self.settings, self.collate = Path(run_dir), task, settings, collate
        self.train_dataset, self.val_dataset = train_dataset, val_dataset
        device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if settings.mixed_precision == "fp16" and device.type != "cuda":
            raise UserError("--mixed_precision fp16 needs a GPU: use no or bf16")
        if not torch.distributed.is_initialized():
            AcceleratorState._reset_state(
                reset_partial_state=True
            )  # a former harness of this process may have set another
        if device.index is not None and device.type == "cuda":
            torch.cuda.set_device(device)
        self.accelerator = Accelerator(
            cpu=device.type == "cpu",
            mixed_precision=settings.mixed_precision,
            kwargs_handlers=[
                DistributedDataParallelKwargs(**task.distributed),
                InitProcessGroupKwargs(timeout=VALIDATION_TIMEOUT),
            ],
        )
        self.device = self.accelerator.device
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes
        if not len(train_dataset):
            raise UserError("the training set is empty: no clip of the train split can be used")
        try:
            self.steps_per_epoch = len(self._batches(0))
        except ValueError as error:
            raise UserError(f"--batch_size {settings.batch_size}: {error}") from error
        limit = settings.max_epoch * self.steps_per_epoch
        self.total_steps = min(limit, settings.max_steps) if settings.max_steps else limit
        self.step, self.epoch, self.batch_in_epoch = 0, 0, 0
        self.best: dict[str, float] = {}
        self._epoch_end_due = False  # steps were taken since the last validation and summary line
        self._interrupt = False  # this process got a signal
        self._stop = False  # all processes know of it
        self._validating = False

    # Training

    def fit(self) -> None:
        """Trains from the latest checkpoint, or from the start, to the end.

        Raises:
            UserError: a non-finite loss (its name and the step are told), or a checkpoint that does not fit.
            SystemExit: code 130 after Ctrl-C or SIGTERM; the state is saved.
        """
        self._prepare()
        interrupted = False
        with self._signals():
            self.progress = Progress(
                self.run_dir, self.step, self.total_steps, self.settings.log_every, self.device, self.rank == 0
            )
            try:
                if self.step:
                    self.progress.say(f"resumed {self.run_dir} at step {self.step} of {self.total_steps}")
                self._train()
                self.progress.say(f"finished {self.run_dir} at step {self.step}")
            except Interrupted:
                interrupted = True  # all processes alike: they agree at every step
                self._save_latest()
                self.progress.say(f"interrupted: saved {self._path(LATEST)}; run the same command again to go on")
            finally:
                self.progress.close()
        if self.world > 1:
            self._part()
        if interrupted:
            raise SystemExit(INTERRUPTED_EXIT_CODE)

    def _part(self) -> None:
        """Ends the processes' company: together, and without the wrapper, whose threads must not outlive the group."""
        torch.distributed.barrier()
        del self.wrapped
        self.accelerator.free_memory()
        torch.distributed.destroy_process_group()

    def _prepare(self) -> None:
        """Builds optimiser and distributed wrapper, and restores the latest checkpoint."""
        self.task.to(self.device)
        self.task.model.train()  # not the whole task: its frozen parts and momentum copies choose for themselves
        seed_everything(self.settings.seed, VALIDATION_SALT)
        self.task.before_training(self._loader(self.train_dataset, self._batches(0)))
        checkpoint = read_checkpoint(self._path(LATEST)) if self._path(LATEST).is_file() else None
        if checkpoint is not None:
            load_state(self.task, self._with_frozen(checkpoint), self._path(LATEST))
        groups = self.task.parameter_groups(self.settings.lr)
        for group in groups:
            group["initial_lr"] = group["lr"]
        optimizer = torch.optim.AdamW(
            groups, betas=self.settings.betas, weight_decay=self.settings.weight_decay, fused=True
        )
        self.wrapped, self.optimizer = self.accelerator.prepare(self.task, optimizer)
        self.trained = [parameter for group in groups for parameter in group["params"]]
        if checkpoint is not None:
            self._restore(checkpoint)

    def _train(self) -> None:
        settings = self.settings
        while self.step < self.total_steps or self._epoch_end_due:
            self._set_epoch(self.train_dataset, self.epoch)
            self.task.start_epoch(self.epoch)
            batches = self._batches(self.epoch)
            remaining = batches[self.batch_in_epoch :][: max(0, self.total_steps - self.step)]
            for batch in self._loader(self.train_dataset, remaining):
                self._train_step(batch)
                if self._stop:
                    raise Interrupted
                if self.step % settings.save_every == 0:
                    self._save_latest()
            self._end_epoch(full=self.batch_in_epoch == len(batches))

    def _train_step(self, batch: Any) -> None:
        seed_everything(self.settings.seed, self.step, self.rank)
        factor = learning_rate_factor(self.settings, self.step, self.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        with self.accelerator.autocast():
            losses = self.wrapped(batch)
        weights = self.task.loss_weights
        if unknown := [name for name in losses if name not in weights and not name.startswith("metric/")]:
            raise ValueError(f"{type(self.task).__name__} returned losses without a weight: {', '.join(unknown)}")
        total = sum(weights[name] * loss.float() for name, loss in losses.items() if name in weights)
        self.accelerator.backward(total)
        norm = self.accelerator.clip_grad_norm_(self.trained, self.settings.grad_clip or math.inf)
        values = self._agree({"loss": total, **losses, "metric/gradient_norm": norm})
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.task.after_step()
        self.step += 1
        self.batch_in_epoch += 1
        self._epoch_end_due = True
        self.progress.step(self.step, values, self.settings.lr * factor)
        self._say_all(self.health.after_step(self.step, values))

    def _agree(self, losses: dict[str, Tensor]) -> dict[str, float]:
        """Means over the processes, in one transfer. All processes learn here whether any of them was interrupted.

        Raises:
            UserError: a loss (or with full or bf16 precision the gradient) is not finite in some process.
        """
        numbers = torch.stack([loss.detach().float().reshape(()) for loss in losses.values()])
        numbers = torch.cat([numbers, numbers.new_tensor([float(self._interrupt)])])
        if self.world > 1:
            torch.distributed.all_reduce(numbers)
            numbers /= self.world
        *values, interrupts = numbers.tolist()
        self._stop = interrupts > 0 if self.world > 1 else self._interrupt
        named = dict(zip(losses, values, strict=True))
        bad = [name for name, value in named.items() if not math.isfinite(value) and not name.startswith("metric/")]
        if not bad and self.accelerator.scaler is None and not math.isfinite(named["metric/gradient_norm"]):
            bad = ["metric/gradient_norm"]
        if bad:
            listed = ", ".join(f"{name} = {named[name]}" for name in bad if name != "loss" or len(bad) == 1)
            raise UserError(
                f"training of {self.run_dir} stopped at step {self.step}: {listed}; lower --lr or check the data"
                " (the last saved state is untouched)"
            )
        return named

    def _end_epoch(self, full: bool) -> None:
        """Validation, best checkpoints, summary line. `full` is False when max_steps ends inside an epoch."""
        last = self.step >= self.total_steps
        metrics: dict[str, float] = {}
        improved: list[str] = []
        if self.val_dataset is not None and (last or (self.epoch + 1) % self.settings.eval_every_e == 0):
            metrics = self._validate()
            improved = self._keep_best(metrics)
        shown, self._epoch_end_due = self.epoch + 1, False
        if full:
            self.epoch, self.batch_in_epoch = self.epoch + 1, 0
        factor = learning_rate_factor(self.settings, self.step - 1, self.total_steps)
        self.progress.epoch(shown, self.settings.max_epoch, self.step, self.settings.lr * factor, metrics, improved)
        self._say_all(self.health.after_validation(self.step, metrics))
        if metrics or last:
            self._save_latest()

    def _say_all(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.progress.say(line)

    def _validate(self) -> dict[str, float]:
        """The task's validation metrics, computed by the first process and told to all."""
        result: list[Any] = [None]
        if self.rank == 0:
            self._set_epoch(self.val_dataset, 0)
            indices = list(range(len(self.val_dataset)))
            size = self.settings.batch_size
            batches = [indices[start : start + size] for start in range(0, len(indices), size)]
            seed_everything(self.settings.seed, VALIDATION_SALT)
            modes = {module: module.training for module in self.task.modules()}
            self.task.eval()
            self._validating = True
            try:
                if self._interrupt and self.world == 1:
                    raise Interrupted  # the signal came between the last step and here
                with torch.no_grad():
                    metrics = self.task.validate(self._loader(self.val_dataset, batches))
                result = [{name: float(value) for name, value in metrics.items()}]
            finally:
                self._validating = False
                for module, mode in modes.items():
                    module.training = mode
        if self.world > 1:
            broadcast_object_list(result)
        return result[0]

    def _keep_best(self, metrics: dict[str, float]) -> list[str]:
        """Saves net_best_<metric>.tar for each watched metric that improved; returns their names."""
        improved = []
        for name, direction in self.task.best.items():
            if name not in metrics:
                raise ValueError(f"{type(self.task).__name__}.validate returned no {name}")
            value, sign = metrics[name], {"min": 1, "max": -1}[direction]
            if math.isfinite(value) and (name not in self.best or sign * value < sign * self.best[name]):
                self.best[name] = value
                improved.append(name)
        if self.rank == 0:
            for name in improved:
                content = {
                    "model": self.task.model.state_dict(),
                    "config": self._config(),
                    "step": self.step,
                    "epoch": self.epoch + 1,
                    "metrics": metrics,
                }
                save_checkpoint(self._path(best_name(name)), content)
        return improved

    # Data

    def _batches(self, epoch: int) -> list[list[int]]:
        count = len(self.train_dataset)
        lengths = getattr(self.train_dataset, "lengths", None)
        return epoch_batches(count, self.settings.batch_size, self.settings.seed, epoch, self.rank, self.world, lengths)

    def _loader(self, dataset: Any, batches: Sequence[list[int]]) -> Iterable[Any]:
        settings = self.settings
        return device_loader(dataset, batches, self.collate, settings.num_workers, settings.seed, self.device)

    @staticmethod
    def _set_epoch(dataset: Any, epoch: int) -> None:
        if hasattr(dataset, "set_epoch"):
            dataset.set_epoch(epoch)

    # State

    def _path(self, name: str) -> Path:
        return self.run_dir / "model" / name

    def _config(self) -> dict[str, Any]:
        path = self.run_dir / "config.json"
        return read_json(path) if path.is_file() else {}

    def _is_frozen(self, name: str) -> bool:
        return name.startswith(tuple(f"{prefix}." for prefix in self.task.frozen))

    def _with_frozen(self, checkpoint: dict[str, Any]) -> dict[str, Tensor]:
        """The whole task's state: what the checkpoint holds, and the frozen parts as they are."""
        state = {f"model.{name}": value for name, value in checkpoint.get("model", {}).items()}
        frozen = {name: value for name, value in self.task.state_dict().items() if self._is_frozen(name)}
        return {**state, **checkpoint.get("task", {}), **frozen}

    def _save_latest(self) -> None:
        """Writes latest.tar: everything that a resume needs."""
        if self.rank > 0:
            return
        state = self.task.state_dict()
        scaler = self.accelerator.scaler
        content = {
            "model": self.task.model.state_dict(),
            "task": {
                name: value
                for name, value in state.items()
                if not name.startswith("model.") and not self._is_frozen(name)
            },
            "optimizer": self.optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else {},
            "step": self.step,
            "epoch": self.epoch,
            "batch_in_epoch": self.batch_in_epoch,
            "epoch_end_due": self._epoch_end_due,
            "best": self.best,
            "config": self._config(),
        }
        save_checkpoint(self._path(LATEST), content)

    def _restore(self, checkpoint: dict[str, Any]) -> None:
        source = self._path(LATEST)
        try:
            self.optimizer.load_state_dict(checkpoint["optimizer"])
            if self.accelerator.scaler is not None and checkpoint["scaler"]:
                self.accelerator.scaler.load_state_dict(checkpoint["scaler"])
            self.step, self.epoch = checkpoint["step"], checkpoint["epoch"]
            self.batch_in_epoch, self.best = checkpoint["batch_in_epoch"], dict(checkpoint["best"])
            self._epoch_end_due = checkpoint["epoch_end_due"]
        except (KeyError, ValueError) as error:
            raise UserError(f"{source} is not a state of this training: {error}") from error

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM end the training after the running step, or at once during validation; twice: at once."""

        def on_signal(number: int, frame: types.FrameType | None) -> None:
            if self._interrupt and number == signal.SIGINT and self.world == 1:
                raise KeyboardInterrupt  # several processes get several signals from one Ctrl-C
            self._interrupt = True
            if self._validating and self.world == 1:
                raise Interrupted

        numbers = (signal.SIGINT, signal.SIGTERM)
        former = {}
        with contextlib.suppress(ValueError):  # not in the main thread: leave the signals alone
            former = {number: signal.signal(number, on_signal) for number in numbers}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
