"""What a dataset is and where it lies. Needs neither torch nor NumPy, so that `--help` stays instant."""

from __future__ import annotations

import hashlib
import math
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from storage.files import read_json
from storage.limits import LONGEST_ID
from utils.errors import UserError
from utils.format_reading import FASTEST
from utils.formats import ALIASES, HUMANML3D, get_format, told_format
from utils.motion_format import MotionFormat
from utils.run import Run
from utils.shares import is_first_process

SPLITS = ("train", "val", "test")
OWN_DATASETS = Path("dataset")  # where users' datasets are found by name
# What a user's dataset.json can say.
LONGEST_CLIP = 10_000  # frames that models may see
DATASET_KEYS = ("fps", "joints", "min_frames", "max_frames", "units_per_metre")


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset folder in the published layout, or several of one format, and the numbers that their motions obey.

    Attributes:
        name: as on the command line and in the run folders; of several sets `cmu+mini`.
        root: the dataset folder (relative paths start at the working directory); of several sets nothing lies there.
        format: skeleton, rate and columns of the motions.
        min_frames: shortest clip, and shortest motion that can be asked for, in frames.
        max_frames: longest motion that the models see or make, in frames; a multiple of the format's `unit_length`.
        generated: whether `data.mini` makes the folder when it is missing.
        members: the sets where there are several, see `mixed`. Each keeps limits, splits and statistics of its own, and
            a clip's id is `SET/ID`.
        weights: a whole number a member, the share of an epoch's samples that are its; (): every clip once.
    """

    name: str
    root: Path
    format: MotionFormat
    min_frames: int = 40
    max_frames: int = 196
    generated: bool = False
    members: tuple[DatasetSpec, ...] = ()
    weights: tuple[int, ...] = ()

    @property
    def sets(self) -> tuple[DatasetSpec, ...]:
        """The folders: the members, or the one that this is."""
        return self.members or (self,)

    @property
    def shares(self) -> dict[str, int]:
        """The weights by the members' names; nothing where every clip is drawn once."""
        return {one.name: weight for one, weight in zip(self.members, self.weights, strict=bool(self.weights))}

    @property
    def argument(self) -> str:
        """What `--dataset_name` finds it by, the same for the same sets and shares."""
        if SPECS.get(self.name) == self:
            return self.name
        shares = [f":{weight}" for weight in self.weights] or [""] * len(self.members)
        return ",".join(one.argument + share for one, share in zip(self.members, shares, strict=True)) or str(self.root)

    @property
    def max_clip_frames(self) -> int:
        """Longest clip that fits `max_frames` once cut down to a multiple of `unit_length` (199 frames for 196)."""
        return self.max_frames + self.format.unit_length - 1

    @property
    def cache_dir(self) -> Path:
        """Folder of what is computed once: `cache` in the dataset's, or the user's own where that cannot be written."""
        if self.members:
            return self.members[0].cache_dir
        beside = self.root / "cache"
        if os.access(beside if beside.exists() else self.root, os.W_OK):
            return beside
        own = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "remomask"
        return own / f"{self.name}-{hashlib.sha256(str(self.root.resolve()).encode()).hexdigest()[:8]}"

    @property
    def features_dir(self) -> Path:
        """Folder of the feature files `ID.npy`, each (T, D)."""
        return self.root / "new_joint_vecs"

    def features_path(self, clip_id: str) -> Path:
        """The feature file of a clip, which may be one of a member; there may be none."""
        source, _, own = clip_id.rpartition("/")
        for one in self.members:
            if one.name == source:
                return one.features_dir / f"{own}.npy"
        return self.features_dir / f"{clip_id}.npy"

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
            raise UserError(f"{what} is of another motion format than the dataset {self.argument}: {difference}")

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

WHERE_DATASETS_ARE = (
    f"use one of {', '.join(SPECS)}, the name of a folder in {OWN_DATASETS}/, the path of a folder in HumanML3D's"
    " layout that holds a dataset.json, or several of them with commas"
)
WEIGHTED = r"(.+):(\d{1,6}(?:\.\d{1,6})?)"


def get_spec(name: str) -> DatasetSpec:
    """Finds a dataset by its name, an alias (`t2m`), or the path of a folder that holds a `dataset.json`.

    A user's own dataset in `dataset/NAME` is found by NAME too. Several have commas between them, and perhaps weights:
    `mini:1,cmu:3`, see `mixed`. One whose motions are of another format than the first one's is named and left out.

    The known datasets' folders are not looked at (a saved model can be used without its dataset): see `require_files`.

    Raises:
        UserError: unknown name, a folder whose `dataset.json` is missing or wrong, or several sets that cannot be one.
    """
    if (found := _find_one(name)) is not None:
        return found
    if "," in name:
        return _find_several(name)
    raise UserError(f"unknown dataset {name!r}: {WHERE_DATASETS_ARE}")


