"""Which motion files a folder holds, and what the demo says of those that it wrote."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from storage.files import MESH_SUFFIX, SMPL_SUFFIX, read_json
from utils.acclaim import skeleton_path
from utils.errors import UserError
from utils.formats import HUMANML3D, get_format, told_format
from utils.motion_format import MotionFormat

# Of files with one name the first is the motion, others are exports of it.
MOTION_SUFFIXES = (".npy", ".npz", ".bvh", ".amc")
NOT_MOTIONS = ("features.npy", "Mean.npy", "Std.npy")  # lie beside joints in our own and in published folders
INDEX = "result.json"  # what the demo says of its motions


def is_motion(path: Path) -> bool:
    """Whether a file may be a motion, by its name."""
    name = path.name
    return path.suffix.lower() in MOTION_SUFFIXES and name not in NOT_MOTIONS and not name.startswith(".")


def companions(path: Path) -> list[Path]:
    """The files without which a motion file means nothing: the skeleton of an .amc, if there is one."""
    try:
        return [skeleton_path(path)] if path.suffix.lower() == ".amc" else []
    except UserError:
        return []


def motion_paths(folder: Path | str, meshes: bool = False) -> dict[str, Path]:
    """The motion files of a folder by a name of their own: those in it, and every joints.npy below it.

    Args:
        folder: where they lie.
        meshes: also the meshes that fit.py wrote, `NAME_mesh.npy`.

    Raises:
        UserError: no such folder, nothing in it, or two files would be called the same.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is {'not a folder' if folder.exists() else 'missing'}: give a folder of motions")
    left_out = (SMPL_SUFFIX,) if meshes else (SMPL_SUFFIX, MESH_SUFFIX)
    direct = [path for path in folder.iterdir() if is_motion(path) and not path.name.endswith(left_out)]
    direct.sort(key=lambda path: (path.stem, MOTION_SUFFIXES.index(path.suffix.lower())))
    named: dict[str, Path] = {}
    for path in direct:
        named.setdefault(path.stem, path)
    for path in sorted(folder.rglob("joints.npy")):
        if path.parent == folder:
            continue
        name = "_".join(path.relative_to(folder).parts[:-1])
        if name in named:
            raise UserError(f"{named[name]} and {path} would both be called {name}: rename one")
        named[name] = path
    if not named:
        raise UserError(f"{folder} holds no motion: put {', '.join(MOTION_SUFFIXES)} files of joints there")
    return named


def demo_sample(path: Path) -> dict[str, Any] | None:
    """What the demo's index says of a joints.npy that it wrote (prompt, seed, fps, ...); None of other files.

    Raises:
        UserError: there is an index, but not as the demo writes it.
    """
    if path.name != "joints.npy":
        return None
    for folder in path.resolve().parents[:2]:
        index = folder / INDEX
        if index.is_file() and path.resolve() in (known := _samples(index, index.stat().st_mtime_ns)):
            return known[path.resolve()]
    return None


def format_of_motions(paths: Iterable[Path], said: str | None = None) -> MotionFormat:
    """Whose joints motion files are: as the user said, else as the demo says of those that it wrote, else HumanML3D's.

    Raises:
        UserError: there is no such format.
    """
    if said is not None:
        return get_format(said)
    told = (sample.get("format") for path in paths if (sample := demo_sample(path)) is not None)
    return next((told_format(each, f"the format in {INDEX}") for each in told if each is not None), HUMANML3D)


@lru_cache(maxsize=16)
def _samples(index: Path, changed: int) -> dict[Path, dict[str, Any]]:
    """The samples of an index by their joints file; `changed` makes another version another entry."""
    try:
        content = read_json(index)
        common = {"format": content.get("format")}
        samples = [common | sample for sample in content["samples"] if "joints" in sample["files"]]
        if not all(map(_is_told, samples)):
            raise ValueError("another sample")
        return {index.parent / sample["files"]["joints"]: sample for sample in samples}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{index} is not what the demo writes: remove it, or run the demo again") from error


def _is_told(sample: dict[str, Any]) -> bool:
    """Whether a sample says what is shown of it."""
    words = all(isinstance(each["caption"], str) and isinstance(each["motion_id"], str) for each in sample["retrieved"])
    numbers = [sample["seed"], sample.get("fps", 20.0), *(each["score"] for each in sample["retrieved"])]
    proper = all(type(each) in (int, float) for each in numbers) and isinstance(sample["prompt"], str)
    return words and proper and 0.1 <= sample.get("fps", 20.0) <= 10000
