"""Run folders: checkpoints_dir/dataset/run with config.json and model/. Torch-free, so that mistakes show at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data.specs import DatasetSpec
from utils.errors import UserError
from utils.files import read_json

WEIGHTS = "weights.safetensors"
LATEST = "latest.tar"
SUFFIXES = (".tar", ".safetensors")


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


def run_folder(checkpoints_dir: Path | str, dataset_name: str, name: str) -> Path:
    """The folder of an existing run.

    Raises:
        UserError: there is no such run; those that there are get listed.
    """
    path = run_path(checkpoints_dir, dataset_name, name)
    if (path / "config.json").is_file():
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


def list_checkpoints(run_dir: Path | str) -> list[str]:
    """File names in the run's model folder, sorted; unfinished writes are not among them."""
    folder = Path(run_dir) / "model"
    if not folder.is_dir():
        return []
    files = (path.name for path in folder.iterdir() if path.suffix in SUFFIXES and path.is_file())
    return sorted(name for name in files if not name.startswith("."))


def matching_checkpoints(run_dir: Path | str, which: str) -> list[Path]:
    """The checkpoints that `which` can mean: the exact file name or stem, else every name with that part; `all`: all.

    Raises:
        UserError: none; the files that there are get listed.
    """
    names = list_checkpoints(run_dir)
    exact = [name for name in names if which in (name, Path(name).stem)]
    found = exact or (names if which == "all" else [name for name in names if which and which in name])
    if not found:
        there = f"it has {', '.join(names)}" if names else "it has none at all"
        raise UserError(f"{Path(run_dir) / 'model'} has no checkpoint {which!r}: {there}")
    return [Path(run_dir) / "model" / name for name in found]


def resolve_checkpoint(run_dir: Path | str, which: str | None = None) -> Path:
    """The one checkpoint that `which` means.

    Args:
        run_dir: the run's folder.
        which: an exact file name, its stem, or a part that only one file name has (`fid` -> net_best_fid.tar).
            None: weights.safetensors if it is there, else the only net_best_*.tar, else latest.tar.

    Raises:
        UserError: none or several fit; the files that there are get listed.
    """
    folder = Path(run_dir) / "model"
    if which is not None:
        found = matching_checkpoints(run_dir, which)
        if len(found) > 1:
            raise UserError(
                f"{which!r} means several checkpoints of {folder}: {', '.join(path.name for path in found)}"
            )
        return found[0]
    names = list_checkpoints(run_dir)
    best = [name for name in names if name.startswith("net_best_")]
    if WEIGHTS in names:
        return folder / WEIGHTS
    if len(best) == 1:
        return folder / best[0]
    if LATEST in names:
        return folder / LATEST
    if best:
        raise UserError(f"{folder} has several checkpoints, say which: {', '.join(best)}")
    raise UserError(f"{folder} has no checkpoint: train the run first, or put its weights there")


def find_database(checkpoints_dir: Path | str, spec: DatasetSpec, database: str) -> Path:
    """The folder of a dataset's RAG database.

    Args:
        checkpoints_dir: folder of the runs; a database that was shipped with the runs comes first.
        spec: the dataset.
        database: the folder itself, or the folder that holds one of each dataset.

    Raises:
        UserError: there is none; the place where it belongs is named.
    """
    places = [Path(checkpoints_dir) / spec.name / "database", Path(database) / spec.name, Path(database)]
    for place in places:
        if (place / "manifest.json").is_file():
            return place
    raise UserError(
        f"there is no RAG database of {spec.name}: it belongs at {places[1]};"
        f" make it by python build_rag_database.py --dataset_name {spec.name}"
    )
