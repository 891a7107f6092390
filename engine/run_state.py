"""The run's folder: config.json, model/latest.tar, model/previous.tar (the state before), model/net_best_<metric>.tar,
model/net_epoch_<number>.tar."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from data.specs import same_dataset
from engine.differences import differences, format_difference
from engine.initialise import RECORD, start_record
from storage.checkpoint import model_of, read_checkpoint
from storage.checkpoint_names import LATEST, PREVIOUS
from storage.files import write_json
from utils.errors import UserError, listed
from utils.run import FORMER, Run
from utils.shares import is_first_process

# A run may go on with other values of these: they do not change what a step computes but for rounding and the draws of
# its random numbers (the length of the training stretches a cosine, as one would expect).
FREE_KEYS = {
    "command",
    "max_epoch",
    "max_steps",
    "min_steps",
    "max_minutes",
    "log_every",
    "tracker",
    "save_every",
    "eval_every_e",
    "keep_every",
    "ema",
    "accumulate",
    "compile",
    "gpu_id",
    "database",  # the path: what lies there is told under "library"
    "num_workers",
    "checkpoints_dir",
}
START_KEYS = {RECORD, "init_from", "init_partial"}  # what only a new run reads
STATE = {
    "model": Mapping,
    "trained": Mapping,
    "task": Mapping,
    "optimizer": Mapping,
    "scaler": Mapping,
    "step": int,
    "epoch": int,
    "batch_in_epoch": int,
    "epoch_end_due": bool,
    "best": Mapping,
    "progress": Mapping,
    "times": Mapping,
}
COUNTS, MOST_STEPS = ("step", "epoch", "batch_in_epoch"), 1 << 53
FORMER_STATE = {"trained": {}, "progress": {}, "times": {}}  # what states from before there were these are taken to say


def best_name(metric: str) -> str:
    """File name of the checkpoint that was best by `metric`."""
    return f"net_best_{metric.replace('/', '_')}.tar"


def epoch_name(epoch: int) -> str:
    """File name of the checkpoint kept after `epoch` epochs."""
    return f"net_epoch_{epoch}.tar"


class State(NamedTuple):
    """What a run goes on with.

    Attributes:
        content: as it was saved.
        path: the file that it is from.
        remark: what is odd about that, "" for nothing.
    """

    content: dict[str, Any]
    path: Path
    remark: str


def read_state(run_dir: Path, load: Callable[[dict[str, Any], Path], None], tidy: bool = True) -> State | None:
    """The latest state, or where it is damaged or missing the one before it; None where a run begins.

    Args:
        run_dir: the run's folder.
        load: raises `UserError` for a state that does not fit.
        tidy: sets a damaged file aside: one process of those that train together does.

    Raises:
        UserError: no state that there is can be used (the remedy is told), or a file cannot be read at all.
    """
    latest, previous = (run_dir / "model" / name for name in (LATEST, PREVIOUS))
    problems: list[str] = []
    for path in (latest, previous):
        if not path.is_file():
            continue
        try:
            content = _read(path)
            load(content, path)
        except UserError as error:
            if _may_be_whole(error):
                raise
            problems.append(str(error))
            continue
        if path is latest:
            return State(content, path, "")
        if not problems:
            return State(content, path, f"{latest} is missing: {PREVIOUS} is gone on with")
        aside = latest.with_name(f"{LATEST}.damaged")
        if tidy and latest.is_file():
            os.replace(latest, aside)
        return State(content, path, f"{problems[0]}: it is set aside as {aside.name}, {PREVIOUS} is gone on with")
    if not problems:
        return None
    raise UserError(
        f"{'; '.join(problems)}: remove {LATEST} and {PREVIOUS} and repeat the command to train the run anew (its best"
        " checkpoints stay until they are beaten), or use another --name"
    )


def _read(path: Path) -> dict[str, Any]:
    """A state, of which everything is there.

    Raises:
        UserError: the file is damaged or no such state; what it lacks is named.
    """
    checkpoint = FORMER_STATE | read_checkpoint(path)
    model_of(checkpoint, path)
    wrong = [name for name, kind in STATE.items() if not isinstance(checkpoint.get(name), kind)]
    wrong += [name for name in COUNTS if name not in wrong and not _is_count(checkpoint[name], checkpoint.get("step"))]
    progress = checkpoint["progress"] if "progress" not in wrong else {}
    if type(progress.get("count", 0)) is not int or not isinstance(progress.get("seconds", 0.0), float):
        wrong.append("progress")
    if not wrong:
        numbers = {"best": checkpoint["best"], "progress": checkpoint["progress"].get("sums", {})}
        wrong = [name for name, each in numbers.items() if not _are_numbers(each)]
        wrong += [] if _are_numbers(times := checkpoint["times"]) and all(map(_is_time, times.values())) else ["times"]
    if wrong:
        raise UserError(f"{path} is not a state that training can go on with: it lacks {', '.join(wrong)}")
    return checkpoint


def _is_count(value: Any, step: Any) -> bool:
    """Of epochs or of the batches in one: there are no more of them than steps."""
    return type(value) is type(step) is int and 0 <= value <= min(step, MOST_STEPS)


def check_position(content: Mapping[str, Any], steps_per_epoch: int, source: object) -> None:
    """Raises `UserError` for a state that is further in an epoch than there are steps in it."""
    if content["batch_in_epoch"] > steps_per_epoch:
        raise UserError(
            f"{source} is {content['batch_in_epoch']} batches into an epoch of {steps_per_epoch}: it is a state of"
            " other data, another batch size or another number of processes"
        )


def _may_be_whole(error: UserError) -> bool:
    """Whether a file could not be read for another reason than what is in it."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno not in (None, errno.EINVAL)


