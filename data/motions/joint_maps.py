"""Which joint of a source skeleton is which of a format's: shipped maps, the user's own, and guessing by joint names.

A map is a JSON file `{"about": "...", "skip_frames": 0, "joints": {"pelvis": "Hips", "spine1": {"Hips": 0.5, "Spine":
0.5}, ...}}`: for each joint of the format a source joint, or a blend of source joints whose weights add up to 1. The
End Site of a joint is called `JOINT End Site`. The shipped maps are for HumanML3D's 22 joints.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from storage.files import read_json
from storage.limits import LARGEST_WHOLE
from utils.errors import UserError
from utils.formats import HUMANML3D
from utils.motion_format import MotionFormat

SHIPPED = Path(__file__).parent / "joint_maps"
BY_NAME = "by name"  # the map of a file whose joints have the names of the format's


@dataclass(frozen=True)
class JointMap:
    """Where the J joints of a format are on a source skeleton.

    Attributes:
        name: of the file.
        blends: for each of the J joints its source joints with their weights.
        skip_frames: frames at the beginning of every file that are no motion.
        prefix: of the names where they are written; read, they are known without it.
    """

    name: str
    blends: tuple[tuple[tuple[str, float], ...], ...]
    skip_frames: int = 0
    prefix: str = ""

    @property
    def sources(self) -> set[str]:
        """All source joints."""
        return {source for blend in self.blends for source, _ in blend}

    @property
    def doubles(self) -> set[int]:
        """Joints that are mapped as a joint before them is: one source cannot be two of them."""
        return {target for target, blend in enumerate(self.blends) if blend in self.blends[:target]}

    def missing(self, names: Sequence[str]) -> list[str]:
        """Source joints that a skeleton with joints `names` lacks."""
        known = self._nodes(tuple(names))
        return sorted(source for source in self.sources if source not in known)

    def nodes(self, names: Sequence[str]) -> dict[str, int]:
        """Each source joint's number among `names`.

        Raises:
            UserError: a source joint is missing, or two joints have its name.
        """
        if missing := self.missing(names):
            raise UserError(f"wrong joints: joint map {self.name} needs {', '.join(missing)}")
        found = self._nodes(tuple(names))
        for source, nodes in found.items():
            if len(nodes) > 1:
                raise UserError(f"wrong joints: {len(nodes)} of them are called {source}")
        return {source: nodes[0] for source, nodes in found.items()}

    def apply(self, names: Sequence[str], positions: np.ndarray) -> np.ndarray:
        """The format's joints (T, J, 3) from places (T, N, 3) of joints `names`.

        Raises:
            UserError: see `nodes`.
        """
        nodes = self.nodes(names)
        joints = np.zeros((len(positions), len(self.blends), 3))
        for target, blend in enumerate(self.blends):
            for source, weight in blend:
                joints[:, target] += weight * positions[:, nodes[source]]
        return joints

    @lru_cache  # noqa: B019 - there are few maps, and files of one kind share their names
    def _nodes(self, names: tuple[str, ...]) -> dict[str, list[int]]:
        """The joints that may be meant by each source joint, whatever namespace or prefix stands before all of them."""
        found: dict[str, list[int]] = {}
        for number, name in enumerate(names):
            found.setdefault(_plain(name), []).append(number)
        wanted = {source: _plain(source) for source in self.sources}
        prefixes = {"", *(plain[: -len(end)] for plain in found for end in wanted.values() if plain.endswith(end))}
        hits = {prefix: sum(prefix + end in found for end in wanted.values()) for prefix in sorted(prefixes)}
        best = [prefix for prefix, count in hits.items() if count == max(hits.values())]
        # Two whole skeletons make every name ambiguous, unless one has no prefix.
        chosen = best if hits[best[0]] == len(wanted) and best[0] else best[:1]
        nodes = {
            source: [node for each in chosen for node in found.get(each + end, [])] for source, end in wanted.items()
        }
        return {source: places for source, places in nodes.items() if places}


def _plain(name: str) -> str:
    """A name without namespace (`mixamorig:`), case and marks; an End Site is called `JOINTend`."""
    plain = re.sub(r"[\W_]", "", name.rsplit(":", 1)[-1]).lower()
    return f"{plain.removeprefix('endsite').removesuffix('endsite')}end" if "endsite" in plain else plain


@lru_cache
def load_joint_map(name: str, form: MotionFormat = HUMANML3D) -> JointMap:
    """A shipped map by name, or the user's file by path, to the joints of a format.

    Raises:
        UserError: there is neither, or the file is no map; names file and key.
    """
    path = SHIPPED / f"{name}.json" if name in shipped_names() else Path(name)
    if not os.path.isfile(path):
        raise UserError(f"no joint map {name}: give a JSON file, or one of {', '.join(shipped_names())}")
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("joints"), dict):
        raise UserError(f'{path}: a joint map is an object with an object "joints"')
    if unknown := sorted(set(content) - {"about", "prefix", "skip_frames", "joints"}):
        raise UserError(f"{path}: unknown keys {', '.join(unknown)}")
    joints, targets = content["joints"], form.joint_names
    if wrong := [key for key in (*joints, *targets) if (key in joints) != (key in targets)]:
        verb = "names the unknown joint" if wrong[0] in joints else "lacks the joint"
        raise UserError(f"{path}: {verb} {wrong[0]}; the joints are {', '.join(targets)}")
    skip = content.get("skip_frames", 0)
    if isinstance(skip, bool) or not isinstance(skip, int) or not 0 <= skip <= LARGEST_WHOLE:
        raise UserError(f"{path}: skip_frames must be a number of frames, not {skip!r}")
    prefix = content.get("prefix", "")
    if not isinstance(prefix, str):
        raise UserError(f"{path}: prefix must be text, not {prefix!r:.60}")
    return JointMap(path.stem, tuple(_blend(path, target, joints[target]) for target in targets), skip, prefix)


def _blend(path: Path, target: str, value: Any) -> tuple[tuple[str, float], ...]:
    if isinstance(value, str) and _plain(value):
        return ((value, 1.0),)
    if not isinstance(value, dict) or not value:
        raise UserError(f"{path}: {target} must be a joint name or a blend of them, not {value!r:.60}")
    for source, weight in value.items():
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight <= 1:
            raise UserError(f"{path}: the weight of {source} in {target} must be from 0 to 1, not {weight!r:.60}")
    if abs(sum(value.values()) - 1) > 1e-6:
        raise UserError(f"{path}: the weights of {target} add up to {sum(value.values()):g}, not to 1")
    return tuple((source, float(weight)) for source, weight in value.items())


def shipped_names() -> list[str]:
    """Names of the maps that come with the project."""
    return sorted(path.stem for path in SHIPPED.glob("*.json"))


@lru_cache
def guess_joint_map(names: tuple[str, ...], form: MotionFormat = HUMANML3D) -> JointMap:
    """The map from joints of the format's own names, else the shipped one all of whose joints are among `names`; of
    several the one that uses most of them.

    Raises:
        UserError: none fits; says what the nearest one misses.
    """
    own = JointMap(BY_NAME, tuple(((name, 1.0),) for name in form.joint_names))
    shipped = [load_joint_map(name) for name in shipped_names()] if form.joint_names == HUMANML3D.joint_names else []
    maps = shipped or [own]
    if fitting := [each for each in maps if not each.missing(names)]:
        as_written = {name.rsplit(":", 1)[-1] for name in names}  # of two programs that differ in capitals alone
        return max(fitting, key=lambda each: (len(each.sources), len(each.sources & as_written)))
    nearest = min(maps, key=lambda each: len(each.missing(names)) / len(each.sources))
    missing = nearest.missing(names)
    if not shipped:
        raise UserError(
            f"wrong joints: the format {form.name} has {_some(missing)}, which the file lacks; it has {_some(names)}; "
            "give --joint_map"
        )
    if len(missing) > len(nearest.sources) / 2:
        raise UserError(
            f"wrong joints: no shipped joint map fits ({', '.join(shipped_names())}); the file has {_some(names)}; "
            "give --joint_map"
        )
    raise UserError(f"wrong joints: no shipped joint map fits, {nearest.name} comes nearest but lacks {_some(missing)}")


def rig_names(name: str, form: MotionFormat = HUMANML3D) -> tuple[str, ...]:
    """What another program calls the J joints of a format, by the shipped map of that name.

    Raises:
        UserError: the format has other joints than the maps.
    """
    if form.joint_names != HUMANML3D.joint_names:
        raise UserError(f"--rig {name} names HumanML3D's joints; those of {form.name} keep their own names")
    rig = load_joint_map(name)
    return tuple(rig.prefix + blend[0][0] for blend in rig.blends)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
