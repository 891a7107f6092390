"""The run's folder: config.json, model/latest.tar, model/net_best_<metric>.tar, model/net_epoch_<number>.tar."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.differences import differences, format_difference
from engine.initialise import RECORD, start_record
from utils.checkpoint import model_of, read_checkpoint
from utils.checkpoint_names import LATEST
from utils.errors import UserError, listed
from utils.files import write_json
from utils.run import Run

# A run may go on with other values of these: they do not change what a step computes but for rounding and the draws of
# its random numbers (the length of the training stretches a cosine, as one would expect).
FREE_KEYS = {
    "command",
    "max_epoch",
    "max_steps",
    "log_every",
    "save_every",
    "eval_every_e",
    "keep_every",
    "ema",
    "accumulate",
    "gpu_id",
    "database",  # the path: what lies there is told under "library"
    "num_workers",
    "checkpoints_dir",
}
# What configs from before these options stand for.
FORMER = {"training_retrieval": {"retrieval_pool": 3}, "rates": {"motion_lr_factor": 1.0}}
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
}


def best_name(metric: str) -> str:
    """File name of the checkpoint that was best by `metric`."""
    return f"net_best_{metric.replace('/', '_')}.tar"


def epoch_name(epoch: int) -> str:
    """File name of the checkpoint kept after `epoch` epochs."""
    return f"net_epoch_{epoch}.tar"


def read_latest(run_dir: Path) -> dict[str, Any] | None:
    """The state that a run goes on with; None where there is none yet.

    Raises:
        UserError: the file is damaged or no such state; what it lacks is named.
    """
    path = run_dir / "model" / LATEST
    if not path.is_file():
        return None
    checkpoint = {"trained": {}} | read_checkpoint(path)  # older states know no average
    model_of(checkpoint, path)
    if wrong := [name for name, kind in STATE.items() if not isinstance(checkpoint.get(name), kind)]:
        raise UserError(f"{path} is not a state that training can go on with: it lacks {', '.join(wrong)}")
    return checkpoint


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
    if int(os.environ.get("RANK", 0)) > 0:
        return  # the first process decides for all
    path, model_dir = run_dir / "config.json", run_dir / "model"
    if model_dir.is_dir() and any(model_dir.glob("*.tar")):
        if not path.is_file():
            raise UserError(
                f"{model_dir} holds checkpoints, but {path} is missing: use another --name or move the folder away"
            )
        start = _checked_start(Run(run_dir), config)
    else:
        start = start_record(config)
    try:
        model_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the run's folder {model_dir}: {error.strerror}") from error
    write_json(path, config | start)


def _checked_start(run: Run, config: dict[str, Any]) -> dict[str, Any]:
    """What the config of a run that goes on tells of its start. `--init_from` may be repeated or left out.

    Raises:
        UserError: `config` is another one.
    """
    old, unknown = run.config, {"library"} - set(run.config)
    completed = old | {group: values | old.get(group, {}) for group, values in FORMER.items() if group in config}
    found = format_difference(run, config)
    found += differences(completed, config, FREE_KEYS | START_KEYS | unknown | {"format"})
    former, given = old.get(RECORD, {}).get("init_from"), config.get("train", {}).get("init_from")
    if given not in (None, former):
        found.append(f"train.init_from was {former!r} and is {given!r}")
    if found:
        raise UserError(
            f"run {run.folder} exists with another config ({listed(found)}):"
            " use another --name, the same options, or move the folder away"
        )
    if former is not None and given is None and not (run.folder / "model" / LATEST).is_file():
        raise UserError(f"run {run.folder} has no {LATEST} and would not start from {former}: give --init_from again")
    return {RECORD: old[RECORD]} if RECORD in old else {}
