"""Which clips a folder holds, and what they are called."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from data.motions.folder import MOTION_SUFFIXES, companions, is_motion
from utils.errors import UserError

INDEX_FPS, INDEX_PIECE = 20.0, 200  # frames a second that HumanML3D's index counts, and in its longest clips
# A split file's lines are separated by blanks, `@` starts a crop in a clip's id.
_UNFIT = re.compile(r"[\s@#/\\:*?\"<>|\x00-\x1f\x7f]+")


@dataclass(frozen=True)
class Source:
    """A motion file and the clip's name that follows from it, or the clip that an index cuts from it.

    Attributes:
        crop: first frame and last + 1 at `INDEX_FPS`, None for all and for the last; of the motion.
        take: the performance, where the clip's name does not tell it.
    """

    name: str
    path: Path
    crop: tuple[int, int | None] | None = None
    take: str = ""

    @property
    def fingerprint(self) -> str:
        """Changes when the file does, or the crop."""
        status = [path.stat() for path in (self.path, *companions(self.path))]
        marks = [f"{each.st_size}-{each.st_mtime_ns}" for each in status]
        return "-".join(marks + ([f"{self.crop[0]}:{self.crop[1]}"] if self.crop else []))


@dataclass(frozen=True)
class Refusal:
    """Something that is not in the dataset, and why."""

    name: str
    file: str
    reason: str


def clip_name(path: Path | str) -> str:
    """The clip that a file below the folder of motions or texts belongs to: its relative path, as one plain name.

    A suffix that motions or texts have is left out.
    """
    path = Path(path)
    if path.suffix.lower() in (*MOTION_SUFFIXES, ".txt"):
        path = path.with_suffix("")
    return _UNFIT.sub("_", "_".join(path.parts)).strip("_") or "clip"


def files_below(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """All files with these suffixes, in order of their paths; hidden files and folders are left out.

    Raises:
        UserError: the folder is missing or cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is {'not a folder' if folder.exists() else 'missing'}")
    try:
        found = [path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file()]
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror}") from error
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def find_motions(folder: Path) -> tuple[list[Source], list[Refusal]]:
    """The motions of a folder and of all folders in it. Of two with one name the first in order of paths is taken.

    Returns:
        the motions by name, and the refused ones.

    Raises:
        UserError: the folder is missing, or holds no motion.
    """
    paths = [path for path in files_below(folder, MOTION_SUFFIXES) if is_motion(path)]
    if not paths:
        raise UserError(f"{folder} holds no motion: put {', '.join(MOTION_SUFFIXES)} files there")
    taken: dict[str, Source] = {}
    refused = []
    for path in paths:
        name = clip_name(path.relative_to(folder))
        if name in taken:
            other = taken[name].path.relative_to(folder)
            refused.append(
                Refusal(name, str(path.relative_to(folder)), f"duplicate name: {other} is called {name} too")
            )
        else:
            taken[name] = Source(name, path)
    return [taken[name] for name in sorted(taken)], refused
