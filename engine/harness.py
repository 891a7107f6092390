"""The one training loop. Every stage uses it; what differs between stages is in their `Task`."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from engine.averaging import WeightAverage, set_weights
from engine.curves import Curves
from engine.health import HealthMonitor, check_finite
from engine.initialise import initialise
from engine.interruption import Interrupted, Interruption
from engine.loading import DeviceLoader, device_loader, fetching
from engine.optimizer_state import checked_moments, checked_scale
from engine.plan import Plan
from engine.processes import agree, agree_on_data, decided_by_first, join_processes, part_together
from engine.progress import Progress
from engine.run_state import Best, best_name, check_position, epoch_name, read_best, read_state
from engine.schedule import epoch_batches, learning_rate_factor, pieces_of, seed_everything
from engine.settings import TRACKERS, TrainSettings
from engine.task import Task
from engine.tracking import TrackerLog
from engine.validation import validate, validation_batches
from models.compiling import compile_layers
from storage.checkpoint import load_state, save_checkpoint
from storage.checkpoint_names import LATEST, PREVIOUS
from storage.files import read_json
from utils.errors import UserError

INTERRUPTED_EXIT_CODE = 130


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
        remarks: lines for the start of a new run.

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
        remarks: Sequence[str] = (),
    ) -> None:
        self.health = HealthMonitor(task.healthy)
        self.run_dir, self.task, self.settings, self.collate = Path(run_dir), task, settings, collate
        self.remarks = remarks
        self.train_dataset, self.val_dataset = train_dataset, val_dataset
        self.accelerator = join_processes(task.distributed, settings.mixed_precision, device, settings.tracker)
        self.device = self.accelerator.device
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes
        agree_on_data(settings, {"training": train_dataset, "validation": val_dataset})
        if not len(train_dataset):
            raise UserError("the training set is empty: no clip of the train split can be used")
        try:
            batches = self._batches(0)
        except ValueError as error:
            raise UserError(f"--batch_size {settings.batch_size}: {error}") from error
        self.steps_per_epoch = len(batches)
        if settings.accumulate > 1 and task.indivisible:
            raise UserError(f"--accumulate {settings.accumulate} does not work here: {task.indivisible}")
        if settings.accumulate > len(batches[0]):
            raise UserError(f"--accumulate {settings.accumulate}: a step has only {len(batches[0])} samples a process")
        self.plan = Plan(settings, len(train_dataset), self.steps_per_epoch)
        self.step, self.epoch, self.batch_in_epoch = 0, 0, 0  # of epochs that go through the set once
        self.best = Best()
        self.curves, self._tracker = Curves(self.run_dir, task.best, self.rank == 0), None
        self._epoch_end_due = False  # steps were taken since the last validation and summary line
        self.interruption = Interruption(self.world, self.device)
        self._stop = False  # some process was interrupted, and all know of it
        self._began = self._seconds = 0.0  # on the clock, and what the training has taken
        self._paused = False  # by a validation, since the last step

    @property
    def total_steps(self) -> int:
        """Steps that the training will have had at its end."""
        return self.plan.total

    @property
    def _shown_epoch(self) -> int:
        """Number of the epoch that is going on, from 1; it may go through the training set several times."""
        return self.epoch // self.plan.rounds + 1

    # Training

    def fit(self, guard: Callable[[], None] = lambda: None) -> None:
        """Trains from the latest checkpoint, or from the start, to the end.

        Args:
            guard: called before each write into the run's folder; raises when it is another process's by now.

        Raises:
            UserError: a non-finite loss (its name and the step are told), a checkpoint that does not fit, or a tracker
                that cannot start.
            SystemExit: code 130 after Ctrl-C or SIGTERM; the state is saved.
        """
        self.guard = guard
        former, start = self._prepare()
        if self.settings.tracker in TRACKERS:
            decided_by_first(self._start_tracker)
        interrupted, settings = False, self.settings
        with self.interruption.watched():
            limits = self.step, self.total_steps, settings.log_every
            validated, active = not self._epoch_end_due, self.rank == 0
            takers = settings.tracker != "none", self._tracker
            self.progress = Progress(self.run_dir, *limits, self.device, former, validated, active, *takers)
            try:
                self.progress.say(*start)
                self._train()
                self.progress.say(*self.plan.closing(self.step), *self.curves.at_end(self.step))
                self.progress.say(f"finished {self.run_dir} at step {self.step}")
            except Interrupted:
                interrupted = True  # all processes alike: they agree at every step
                self._save_latest()
                self.progress.say(f"interrupted: saved {self._path(LATEST)}; run the same command again to go on")
            finally:
                self.progress.close()
        if self.world > 1:
            del self.wrapped
            part_together(self.accelerator)
        if interrupted:
            raise SystemExit(INTERRUPTED_EXIT_CODE)

    def _prepare(self) -> tuple[Mapping[str, Any], list[str]]:
        """Builds optimiser and distributed wrapper, restores the latest state.

        Returns:
            what the progress was when that was saved, and lines that say how the training starts.
        """
        settings, first = self.settings, self.rank == 0
        self.task.to(self.device)
        self.task.model.train()  # not the whole task: momentum copies choose for themselves
        if settings.compile:
            compile_layers(self.task.model, self.device)
        groups = self.task.parameter_groups(settings.lr)
        for group in groups:
            group["initial_lr"] = group["lr"]
        self.trained = [parameter for group in groups for parameter in group["params"]]
        state = read_state(self.run_dir, self._load, tidy=first)
        agree({f"the saved step of {self.run_dir}": state.content["step"] if state else "none"})
        start = []
        if state is None and settings.init_from is not None:
            start.append(initialise(self.task.model, settings.init_from, settings.init_partial))
            self.task.weights_changed()
        optimizer = torch.optim.AdamW(groups, betas=settings.betas, weight_decay=settings.weight_decay, fused=True)
        self.wrapped, self.optimizer = self.accelerator.prepare(self.task, optimizer)
        self.average = WeightAverage(self.task.model, settings.ema)  # the processes have the same weights only now
        if state is not None:
            self._restore(state.content, state.path)
            start += [state.remark] if state.remark else []
            self.plan.start_from(state.content["times"], self.step)
            start.append(f"resumed {self.run_dir} at step {self.step} of {self.total_steps}")
            if state.content["trained"] and not settings.ema:
                start[-1] += "; without --ema the average that it had is given up"
        else:
            start += [*self.remarks, *self.plan.remarks()]
        if first:
            self.best = read_best(self.run_dir, self.task.best, state.content["best"] if state else None)
            start += self.best.remarks
        return (state.content["progress"] if state else {}), start

    def _start_tracker(self) -> None:
        self._tracker = TrackerLog(self.accelerator, self.settings.tracker, self.run_dir, self._config, self.step > 0)

    def _train(self) -> None:
        settings = self.settings
        self._began = time.perf_counter() - self.plan.seconds
        while self.step < self.total_steps or self._epoch_end_due:
            self._set_epoch(self.train_dataset, self.epoch)
            batches = self._batches(self.epoch)
            remaining = batches[self.batch_in_epoch :][: max(0, self.plan.limit - self.step)]
            steps = [pieces_of(batch, settings.accumulate) for batch in remaining]
            loaded = iter(self._loader(self.train_dataset, list(itertools.chain(*steps))))
            for pieces in steps:
                if self.step >= self.total_steps:
                    break  # no more fit into the time
                self._train_step(loaded, [len(piece) for piece in pieces])
                if self._stop:
                    raise Interrupted
                if self.step % settings.save_every == 0:
                    self._save_latest()
            self._end_epoch(full=self.batch_in_epoch >= len(batches))

    def _train_step(self, loaded: Iterator[Any], sizes: Sequence[int]) -> None:
        """One step of the optimiser, over the next pieces of its batch, which have so many samples."""
        seed_everything(self.settings.seed, self.step, rank=self.rank)
        factor = learning_rate_factor(self.settings, self.step, self.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        losses = self._backward(loaded, [size / sum(sizes) for size in sizes])
        norm = self.accelerator.clip_grad_norm_(self.trained, self.settings.grad_clip or math.inf)
        values = self._agree({**losses, "metric/gradient_norm": norm})
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.task.after_step()
        self.step += 1
        self.batch_in_epoch += 1
        self._epoch_end_due = True
        self.average.update(self.step)
        if line := self.plan.after_step(self.step, self._seconds, self._paused):
            self.progress.say(line)
        self._paused = False
        self.progress.step(self.step, values, self.settings.lr * factor)
        self.progress.say(*self.health.after_step(self.step, values))

    def _backward(self, loaded: Iterator[Any], shares: Sequence[float]) -> dict[str, Tensor]:
        """Adds up the gradients of a step's pieces by their shares, and their losses; "loss" is the weighted sum."""
        means: dict[str, Tensor] = {}
        for number, share in enumerate(shares, start=1):
            # The processes exchange gradients once a step, with the last piece.
            quiet = self.accelerator.no_sync(self.wrapped) if number < len(shares) else contextlib.nullcontext()
            with quiet:
                with self.accelerator.autocast():
                    losses = self.wrapped(next(loaded))
                total = self.task.weighted_sum(losses)
                self.accelerator.backward(share * total)
            for name, loss in {"loss": total, **losses}.items():
                means[name] = means.get(name, 0) + share * loss.detach().float()
        return means

    def _agree(self, losses: dict[str, Tensor]) -> dict[str, float]:
        """Means over the processes, in one transfer. All learn here whether any was interrupted, and what time it is.

        Raises:
            UserError: a loss (or with full or bf16 precision the gradient) is not finite in some process.
        """
        numbers = torch.stack([loss.detach().float().reshape(()) for loss in losses.values()])
        here = float(self.interruption.asked), time.perf_counter() - self._began
        numbers = torch.cat([numbers, numbers.new_tensor(here)])
        if self.world > 1:
            torch.distributed.all_reduce(numbers)
            numbers /= self.world
        *values, interrupts, self._seconds = numbers.tolist()
        self._stop = interrupts > 0 if self.world > 1 else self.interruption.asked
        named = dict(zip(losses, values, strict=True))
        check_finite(named, self.accelerator.scaler is None, f"training of {self.run_dir} stopped at step {self.step}")
        return named

    def _end_epoch(self, full: bool) -> None:
        """Validation, best checkpoints, summary line. `full` is False when the training ends within the set."""
        last, settings, shown = self.step >= self.total_steps, self.settings, self._shown_epoch
        whole = full and self.plan.ends_epoch(self.epoch + 1)
        if not last and not whole:
            self.epoch, self.batch_in_epoch, self._epoch_end_due = self.epoch + 1, 0, False
            return
        metrics: dict[str, float] = {}
        improved: list[str] = []
        with self.average.swapped():
            if self.val_dataset is not None and (last or shown % settings.eval_every_e == 0):
                metrics = self._validate()
                improved = self._keep_best(metrics)
            if whole and settings.keep_every and shown % settings.keep_every == 0:
                self._save_model(epoch_name(shown), metrics)
        self._epoch_end_due = False
        if full:
            self.epoch, self.batch_in_epoch = self.epoch + 1, 0
        self._paused = bool(metrics)
        factor = learning_rate_factor(settings, self.step - 1, self.total_steps)
        self.progress.epoch(shown, settings.max_epoch, self.step, settings.lr * factor, metrics, improved)
        self.progress.say(*self.health.after_validation(self.step, metrics))
        if metrics and not last:
            self.progress.say(*self.curves.after_validation(self.step))
        if metrics or last:
            self._save_latest()

    def _validate(self) -> dict[str, float]:
        """The task's validation metrics; every process computes its share."""
        self._set_epoch(self.val_dataset, 0)
        batches = validation_batches(len(self.val_dataset), self.settings.batch_size)
        loader = self._loader(self.val_dataset, batches[self.rank :: self.world])
        share = self.rank, self.world, -(-len(batches) // self.world)
        with self.interruption.anywhere():
            return validate(self.task, loader, self.settings.seed, *share, self.interruption.check)

    def _keep_best(self, metrics: dict[str, float]) -> list[str]:
        """Saves net_best_<metric>.tar for each watched metric that improved; returns their names."""
        improved = []
        for name, direction in self.task.best.items():
            if name not in metrics:
                raise ValueError(f"{type(self.task).__name__} found no {name} in its validation")
            if self.best.takes(name, direction, metrics[name], self.step):
                improved.append(name)
                self._save_model(best_name(name), metrics)
        return improved

    # Data

    def _batches(self, epoch: int) -> list[list[int]]:
        count = len(self.train_dataset)
        lengths = getattr(self.train_dataset, "lengths", None)
        return epoch_batches(count, self.settings.batch_size, self.settings.seed, epoch, self.rank, self.world, lengths)

    def _loader(self, dataset: Any, batches: Sequence[list[int]]) -> DeviceLoader:
        settings, collate = self.settings, self.collate
        if dataset is self.train_dataset and (fetch := self.task.host_fetcher()) is not None:
            collate = partial(fetching, collate or default_collate, fetch)
        return device_loader(dataset, batches, collate, settings.num_workers, settings.seed, self.device)

    @staticmethod
    def _set_epoch(dataset: Any, epoch: int) -> None:
        if hasattr(dataset, "set_epoch"):
            dataset.set_epoch(epoch)

    # State

    def _path(self, name: str) -> Path:
        return self.run_dir / "model" / name

    @cached_property
    def _config(self) -> dict[str, Any]:
        path = self.run_dir / "config.json"
        return read_json(path) if path.is_file() else {}

    def _save_model(self, name: str, metrics: dict[str, float]) -> None:
        """Writes the model as it is now, with what validation said of it."""
        if self.rank > 0:
            return
        facts = {"config": self._config, "step": self.step, "epoch": self._shown_epoch, "metrics": metrics}
        self._save(name, {"model": self.task.model.state_dict(), **facts})

    def _save_latest(self) -> None:
        """Writes latest.tar: everything that a resume needs. Its model is the average, where one is kept."""
        if self.rank > 0:
            return
        scaler = self.accelerator.scaler
        with self.average.swapped():
            state = self.task.state_dict()
            content = {
                "model": self.task.model.state_dict(),
                "trained": self.average.others,
                "task": {name: value for name, value in state.items() if not name.startswith("model.")},
                "optimizer": self.optimizer.state_dict(),
                "scaler": scaler.state_dict() if scaler is not None else {},
                "step": self.step,
                "epoch": self.epoch,
                "batch_in_epoch": self.batch_in_epoch,
                "epoch_end_due": self._epoch_end_due,
                "best": self.best.values,
                "progress": self.progress.state(),
                "times": self.plan.state(),
                "config": self._config,
            }
            self._save(LATEST, content, self._path(PREVIOUS))

    def _save(self, name: str, content: dict[str, Any], former: Path | None = None) -> None:
        self.guard()
        try:
            save_checkpoint(self._path(name), content, former)
        except UserError as error:
            raise UserError(f"{error}; the last saved state is whole, the same command goes on from it") from error

    def _load(self, content: dict[str, Any], source: Path) -> None:
        """Fills the task, and replaces the optimiser's state by one that fits its parameters."""
        check_position(content, self.steps_per_epoch, source)
        set_weights(self.task.model, content["trained"], source)  # they come there again once the average is made
        model = {f"model.{name}": value for name, value in content["model"].items()}
        load_state(self.task, {**model, **content["task"]}, source)
        content["optimizer"] = checked_moments(content["optimizer"], self.trained, source)
        if self.accelerator.scaler is not None and content["scaler"]:
            content["scaler"] = checked_scale(content["scaler"], source)

    def _restore(self, content: dict[str, Any], source: Path) -> None:
        """Goes on from a state that `_load` took. The optimiser's settings are those of the command."""
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": content["optimizer"], "param_groups": groups})
        if (scaler := self.accelerator.scaler) is not None and content["scaler"]:
            scaler.load_state_dict({**scaler.state_dict(), **content["scaler"]})
        set_weights(self.task.model, content["trained"], source)
        self.step, self.epoch, self.batch_in_epoch = (content[name] for name in ("step", "epoch", "batch_in_epoch"))
        self._epoch_end_due = content["epoch_end_due"]
