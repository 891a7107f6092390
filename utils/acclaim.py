"""Reads Acclaim motions: an .amc of bones' angles, and the .asf beside it that says what its bones are.

Letters: T frames.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from storage.limits import LARGEST_BVH, LARGEST_TEXT, MOST_NODES
from utils import quaternion
from utils.errors import UserError
from utils.hierarchy import LARGEST, Hierarchy, Node, assemble, read_lines, read_number

ROOT = "root"
_UNITS = {"deg": False, "degrees": False, "rad": True, "radians": True}  # whether angles are radians


def skeleton_path(path: Path) -> Path:
    """The .asf of an .amc in the same folder: `01_02.asf`, else its subject's `01.asf`, else the only one there.

    Raises:
        UserError: there is none, or it is not told which.
    """
    subject = path.stem.partition("_")[0]
    for name in (f"{stem}{suffix}" for stem in (path.stem, subject) for suffix in (".asf", ".ASF")):
        if (own := path.with_name(name)).is_file():
            return own
    found = [each for each in path.parent.glob("*") if each.suffix.lower() == ".asf"]
    if len(found) != 1:
        raise UserError(f"{path}: no skeleton: put its {subject}.asf into the same folder")
    return found[0]


def read_amc(path: Path, fps: float) -> Hierarchy:
    """An .amc file with its skeleton, see `skeleton_path`; it does not tell its frame rate.

    Raises:
        UserError: a file is missing or incomplete, or they do not belong together; says what is wrong in which line.
    """
    skeleton = skeleton_path(path)
    lines = read_lines(skeleton, LARGEST_TEXT)
    try:
        bones = _Skeleton.parsed(lines)
    except ValueError as error:
        raise UserError(f"{skeleton} is not a complete ASF file: {error}") from error
    lines = read_lines(path, LARGEST_BVH)
    try:
        return assemble(bones.nodes, _values(lines, bones), fps)
    except ValueError as error:
        raise UserError(f"{path} is not a complete AMC file of {skeleton.name}: {error}") from error


@dataclass
class _Bone:
    """What an .asf says of a bone: the words that follow each key, and their line."""

    line: int
    said: dict[str, tuple[list[str], int]] = field(default_factory=dict)

    def words(self, key: str, usual: str | None = None) -> tuple[list[str], int]:
        """Raises ValueError if nothing is said and nothing is usual."""
        if key in self.said:
            return self.said[key]
        if usual is None:
            raise ValueError(f"line {self.line}: a bone without {key}")
        return usual.split(), self.line

    def numbers(self, key: str, count: int, usual: str | None = None) -> list[float]:
        """The first `count` words as numbers."""
        words, line = self.words(key, usual)
        if len(words) < count:
            raise ValueError(f"line {line}: {key} needs {count} numbers")
        return [read_number(word, line) for word in words[:count]]

    def way(self) -> list[float]:
        """(3,) from the bone's start to its end, at rest."""
        length = self.numbers("length", 1)[0]
        return [length * each for each in self.numbers("direction", 3)]


@dataclass
class _Skeleton:
    """An .asf file: joints with a column a degree of freedom, and whether angles are radians."""

    nodes: list[Node]
    radians: bool

    @classmethod
    def parsed(cls, lines: list[str]) -> _Skeleton:
        """Raises ValueError that says what is wrong."""
        bones, children, radians = {ROOT: _Bone(0)}, {}, False
        section, bone = "", None
        for number, line in enumerate(lines, start=1):
            words = line.partition("#")[0].split()
            key = words[0].lower() if words else ""
            if not words or (section == ":hierarchy" and key in ("begin", "end")):
                continue
            if key.startswith(":"):
                section = key
            elif section == ":units" and key == "angle":
                radians = _radians(words[1:], number)
            elif section == ":root":
                bones[ROOT].said[key] = words[1:], number
            elif section == ":bonedata" and key == "begin":
                bone = _Bone(number)
            elif section == ":bonedata" and key == "end" and bone is not None:
                name = (bone.words("name")[0] or [""])[0]
                if not name or name in bones:
                    raise ValueError(f"line {bone.line}: the bone's name {name[:40]!r} is empty or another's")
                bones[name], bone = bone, None
            elif section == ":bonedata" and bone is not None:
                bone.said.setdefault(key, (words[1:], number))
            elif section == ":hierarchy":
                for child in words[1:]:
                    children.setdefault(words[0], []).append((child, number))
            if len(bones) > MOST_NODES:
                raise ValueError(f"line {number}: more than {MOST_NODES} bones")
        return cls(_tree(bones, children, radians), radians)


def _radians(words: list[str], line: int) -> bool:
    unit = words[0].lower() if words else ""
    if unit not in _UNITS:
        raise ValueError(f"line {line}: angles in {unit[:40]!r}: deg or rad is read")
    return _UNITS[unit]