def same_dataset(name: str, other: str) -> bool:
    """Whether both mean the same folders, in the same shares, however they are spelled."""
    try:
        told = [get_spec(each) for each in (name, other)]
    except UserError:
        return name == other
    one, two = ({each.root.resolve(): spec.shares.get(each.name) for each in spec.sets} for spec in told)
    return one == two


def mixed(sets: Sequence[DatasetSpec], weights: Sequence[Fraction | int] = (), name: str | None = None) -> DatasetSpec:
    """Several datasets as one. In which order they are given makes no difference.

    Args:
        sets: of one format. Each gives the clips that it gives alone; models see motions as long as any set's.
        weights: one a set, positive, or none.
        name: of the whole; None: `cmu+mini`.

    Raises:
        UserError: a set is there twice, two have one name, or a format is another than the first one's.
    """
    seen: dict[str, DatasetSpec] = {}
    for one in sets:
        if one.members:
            raise UserError(f"{one.name} is several datasets itself: name {one.argument}")
        for other in seen.values():
            if one.root.resolve() == other.root.resolve():
                raise UserError(f"the dataset {one.name} is there twice: as {other.root} and as {one.root}")
        if one.name in seen:
            raise UserError(f"{seen[one.name].root} and {one.root} are both called {one.name}: rename a folder")
        if difference := one.format.difference(sets[0].format):
            raise UserError(f"{one.argument} and {sets[0].argument} are of different motion formats: {difference}")
        seen[one.name] = one
    members = tuple(seen[each] for each in sorted(seen))
    if len(name := name or "+".join(sorted(seen))) > LONGEST_ID:
        raise UserError(f"the names of the datasets have over {LONGEST_ID} characters together: rename a folder")
    by_name = {one.name: Fraction(weight) for one, weight in zip(sets, weights, strict=bool(weights))}
    parts = math.lcm(*(weight.denominator for weight in by_name.values()))
    whole = [int(by_name[one.name] * parts) for one in members if by_name]
    return DatasetSpec(
        name,
        OWN_DATASETS / name,
        members[0].format,
        min(one.min_frames for one in members),
        max(one.max_frames for one in members),
        members=members,
        weights=tuple(weight // math.gcd(*whole) for weight in whole),
    )


# What pretrained/open was trained on; dataset/cmu is made by prepare_dataset.py, see reproduce_open.sh.
SPECS["open"] = mixed(
    [SPECS["mini"], DatasetSpec("cmu", OWN_DATASETS / "cmu", HUMANML3D, min_frames=32)], (2, 3), name="open"
)


def _find_several(name: str) -> DatasetSpec:
    """The datasets of `mini:1,cmu:3`. A set of another format than the first one is left out, and a line says so."""
    sets: list[DatasetSpec] = []
    weights: list[Fraction] = []
    dropped: list[str] = []
    for part in map(str.strip, name.split(",")):
        spec, weight = _find_one(part), None
        if spec is None and (told := re.fullmatch(WEIGHTED, part)) and (weight := Fraction(told[2])) > 0:
            spec = _find_one(told[1])
        if spec is None:
            raise UserError(f"unknown dataset {part!r} in {name!r}: {WHERE_DATASETS_ARE}; weights are positive numbers")
        if sets and (difference := spec.format.difference(sets[0].format)):
            dropped.append(f"{spec.argument} is left out: it has another format than {sets[0].argument}: {difference}")
            continue
        sets.append(spec)
        weights += [] if weight is None else [weight]
    if len(sets) < 2:
        raise UserError(f"nothing is left beside {sets[0].argument}: {'; '.join(dropped)}")
    if len(weights) not in (0, len(sets)):
        raise UserError(f"{name!r} gives some datasets a weight: give one to each of them, or to none")
    found = mixed(sets, weights)
    for line in dropped if is_first_process() else ():
        print(f"warning: {line}", file=sys.stderr)
    return found


def _find_one(name: str) -> DatasetSpec | None:
    """A single dataset; None: there is none of this name."""
    known = name.lower() if name.lower() in SPECS else ALIASES.get(name.lower(), name.lower())
    if known in SPECS:
        return SPECS[known]
    own, given = OWN_DATASETS / name, os.path.expanduser(name)
    if os.path.isfile(own / "dataset.json"):  # of a name that no file can have too, which Path.is_file raises over
        return _of_folder(own)
    return _of_folder(Path(given)) if os.path.isdir(given) else None


def _of_folder(folder: Path) -> DatasetSpec:
    """The dataset of a folder, the same however its path is spelled; that of a known one is the known one."""
    real = folder.resolve()
    for spec in SPECS.values():
        if not spec.members and spec.root.resolve() == real:
            return spec
    here = Path.cwd()
    return _read_spec(real.relative_to(here) if real.is_relative_to(here) and real != here else real)


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


def require_split(spec: DatasetSpec, split: str) -> None:
    """Checks that a split is there, in every set; see `require_files`."""
    for one in spec.sets:
        require_files(one, one.split_path(split))


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
