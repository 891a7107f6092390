"""The run's folder: config.json, model/latest.tar, model/net_best_<metric>.tar."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files import read_json, write_json

# A run may go on with other values of these: they do not change what a step computes (the length of the training
# stretches a cosine, as one would expect).
FREE_KEYS = {
    "command",
    "max_epoch",
    "max_steps",
    "log_every",
    "save_every",
    "eval_every_e",
    "gpu_id",
    "num_workers",
    "checkpoints_dir",
}
LATEST = "latest.tar"
LISTED_KEYS = 3
MISSING = "(not set)"


def best_name(metric: str) -> str:
    """File name of the checkpoint that was best by `metric`."""
    return f"net_best_{metric.replace('/', '_')}.tar"


def _differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            if key not in FREE_KEYS:
                yield from _differences(old.get(key, MISSING), new.get(key, MISSING), f"{path}.{key}" if path else key)
    elif old != new:
        yield f"{path} was {old!r:.60} and is {new!r:.60}"


def prepare_run(run_dir: Path | str, config: dict[str, Any]) -> None:
    """Makes the run's folder and writes config.json. A folder with checkpoints of the same config is gone on with.

    Args:
        run_dir: the folder.
        config: plain JSON values, see `options.stages.run_config`.

    Raises:
        UserError: the folder cannot be written, or holds checkpoints of another config; the first differing keys are
            named.
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
        if differences := list(_differences(read_json(path), config)):
            more = f" and {len(differences) - LISTED_KEYS} more" if len(differences) > LISTED_KEYS else ""
            raise UserError(
                f"run {run_dir} exists with another config ({'; '.join(differences[:LISTED_KEYS])}{more}):"
                " use another --name, the same options, or move the folder away"
            )
    try:
        model_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the run's folder {model_dir}: {error.strerror}") from error
    write_json(path, config)
