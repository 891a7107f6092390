"""File names in run folders, and what `--which_epoch` means among checkpoints. Torch-free: mistakes show at once."""

from __future__ import annotations

import re
from pathlib import Path

from utils.errors import UserError

LATEST = "latest.tar"
PREVIOUS = "previous.tar"  # the state before the latest: for a training to go on with, not for anything else
BEST_FID = "net_best_fid.tar"
EXPORT_SUFFIX = ".safetensors"
EVERY_CHECKPOINT = "all"
SUFFIXES = (".tar", EXPORT_SUFFIX)


def list_checkpoints(run_dir: Path | str) -> list[str]:
    """File names in the run's model folder, net_epoch_2 before net_epoch_10. Unfinished writes and the
    state before the latest are not among them."""
    folder = Path(run_dir) / "model"
    if not folder.is_dir():
        return []
    files = (path.name for path in folder.iterdir() if path.suffix in SUFFIXES and path.is_file())
    return sorted((name for name in files if not name.startswith(".") and name != PREVIOUS), key=_natural)


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts the numbers in names by their value."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def matching_checkpoints(run_dir: Path | str, which: str) -> list[Path]:
    """The checkpoints that `which` can mean: the exact file name, else the stem, else every name with that part.

    An exported run answers to the names it was trained with: net_best_fid.tar means its net_best_fid.safetensors.
    `all` means all of them.

    Raises:
        UserError: none; the files that there are get listed.
    """
    names = list_checkpoints(run_dir)
    stem = Path(which).stem if Path(which).suffix in SUFFIXES else which
    exact = [name for name in names if name == which] or [name for name in names if Path(name).stem == stem]
    found = exact or (names if which == EVERY_CHECKPOINT else [name for name in names if which and which in name])
    if not found:
        there = f"it has {', '.join(names)}" if names else "it has none at all"
        raise UserError(f"{Path(run_dir) / 'model'} has no checkpoint {which!r}: {there}")
    return [Path(run_dir) / "model" / name for name in found]


def resolve_checkpoint(run_dir: Path | str, which: str | None = None) -> Path:
    """The one checkpoint that `which` means.

    Args:
        run_dir: the run's folder.
        which: an exact file name, its stem, or a part that only one file name has (`fid` -> net_best_fid.tar).
            None: what an export holds (the only .safetensors), else net_best_fid.tar, else the only net_best_*.tar,
            else latest.tar; never a net_epoch_*.tar, which was kept for its number and not for its worth.

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
    exported = [name for name in names if name.endswith(EXPORT_SUFFIX)]
    for choice in (exported, [name for name in best if name == BEST_FID], best, [n for n in names if n == LATEST]):
        if len(choice) == 1:
            return folder / choice[0]
    if names:
        there = f"has several checkpoints: {', '.join(best)}" if best else f"has only {', '.join(names)}"
        raise UserError(f"{folder} {there}; say which")
    raise UserError(f"{folder} has no checkpoint: train the run first, or put its weights there")
