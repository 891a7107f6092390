"""Run folders: checkpoints_dir/dataset/run with config.json and model/. Torch-free, so that mistakes show at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data.specs import DatasetSpec
from utils.errors import UserError
from utils.files import read_json
from utils.formats import format_of
from utils.run import Run
from utils.run_files import MANIFEST

USUAL_DATABASE = "database"


def run_path(checkpoints_dir: Path | str, dataset_name: str, name: str) -> Path:
    """Where a run lies, or will lie once it is trained.

    Raises:
        UserError: the name is not a plain folder name.
    """
    if not name or name in (".", "..") or Path(name).name != name:
        raise UserError(f"run name {name!r} is not a plain folder name")
    return Path(checkpoints_dir) / dataset_name / name


def list_runs(checkpoints_dir: Path | str, dataset_name: str) -> list[str]:
    """Names of the runs that there are, sorted."""
    folder = Path(checkpoints_dir) / dataset_name
    return sorted(path.parent.name for path in folder.glob("*/config.json")) if folder.is_dir() else []


def run_folder(checkpoints_dir: Path | str, spec: DatasetSpec, name: str) -> Path:
    """The folder of an existing run.

    Raises:
        UserError: there is no such run, those that there are get listed; or its motions are of another format than the
            dataset's.
    """
    dataset_name = spec.name
    path = run_path(checkpoints_dir, dataset_name, name)
    if (path / "config.json").is_file():
        run = Run(path)
        if "format" in run.config:
            spec.check_format(run.format, path)
        return path
    if path.is_dir():
        raise UserError(f"{path} is no run: config.json is missing in it")
    runs = list_runs(checkpoints_dir, dataset_name)
    there = f"the runs there are: {', '.join(runs)}" if runs else "there is no run at all"
    raise UserError(f"run {name} does not exist, it belongs at {path}; in {path.parent} {there}")


def read_config(run_dir: Path | str) -> dict[str, Any]:
    """The run's config.json.

    Raises:
        UserError: missing or broken.
    """
    path = Path(run_dir) / "config.json"
    config = read_json(path)
    if not isinstance(config, dict):
        raise UserError(f"{path} must hold an object, not {type(config).__name__}")
    return config


def find_database(
    checkpoints_dir: Path | str, spec: DatasetSpec, given: Path | str | None, usual: Path | str | None = None
) -> Path:
    """The folder of a dataset's RAG database: the given one, else the one beside the runs, else the usual one.

    Args:
        checkpoints_dir: folder of the runs; the database that was shipped with them lies beside them.
        spec: the dataset.
        given: what the user said: the folder itself, or the folder that holds one of each dataset in a subfolder.
        usual: the same, where nothing is given; None: `database`.

    Raises:
        UserError: there is none, the place where it belongs is named; or its motions are of another format.
    """
    if given is not None:
        places = [Path(given) / spec.name, Path(given)]
        problem = f"{given} is no RAG database of {spec.name}:"
    else:
        usual = Path(usual or USUAL_DATABASE)
        places = [Path(checkpoints_dir) / spec.name / "database", usual / spec.name, usual]
        problem = f"there is no RAG database of {spec.name}: it belongs at {usual / spec.name};"
    for place in places:
        if (place / MANIFEST).is_file():
            told = read_json(place / MANIFEST)
            if isinstance(told, dict) and "format" in told:  # former ones are taken as their dataset's
                spec.check_format(format_of(told["format"], f"{place / MANIFEST}: format"), place)
            return place
    raise UserError(f"{problem} make it by python build_rag_database.py --dataset_name {spec.name}")
