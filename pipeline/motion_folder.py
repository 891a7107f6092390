"""A folder of motions with the captions that lie beside them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from data.captions import read_captions
from data.motions.folder import demo_sample, motion_paths
from data.motions.reader import MotionReader
from pipeline.motions import read_all
from visualization.captioned import CaptionedMotion


def read_motion_folder(folder: Path | str, reader: MotionReader) -> dict[str, CaptionedMotion]:
    """All motions of a folder by name, with the captions that lie beside them.

    Raises:
        UserError: no such folder, nothing in it, or a bad file, which is named.
    """
    paths = motion_paths(folder)
    motions = read_all(reader, paths)
    return {name: replace(_words(paths[name]), joints=each.joints, fps=each.fps) for name, each in motions.items()}


def _words(path: Path) -> CaptionedMotion:
    """What is said of a motion file: by the demo, by the first line of the text beside it, or by its name."""
    nothing = np.zeros((0, 0, 3))
    if (sample := demo_sample(path)) is not None:
        retrieved = [(entry["motion_id"], entry["caption"], entry["score"]) for entry in sample["retrieved"]]
        return CaptionedMotion(nothing, sample["prompt"], f"seed {sample['seed']}", retrieved)
    if (beside := path.with_suffix(".txt")).is_file():
        captions = read_captions(beside, plain=True)
        return CaptionedMotion(nothing, captions[0].text if captions else "")
    return CaptionedMotion(nothing, path.stem if path.stem != "joints" else path.parent.name)
