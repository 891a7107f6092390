"""Weights & Biases or MLflow, through accelerate: the points of a run go there besides its own files. Torch-free."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.files import read_json, write_json
from utils.errors import UserError

if TYPE_CHECKING:
    from accelerate import Accelerator

PROJECT = "remomask"
RECORD = "tracker.json"  # in the run's folder: by tracker, the name that it knows the run by
PACKAGES = {"wandb": ("wandb",), "mlflow": ("mlflow", "mlflow-skinny")}  # any of them will do
ADVICE = {
    "wandb": "log in with `wandb login`, or set WANDB_MODE=offline",
    "mlflow": "look at MLFLOW_TRACKING_URI, which may be a file such as sqlite:///mlflow.db",
}


def require_tracker(name: str) -> None:
    """Raises `UserError` where what a tracker needs is not installed."""
    packages = PACKAGES.get(name, ())
    for package in packages:
        try:
            metadata.metadata(package)
        except metadata.PackageNotFoundError:
            continue
        return
    if packages:
        raise UserError(f"--tracker {name} needs a package that is not installed: pip install {packages[0]}")


class TrackerLog:
    """The points of a run at a tracker. Where the run was tracked before, they go on there.

    Args:
        accelerator: made with `log_with` for `name`.
        name: wandb or mlflow. What their own environment variables say is followed.
        run_dir: the run's folder.
        config: of the run, for a new one.

    Raises:
        UserError: as all methods, whatever the tracker or its server refuses; the remedy is told.
    """

    def __init__(self, accelerator: Accelerator, name: str, run_dir: Path, config: Mapping[str, Any]) -> None:
        self.name, self.accelerator = name, accelerator
        path = run_dir / RECORD
        record = read_json(path) if path.is_file() else {}
        known = record.get(name) if isinstance(record, dict) else None
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
            write_json(path, {**(record if isinstance(record, dict) else {}), name: found})

    def add(self, points: Mapping[str, float], step: int) -> None:
        """Points of curves, by their tags."""
        try:
            self.accelerator.log(dict(points), step=step)
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
