"""What a dataset is and where it lies. Needs neither torch nor NumPy, so that `--help` stays instant."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from storage.files import read_json
from utils.errors import UserError
from utils.format_reading import FASTEST
from utils.formats import ALIASES, HUMANML3D, get_format, told_format
from utils.motion_format import MotionFormat
from utils.run import Run

SPLITS = ("train", "val", "test")
OWN_DATASETS = Path("dataset")  # where users' datasets are found by name
# What a user's dataset.json can say.
LONGEST_CLIP = 10_000  # frames that models may see
DATASET_KEYS = ("fps", "joints", "min_frames", "max_frames", "units_per_metre")


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset folder in the published layout, and the numbers that its motions obey.

    Attributes:
        name: as on the command line and in the run folders.
        root: the dataset folder (relative paths start at the working directory).
        format: skeleton, rate and columns of the motions.
        min_frames: shortest clip, and shortest motion that can be asked for, in frames.
        max_frames: longest motion that the models see or make, in frames; a multiple of the format's `unit_length`.
        generated: whether `data.mini` makes the folder when it is missing.
    """

    name: str
    root: Path
    format: MotionFormat
    min_frames: int = 40
    max_frames: int = 196
    generated: bool = False

    @property
    def max_clip_frames(self) -> int:
        """Longest clip that fits `max_frames` once cut down to a multiple of `unit_length` (199 frames for 196)."""
        return self.max_frames + self.format.unit_length - 1

    @property
    def cache_dir(self) -> Path:
        """Folder of what is computed once: `cache` in the dataset's, or the user's own where that cannot be written."""
        beside = self.root / "cache"
        if os.access(beside if beside.exists() else self.root, os.W_OK):
            return beside
        own = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "remomask"
        return own / f"{self.name}-{hashlib.sha256(str(self.root.resolve()).encode()).hexdigest()[:8]}"

    @property
    def features_dir(self) -> Path:
        """Folder of the feature files `ID.npy`, each (T, D)."""
        return self.root / "new_joint_vecs"

    @property
    def joints_dir(self) -> Path:
        """Folder of the joint position files `ID.npy`, each (T, J, 3) in published folders, else (T + 1, J, 3)."""
        return self.root / "new_joints"

    @property
    def texts_dir(self) -> Path:
        """Folder of the caption files `ID.txt`."""
        return self.root / "texts"

    @property
    def mean_path(self) -> Path:
        """File of the feature means, (D,)."""
        return self.root / "Mean.npy"

    @property
    def std_path(self) -> Path:
        """File of the feature standard deviations, (D,)."""
        return self.root / "Std.npy"

    def check_format(self, form: MotionFormat | Run, what: object) -> None:
        """Refuses a run, a library, an evaluator, `what`, that knows motions of another format than the dataset's.

        Raises:
            UserError: says which joint or value differs.
        """
        if difference := form.difference(self.format):
            raise UserError(f"{what} is of another motion format than the dataset {self.root}: {difference}")

    def check_run(self, run: Run) -> None:
        """The same of a run, if it tells its format."""
        if run.value("format") is not None:
            self.check_format(run, run.folder)

    def split_path(self, split: str) -> Path:
        """File that lists a split's clip ids, one a line."""
        return self.root / f"{split}.txt"


SPECS = {
    spec.name: spec
    for spec in (
        DatasetSpec("humanml3d", Path("dataset/HumanML3D"), HUMANML3D),
        DatasetSpec("kit", Path("dataset/KIT-ML"), get_format("kit"), min_frames=24),
        DatasetSpec("mini", Path("dataset/mini"), HUMANML3D, max_frames=120, generated=True),
    )
}


def get_spec(name: str) -> DatasetSpec:
    """Finds a dataset by its name, an alias (`t2m`), or the path of a folder that holds a `dataset.json`.

    A user's own dataset in `dataset/NAME` is found by NAME too.

    The known datasets' folders are not looked at (a saved model can be used without its dataset): see `require_files`.

    Raises:
        UserError: unknown name, or a folder whose `dataset.json` is missing or wrong.
    """
    known = name.lower() if name.lower() in SPECS else ALIASES.get(name.lower(), name.lower())
    if known in SPECS:
        return SPECS[known]
    own = OWN_DATASETS / name
    if os.path.isfile(own / "dataset.json"):  # of a name that no file can have too, which Path.is_file raises over
        return _read_spec(own)
    if os.path.isdir(name):
        return _read_spec(Path(name))
    raise UserError(
        f"unknown dataset {name!r}: use one of {', '.join(SPECS)}, the name of a folder in {OWN_DATASETS}/, or the path"
        " of a folder in HumanML3D's layout that holds a dataset.json"
    )


