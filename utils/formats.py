"""Formats of motions as files: the two published ones by name, a user's own by its path.

A format is one JSON file; `utils/motion_formats` holds the two published ones, which show what a user's own says:

    {"name": "studio", "fps": 30,
     "joints": [{"name": "pelvis", "parent": null, "offset": [0, 0, 0]},
                {"name": "left_hip", "parent": "pelvis", "offset": [0.1, 0, 0]}, ...],
     "parts": {"spine": ["pelvis", ...], "left_leg": [...], "right_leg": [...], "left_arm": [...], ...},
     "facing": {"left_hip": "left_hip", "right_hip": ..., "left_shoulder": ..., "right_shoulder": ...},
     "feet": {"left": ["left_ankle", "left_toe"], "right": ["right_ankle", "right_toe"]}}

Offsets are those of the rest pose, a T-pose, in metres, y up, the body facing +z and its left at +x. Optional keys:

- `units_per_metre` of the feature files (1), `contact_speed`: metres a second below which a foot is in contact (0.9),
  `heading_seconds`: how far the heading is smoothed (1)
- `landmarks`: joints that drawing and animation files go by, `{"head": "Head", "left_wrist": "LeftHand", ...}`. Without
  it: a joint called head; one called neck, else the head's parent; knees and ankles are the first two joints below the
  hips on the way to the toes; elbows and wrists those of such names, else the first ones below the shoulders
- `mirror`: the joint on the other side (else told by left and right in names), `chains` of inverse kinematics,
  `retriever_parts` (else the body parts without the root), `rest`: directions of bones whose offset is not the rest
  pose's
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from storage.files import read_json
from utils.errors import UserError
from utils.format_reading import FormatReading
from utils.motion_format import MotionFormat

FOLDER = Path(__file__).with_name("motion_formats")
PUBLISHED = sorted(path.stem for path in FOLDER.glob("*.json"))
ALIASES = {"t2m": "humanml3d", "hml3d": "humanml3d", "mini": "humanml3d", "kit-ml": "kit", "kit_ml": "kit"}


@lru_cache
def published(name: str) -> MotionFormat | None:
    """The published format that a name or an alias means, in any case; None: there is none."""
    name = ALIASES.get(name.lower(), name.lower())
    return read_format(FOLDER / f"{name}.json") if name in PUBLISHED else None


def get_format(dataset: str | MotionFormat) -> MotionFormat:
    """The format of a published dataset's name ("humanml3d", "t2m", "mini", "kit"), or in a .json file; a format is its
    own.

    Raises:
        UserError: there is no such format.
    """
    if isinstance(dataset, MotionFormat):
        return dataset
    if dataset.endswith(".json"):
        return read_format(Path(dataset))
    if (form := published(dataset)) is None:
        known = ", ".join([*PUBLISHED, *ALIASES])
        raise UserError(f"no skeleton is called {dataset!r}: give a format's .json file, or {known}")
    return form


def told_format(told: Any, where: str, folder: Path | None = None) -> MotionFormat:
    """The format that a file tells: by a published name, by the path of a format's file, or as the format itself.

    Args:
        told: what it says.
        where: what is named in errors.
        folder: what paths are relative to.

    Raises:
        UserError: it is none of these, or the format contradicts itself.
    """
    if isinstance(told, dict):
        return format_of(told, where)
    if isinstance(told, str) and told.endswith(".json") and folder is not None:
        return read_format(folder / told)
    if not isinstance(told, str) or (form := published(told)) is None:
        raise UserError(f'{where} must be "humanml3d", "kit" or a format\'s file, not {told!r}'[:200])
    return form


def telling(form: MotionFormat) -> str | dict[str, Any]:
    """What `told_format` takes: the name of a published format, whatever the rate, or all of another."""
    known = published(form.name)
    return form.name if known is not None and known == replace(form, fps=known.fps) else form.to_json()


def read_format(path: Path) -> MotionFormat:
    """The format in a JSON file.

    Raises:
        UserError: the file cannot be read, or contradicts itself; the joint or value is named.
    """
    return format_of(read_json(path), str(path))


def format_of(content: Any, where: str) -> MotionFormat:
    """A format from what its JSON file holds, see the module.

    Args:
        where: what is named in errors.

    Raises:
        UserError: it contradicts itself: a cycle, a missing parent, a part with an unknown joint, and the like.
    """
    return FormatReading(where).format(content)


HUMANML3D = get_format("humanml3d")