def _is_time(value: float) -> bool:
    return 0 <= value < MOST_STEPS  # not NaN either


def _are_numbers(values: Any) -> bool:
    return isinstance(values, Mapping) and all(
        isinstance(name, str) and isinstance(value, float) for name, value in values.items()
    )


@dataclass
class Best:
    """What is to be beaten: what the best checkpoints of a run say of themselves.

    Attributes:
        values: by metric.
        steps: by metric, when it was found.
        remarks: lines about files that are not as they should be.
    """

    values: dict[str, float] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def takes(self, metric: str, direction: str, value: float, step: int) -> bool:
        """Notes a value, and says whether its checkpoint has to be written."""
        sign = {"min": 1, "max": -1}[direction]
        ours, held = sign * value, sign * self.values.get(metric, sign * math.inf)
        again = self.steps.get(metric) == step  # a kill came before the state was saved
        if not math.isfinite(value) or not (ours < held or (again and ours == held)):
            return False
        self.values[metric], self.steps[metric] = value, step
        return True


def read_best(run_dir: Path, watched: Mapping[str, str], known: Mapping[str, float] | None) -> Best:
    """What is to be beaten. The files decide, whatever became of the state: none is overwritten by a worse one.

    Args:
        run_dir: the run's folder.
        watched: see `Task.best`.
        known: what the state says; None: there is none. Where a file is gone or damaged the next validation writes it
            anew.

    Raises:
        UserError: a file cannot be read, or does not say how good it is.
    """
    best = Best()
    for metric in watched:
        path = run_dir / "model" / best_name(metric)
        if not path.is_file():
            if metric in (known or {}):
                best.remarks.append(f"{path} is missing: the next validation writes it anew")
            continue
        try:
            content = read_checkpoint(path)
        except UserError as error:
            if _may_be_whole(error):
                raise
            best.remarks.append(f"{error}: the next validation writes it anew")
            continue
        metrics, step = content.get("metrics"), content.get("step")
        value = metrics.get(metric) if isinstance(metrics, Mapping) else None
        if not isinstance(value, float) or not math.isfinite(value) or not isinstance(step, int):
            raise UserError(f"{path} does not tell its {metric}: move it away, so that it is not overwritten")
        best.values[metric], best.steps[metric] = value, step
    if known is None and best.values:
        told = ", ".join(f"{name} {value:.4g}" for name, value in best.values.items())
        best.remarks.append(f"starts anew; the best checkpoints stay until they are beaten ({told})")
    return best