def usual_frames(form: MotionFormat) -> tuple[int, int]:
    """Frames of the shortest and of the longest clip of motions like these: as published, else 2 s and 9.8 s."""
    published = next((spec for spec in SPECS.values() if spec.format == form), None)
    if published is not None:
        return published.min_frames, published.max_frames
    longest = int(DatasetSpec.max_frames / HUMANML3D.fps * form.fps)
    shortest = round(DatasetSpec.min_frames / HUMANML3D.fps * form.fps)
    unit = form.unit_length
    return max(shortest, unit), max(longest - longest % unit, unit)


def moved(spec: DatasetSpec, root: Path | str) -> DatasetSpec:
    """The same dataset in another folder, which nothing is generated into."""
    return replace(spec, root=Path(root), generated=False)


def require_files(spec: DatasetSpec, *paths: Path) -> None:
    """Checks that the dataset folder, and the given files or folders in it, exist. `mini` is generated on first use.

    Raises:
        UserError: naming what is missing and where it belongs.
    """
    if spec.generated:
        from data.mini.folder import ensure

        ensure(spec.root)
    if not spec.root.is_dir():
        raise UserError(
            f"dataset {spec.name} is missing: its folder belongs at {spec.root}"
            f" (new_joint_vecs/ texts/ Mean.npy Std.npy {' '.join(f'{split}.txt' for split in SPLITS)})"
        )
    for path in paths:
        if not path.exists():
            raise UserError(f"dataset {spec.name} is incomplete: {path.name} is missing, it belongs at {path}")


def _read_spec(folder: Path) -> DatasetSpec:
    """The spec of a user's own folder, from its `dataset.json`:
    `{"fps": 20, "joints": "humanml3d", "min_frames": 40, "max_frames": 196}` (only `fps` is required; frames as in
    `usual_frames`).

    "joints" is a published format's name, the path of a format's file beside `dataset.json`, or the format itself.
    """
    path = folder / "dataset.json"
    if not path.is_file():
        raise UserError(f'{folder} is no dataset: it needs a dataset.json such as {{"fps": 20, "joints": "humanml3d"}}')
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold an object, not {type(content).__name__}")
    found = told_format(content.get("joints", "humanml3d"), f'{path}: "joints"', folder)
    form = replace(found, fps=float(_number(path, content, "fps", None, FASTEST)))
    shortest, longest = usual_frames(form)
    spec = DatasetSpec(
        name=folder.resolve().name,
        root=folder,
        format=form,
        min_frames=int(_number(path, content, "min_frames", shortest, LONGEST_CLIP, whole=True)),
        max_frames=int(_number(path, content, "max_frames", longest, LONGEST_CLIP, whole=True)),
    )
    if _number(path, content, "units_per_metre", found.units_per_metre, math.inf) != found.units_per_metre:
        raise UserError(
            f'{path}: features of "joints": "{found.name}" have {found.units_per_metre:g} units a metre, convert them'
        )
    unit = found.unit_length
    if spec.max_frames % unit or not unit <= spec.min_frames <= spec.max_frames:
        raise UserError(
            f"{path}: needs {unit} <= min_frames <= max_frames and max_frames a multiple of"
            f" {unit}, not {spec.min_frames} and {spec.max_frames}"
        )
    return spec


def _number(
    path: Path, content: dict[str, Any], key: str, default: float | None, largest: float, whole: bool = False
) -> float:
    """A positive number of `dataset.json`; without a default the key is required."""
    value = content.get(key, default)
    numbers = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, numbers) or not 0 < value <= largest:
        least = f" of at most {largest:g}" if largest < math.inf else ""
        raise UserError(f'{path}: "{key}" must be a positive {"whole " * whole}number{least}, not {value!r}')
    return value
