"""The runs of a dataset: checkpoints_dir/dataset/run with config.json and model/. Torch-free: mistakes show at once."""

from __future__ import annotations

from pathlib import Path

from data.specs import DatasetSpec, get_spec
from models.rag.manifest import MANIFEST, library_format, read_manifest
from options.groups import DatasetOptions
from storage.limits import LONGEST_ID
from storage.shipped import is_ours, locate
from utils.errors import UserError
from utils.run import Run

USUAL_DATABASE = "database"
SHIPPED = Path("pretrained")  # where another dataset's runs are looked for too


def run_path(folder: Path, name: str) -> Path:
    """Where a run lies in the folder of a dataset's runs; `open/vq` is that of another dataset, beside it or shipped.

    Raises:
        UserError: the name is not a plain folder name, nor two.
    """
    parts = name.split("/")
    if len(parts) > 2 or any(part in ("", ".", "..") or len(part) > LONGEST_ID for part in parts):
        raise UserError(f"run name {name!r} is not a plain folder name")
    if len(parts) == 1:
        return folder / name
    shipped = locate(SHIPPED.joinpath(*parts))
    own = folder.parent.joinpath(*parts)
    return shipped if not own.exists() and shipped.exists() else own


class Runs:
    """The runs of a dataset. Each is read once, however often it is asked for.

    Args:
        checkpoints_dir: holds a folder a dataset, which holds a folder a run.
        spec: the dataset.
    """

    def __init__(self, checkpoints_dir: Path | str, spec: DatasetSpec) -> None:
        self.folder, self.spec = Path(checkpoints_dir) / spec.name, spec
        self._opened: dict[str, Run] = {}

    def path(self, name: str) -> Path:
        """Where a run lies, or will lie once it is trained.

        Raises:
            UserError: as `run_path`.
        """
        return run_path(self.folder, name)

    def find(self, name: str) -> Path:
        """The folder of an existing run.

        Raises:
            UserError: there is no such run; those that there are get listed.
        """
        path = locate(self.path(name))
        if (path / "config.json").is_file():
            return path
        if path.is_dir():
            raise UserError(f"{path} is no run: config.json is missing in it")
        names = sorted(place.parent.name for place in locate(path.parent).glob("*/config.json"))
        there = f"the runs there are: {', '.join(names)}" if names else "there is no run at all"
        raise UserError(f"run {name} does not exist, it belongs at {path}; in {path.parent} {there}")

    def open(self, name: str, stage: str | None = None) -> Run:
        """An existing run.

        Raises:
            UserError: as `find`, and as `Run`, or its motions are of another format than the dataset's.
        """
        if name not in self._opened:
            run = Run(self.find(name))
            self.spec.check_run(run)
            self._opened[name] = run
        return self._opened[name].of_stage(stage)

    def database(self, given: Path | str | None, usual: Path | str | None = None) -> Path:
        """The folder of the dataset's RAG database: the given one, else the one beside the runs, else the usual one.

        Args:
            given: what the user said: the folder itself, or the folder that holds one of each dataset in a subfolder.
            usual: the same, where nothing is given; None: `database`.

        Raises:
            UserError: there is none, the place where it belongs is named; or its motions are of another format.
        """
        name = self.spec.name
        if given is not None:
            places = [Path(given) / name, Path(given)]
            problem = f"{given} is no RAG database of {name}:"
        else:
            usual = Path(usual or USUAL_DATABASE)
            places = [self.folder / "database", usual / name, usual]
            problem = f"there is no RAG database of {name}: it belongs at {usual / name};"
        for place in map(locate, places):
            if (place / MANIFEST).is_file():
                if (form := library_format(place, read_manifest(place))) is not None:
                    self.spec.check_format(form, place)
                return place
        raise UserError(f"{problem} make it by python build_rag_database.py --dataset_name {self.spec.argument}")


def report_folder(run_dir: Path) -> Path:
    """Where the reports of a run's evaluations go: beside its checkpoints, unless it came with the code."""
    return Path("outputs/eval", *run_dir.parts[-2:]) if is_ours(run_dir) else run_dir / "eval"


def runs_of(options: DatasetOptions) -> Runs:
    """The runs that a command line means.

    Raises:
        UserError: unknown dataset.
    """
    return Runs(options.checkpoints_dir, get_spec(options.dataset_name))
