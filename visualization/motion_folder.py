"""A folder of joints files, with the captions that lie beside them, to a folder of exports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from utils.errors import UserError
from utils.files import read_json
from visualization.formats import MOST_COMPARED, ExportSettings, check_comparison, write_comparison, write_motion
from visualization.html import Panel
from visualization.motion_files import motion_paths, read_joints

INDEX = "result.json"  # what the demo says of its motions


def read_motion_folder(folder: Path | str, dataset: str) -> dict[str, Panel]:
    """All motions of a folder by name, with their captions; every file is checked before any is used.

    Raises:
        UserError: no such folder, nothing in it, or a bad file, which is named.
    """
    paths = motion_paths(folder)
    known = _samples(Path(folder))
    return {name: _panel(path, read_joints(path, dataset), known) for name, path in paths.items()}


def _samples(folder: Path) -> dict[Path, dict]:
    """What the demo's index says of each joints file, if there is one."""
    if not (folder / INDEX).is_file():
        return {}
    try:
        samples = read_json(folder / INDEX)["samples"]
        return {folder / sample["files"]["joints"]: sample for sample in samples if "joints" in sample["files"]}
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder / INDEX} is not what the demo writes: remove it, or run the demo again") from error


def _panel(path: Path, joints: np.ndarray, known: Mapping[Path, dict]) -> Panel:
    """One motion with its words."""
    if path in known:
        sample = known[path]
        retrieved = [(entry["motion_id"], entry["caption"], entry["score"]) for entry in sample["retrieved"]]
        return Panel(joints, sample["prompt"], f"seed {sample['seed']}", retrieved)
    beside = path.with_suffix(".txt")
    if beside.is_file():
        try:
            line = beside.read_text(encoding="utf-8-sig").strip().splitlines()[:1]
        except UnicodeDecodeError as error:
            raise UserError(f"{beside} is not UTF-8 text") from error
        # HumanML3D's lines are `caption#word/POS ...#start#end`.
        return Panel(joints, line[0].split("#")[0].strip() if line else "")
    return Panel(joints, path.stem if path.stem != "joints" else path.parent.name)


def export_folder(
    motions: Mapping[str, Panel],
    folder: Path,
    formats: Sequence[str],
    compare: Sequence[str],
    settings: ExportSettings,
) -> list[Path]:
    """Writes every motion in every format into `folder`, with a progress bar, and the comparisons that are wanted.

    Returns:
        the files.

    Raises:
        UserError: see `write_motion` and `write_comparison`; a comparison that cannot be is found before any file.
    """
    shown = list(motions.values())[:MOST_COMPARED]
    if compare:
        check_comparison(len(shown), compare, settings)
    written: list[Path] = []
    for name, motion in tqdm(motions.items(), desc="exporting", unit="motion"):
        written += write_motion(folder / name, motion, formats, settings).values()
    if compare:
        if len(shown) < len(motions):
            print(f"the comparison shows the first {MOST_COMPARED} of {len(motions)} motions")
        written += write_comparison(folder / "comparison", shown, compare, settings).values()
    print(f"{folder}: {len(written)} files of {len(motions)} motions")
    return written
