"""Motion files at the doors that take several: which axis is up for all of them, and what is remarked, is said once.

Needs NumPy alone, since it also runs in Blender's Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.captions import read_captions
from data.motions.folder import demo_sample, motion_paths
from data.motions.reader import MotionReader, SourceMotion
from data.motions.smpl import BodyShape
from utils.errors import UserError
from visualization.captioned import CaptionedMotion
from visualization.smpl_model import find_body_model, read_body_model

GENDERS = ("neutral", "male", "female")


def read_bodies(path: str | None) -> dict[str, BodyShape]:
    """The SMPL bodies by gender: of a folder as many as there are, of a file that one.

    Raises:
        UserError: there is none, or the file is no body model.
    """
    if path is None:
        return {}
    bodies, problem = {}, None
    for gender in GENDERS:
        try:
            bodies[gender] = BodyShape.from_model(read_body_model(find_body_model(path, gender)))
        except UserError as error:
            problem = problem or error
        if Path(path).is_file():
            break
    if not bodies and problem is not None:
        raise problem
    return bodies


def read_all(reader: MotionReader, paths: Mapping[str, Path]) -> dict[str, SourceMotion]:
    """All files by name, each checked before any is used; prints what is remarkable.

    Raises:
        UserError: as `MotionReader.read`.
    """
    reader = reader.agreed(paths.values())
    for kind, axis in reader.axes.items():
        if axis != "y" and reader.settings.up_axis == "auto":
            print(f"note: {kind} files are taken to stand along {axis.replace('minus_', '-')} (--up_axis)")
    motions = {name: reader.read(path) for name, path in paths.items()}
    for name, motion in motions.items():
        for remark in motion.remarks:
            print(f"note: {name}: {remark}")
    return motions


def read_motion_folder(folder: Path | str, reader: MotionReader) -> dict[str, CaptionedMotion]:
    """All motions of a folder by name, with the captions that lie beside them.

    Raises:
        UserError: no such folder, nothing in it, or a bad file, which is named.
    """
    paths = motion_paths(folder)
    motions = read_all(reader, paths)
    return {name: CaptionedMotion(each.joints, fps=each.fps, **_words(paths[name])) for name, each in motions.items()}


def _words(path: Path) -> dict[str, Any]:
    """What is said of a motion file: by the demo, by the first line of the text beside it, or by its name."""
    if (sample := demo_sample(path)) is not None:
        retrieved = [(entry["motion_id"], entry["caption"], entry["score"]) for entry in sample["retrieved"]]
        return {"prompt": sample["prompt"], "label": f"seed {sample['seed']}", "retrieved": retrieved}
    if (beside := path.with_suffix(".txt")).is_file():
        captions = read_captions(beside, plain=True)
        return {"prompt": captions[0].text if captions else ""}
    return {"prompt": path.stem if path.stem != "joints" else path.parent.name}
