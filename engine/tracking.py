"""Weights & Biases or MLflow, through accelerate: the points of a run go there besides its own files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.events import event_files, read_points
from storage.files import read_json, write_json
from utils.errors import UserError

if TYPE_CHECKING:
    from accelerate import Accelerator

PROJECT = "remomask"
RECORD = "tracker.json"  # in the run's folder: by tracker, the name that it knows the run by
ADVICE = {
    "wandb": "log in with `wandb login`, or set WANDB_MODE=offline",
    "mlflow": "look at MLFLOW_TRACKING_URI, which may be a file such as sqlite:///mlflow.db",
}


class TrackerLog:
    """The points of a run at a tracker. A run that goes on does so there too.

    Args:
        accelerator: made with `log_with` for `name`.
        name: wandb or mlflow. What their own environment variables say is followed.
        run_dir: the run's folder.
        config: of the run, for a new one.
        goes_on: the run has taken steps before.

    Raises:
        UserError: as all methods, whatever the tracker or its server refuses; the remedy is told.
    """

    def __init__(
        self, accelerator: Accelerator, name: str, run_dir: Path, config: Mapping[str, Any], goes_on: bool
    ) -> None:
        self.name, self.accelerator = name, accelerator
        path = run_dir / RECORD
        record = read_json(path) if path.is_file() else {}
        record = record if isinstance(record, dict) else {}
        known = record.get(name) if goes_on else None
        # MLflow would keep twice what a killed run takes anew, which Weights & Biases drops.
        told = event_files(run_dir) if known and name == "mlflow" else ()
        self._told = {(tag, step) for path in told for tag, step, _ in read_points(path)}
        titled = "/".join(run_dir.parts[-2:])
        if name == "wandb":
            project = os.environ.get("WANDB_PROJECT", PROJECT)
            arguments = {"name": titled, "id": known, "resume": "allow"}
            arguments |= {} if "WANDB_DIR" in os.environ else {"dir": str(run_dir)}
        else:
            project, arguments = PROJECT, {"run_name": titled, "run_id": known}
        try:
            accelerator.init_trackers(project, None if known else flat(config), {name: arguments})
            run = accelerator.get_tracker(name, unwrap=True)
            found = run.id if name == "wandb" else run.info.run_id
        except Exception as error:
            raise UserError(f"--tracker {name} cannot start ({error}): {ADVICE[name]}") from error
        if found != known:
            write_json(path, {**record, name: found})

    def add(self, points: Mapping[str, float], step: int) -> None:
        """Points of curves, by their tags."""
        news = {tag: value for tag, value in points.items() if (tag, step) not in self._told}
        try:
            if news:
                self.accelerator.log(news, step=step)
        except Exception as error:
            raise UserError(str(error)) from error

    def close(self) -> None:
        """Sends what is left."""
        try:
            for tracker in self.accelerator.trackers:
                tracker.finish()
        except Exception as error:
            raise UserError(str(error)) from error


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by their dotted names; lists as texts."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = str(value) if isinstance(value, (list, tuple)) else value
    return found