def prepare_run(run_dir: Path | str, config: dict[str, Any]) -> None:
    """Makes the run's folder and writes config.json. A folder with checkpoints of the same config is gone on with.

    Args:
        run_dir: the folder.
        config: plain JSON values, see `options.stages.run_config`.

    Raises:
        UserError: the folder cannot be written, or holds checkpoints of another config (the first differing keys are
            named), or `--init_from` names something that does not fit.
    """
    run_dir = Path(run_dir)
    if not is_first_process():
        return  # the first process decides for all
    path, model_dir = run_dir / "config.json", run_dir / "model"
    if model_dir.is_dir() and any(model_dir.glob("*.tar")):
        start = _checked_start(_opened(run_dir), config)
    else:
        start = start_record(config)
    try:
        model_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the run's folder {model_dir}: {error.strerror}") from error
    write_json(path, config | start)


def _opened(run_dir: Path) -> Run:
    """A run that has checkpoints. They know its config: it is taken from there where config.json is missing or damaged.

    Raises:
        UserError: none of them tells it, or config.json cannot be read.
    """
    path, model_dir = run_dir / "config.json", run_dir / "model"
    try:
        if path.is_file():
            return Run(run_dir)
        problem = f"{path} is missing"
    except UserError as error:
        if _may_be_whole(error):
            raise
        problem = str(error)
    for checkpoint in (model_dir / LATEST, model_dir / PREVIOUS, *sorted(model_dir.glob("net_*.tar"))):
        try:
            config = read_checkpoint(checkpoint).get("config")
        except UserError:
            continue
        if isinstance(config, dict) and config:
            write_json(path, config)
            print(f"{problem}: it is written anew from {checkpoint}")
            return Run(run_dir)
    raise UserError(f"{model_dir} holds checkpoints, but {problem}: use another --name or move the folder away")


def _checked_start(run: Run, config: dict[str, Any]) -> dict[str, Any]:
    """What the config of a run that goes on tells of its start. `--init_from` may be repeated or left out.

    Raises:
        UserError: `config` is another one.
    """
    old = run.config
    unknown = {"library"} - set(old)
    if not run.value("tokens", "code_dim"):
        unknown |= {"code_dim"}
    completed = dict(old)
    for group, values in FORMER.items():
        known = {name: value for name, value in values.items() if name in config.get(group, ())}
        if known:
            completed[group] = known | old.get(group, {})
    named, wanted = run.value("run", "dataset_name"), config.get("run", {}).get("dataset_name")
    if named and wanted and same_dataset(named, wanted):
        config = {**config, "run": {**config["run"], "dataset_name": named}}  # spelled in another way
    found = format_difference(run, config)
    found += differences(completed, config, FREE_KEYS | START_KEYS | unknown | {"format"})
    former, given = old.get(RECORD, {}).get("init_from"), config.get("train", {}).get("init_from")
    if given is not None and (former is None or Path(given).resolve() != Path(former).resolve()):
        found.append(f"train.init_from was {former!r} and is {given!r}")
    if found:
        raise UserError(
            f"run {run.folder} exists with another config ({listed(found)}):"
            " use another --name, the same options, or move the folder away"
        )
    states = (run.folder / "model" / name for name in (LATEST, PREVIOUS))
    if former is not None and given is None and not any(path.is_file() for path in states):
        raise UserError(f"run {run.folder} has no {LATEST} and would not start from {former}: give --init_from again")
    return {RECORD: old[RECORD]} if RECORD in old else {}