def _tree(bones: dict[str, _Bone], children: dict[str, list[tuple[str, int]]], radians: bool) -> list[Node]:
    """The joints, parents first. Raises ValueError where the bones are no tree with one root."""
    nodes, columns = [], 0
    waiting = [(ROOT, -1, [0.0, 0.0, 0.0])]
    left = set(bones)
    while waiting:
        name, parent, offset = waiting.pop()
        left.discard(name)
        node = _node(name, parent, bones[name], columns, radians)
        node.offset = offset
        end = [0.0, 0.0, 0.0] if name == ROOT else bones[name].way()
        below = children.get(name, [])
        node.end = None if below else end
        columns += len(node.channels or ())
        nodes.append(node)
        for child, line in reversed(below):
            if child not in left or child in (each[0] for each in waiting):
                known = "hangs on two bones" if child in bones else "is not in :bonedata"
                raise ValueError(f"line {line}: bone {child[:40]} {known}")
            waiting.append((child, len(nodes) - 1, end))
    if left:
        raise ValueError(f"bone {min(left)[:40]} hangs on no other in :hierarchy")
    if len(nodes) == 1:
        raise ValueError("there is no bone")
    return nodes


def _node(name: str, parent: int, bone: _Bone, column: int, radians: bool) -> Node:
    """The joint where a bone starts. It turns about the bone's own axes, about the one that is named first first."""
    if root := name == ROOT:
        freedom, line = bone.words("order", "TX TY TZ RX RY RZ")
        axes, turn = (bone.words("axis", "XYZ")[0] or [""])[0], bone.numbers("orientation", 3, "0 0 0")
    else:
        freedom, line = bone.words("dof", "")
        axes, turn = (*bone.words("axis", "0 0 0 XYZ")[0][3:], "XYZ")[0], bone.numbers("axis", 3, "0 0 0")
    order = axes.upper()[::-1]
    if sorted(order) != ["X", "Y", "Z"]:
        raise ValueError(f"line {line}: bone {name[:40]} has the axes {axes[:40]!r}, not three such as XYZ")
    columns = {each.upper(): column + place for place, each in enumerate(freedom)}
    known = {f"{kind}{axis}" for kind in ("TR" if root else "R") for axis in "XYZ"}
    if len(columns) < len(freedom) or not known.issuperset(columns):
        raise ValueError(f"line {line}: bone {name[:40]} has freedoms other than {', '.join(sorted(known))}, each once")
    channels = [(axis, "position", columns[f"T{axis}"]) for axis in "XYZ" if f"T{axis}" in columns]
    channels += [(axis, "rotation", columns[f"R{axis}"]) for axis in order if f"R{axis}" in columns]
    angles = np.array([turn["XYZ".index(axis)] for axis in order])
    frame = quaternion.from_euler(angles if radians else np.deg2rad(angles), order)
    return Node(name, parent, channels=channels, frame=frame)


def _values(lines: list[str], skeleton: _Skeleton) -> np.ndarray:
    """(T, columns) of an .amc file, angles in degrees. Raises ValueError that says what is wrong."""
    moving = {node.name: len(node.channels) for node in skeleton.nodes if node.channels}
    radians, first, frames, starts = skeleton.radians, 0, [], []
    for number, line in enumerate(lines, start=1):
        name, *words = line.split() or ["#"]
        if name.startswith("#"):
            continue
        if name.startswith(":") and not frames:
            radians = _UNITS.get(name[1:].lower(), radians)
        elif name.isdecimal():
            if words or len(name) > 9 or (frames and int(name) != first + len(frames)):
                raise ValueError(f"line {number}: {line.strip()[:40]!r} is not the number of the next frame")
            first = first if frames else int(name)
            frames.append({})
            starts.append(number)
        elif not frames:
            raise ValueError(f"line {number}: {name[:40]!r} stands where the first frame's number should")
        elif name not in moving or name in frames[-1]:
            raise ValueError(f"line {number}: {name[:40]!r} is no bone that moves, or is there twice")
        elif len(words) != moving[name]:
            raise ValueError(f"line {number}: bone {name} has {len(words)} numbers, the skeleton has {moving[name]}")
        else:
            frames[-1][name] = words
    if not frames:
        raise ValueError("there is no frame")
    for number, frame in zip(starts, frames, strict=True):
        if len(frame) < len(moving):
            missing = next(name for name in moving if name not in frame)
            raise ValueError(f"line {number}: the frame lacks bone {missing[:40]}")
    try:
        values = np.array([word for frame in frames for name in moving for word in frame[name]], dtype=np.float64)
        if not (np.abs(values) <= LARGEST).all():
            raise ValueError("a number is no usable one")
    except ValueError:
        for number, line in enumerate(lines[starts[0] :], start=starts[0] + 1):
            for word in line.partition("#")[0].split()[1:]:
                read_number(word, number)
        raise
    values = values.reshape(len(frames), -1)
    if radians:
        turns = [column for node in skeleton.nodes for _, kind, column in node.channels or () if kind == "rotation"]
        values[:, turns] = np.rad2deg(values[:, turns])
    return values
