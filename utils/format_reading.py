"""The content of a format's file -> a `MotionFormat`, or one line that says which joint or value contradicts another.

What the file says is told in `utils.formats`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from utils.errors import UserError
from utils.motion_format import FACING, LANDMARKS, SIDES, MotionFormat

REQUIRED = ("name", "fps", "joints", "parts", "facing", "feet")
DEFAULTS = {"units_per_metre": 1.0, "contact_speed": 0.9, "heading_seconds": 1.0}
OPTIONAL = (*DEFAULTS, "mirror", "chains", "retriever_parts", "landmarks", "rest")
FASTEST = 240  # frames a second
LETTER = re.compile(r"(?<![A-Za-z])[LlRr](?![A-Za-z])|(?<![A-Za-z])[LR](?=[A-Z][a-z])")  # Hip_L, l_hip, LHip
WORD = re.compile(r"[^\s{}\"/\\]{1,60}")


class FormatReading:
    """Turns the content of a format file into a format, checking as it goes; every error starts with the file."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.numbers: dict[str, int] = {}

    def format(self, content: Any) -> MotionFormat:
        self.keys(content, REQUIRED, OPTIONAL, "the format")
        numbers = {key: self.number(content.get(key, default), key) for key, default in DEFAULTS.items()}
        names, parents, offsets = self.tree(content["joints"])
        facing = self.keys(content["facing"], FACING, (), '"facing"')
        feet = self.keys(content["feet"], SIDES, (), '"feet"')
        parts = self.joint_lists(content["parts"], '"parts"')
        self.once_each(parts)
        own_parts = (("root", (0,)), *((part, tuple(joint for joint in joints if joint)) for part, joints in parts))
        chains = content.get("chains")
        retriever_parts = content.get("retriever_parts")
        form = MotionFormat(
            name=self.word(content["name"], '"name"'),
            fps=self.number(content["fps"], "fps", FASTEST),
            joint_names=names,
            parents=parents,
            offsets=offsets,
            parts=parts,
            face_joints=tuple(self.joint(facing[role], f'"facing": {role}') for role in FACING),
            left_foot=self.foot(feet["left"], "left", parents),
            right_foot=self.foot(feet["right"], "right", parents),
            mirror=self.mirrored(content.get("mirror"), names, parents),
            chains=_chains(parents) if chains is None else self.walks(chains, parents),
            retriever_parts=tuple((part, joints) for part, joints in own_parts if joints)
            if retriever_parts is None
            else self.joint_lists(retriever_parts, '"retriever_parts"'),
            landmarks=(),
            rest=self.rest(content.get("rest", {})),
            **numbers,
        )
        self.standing(form)
        return replace(form, landmarks=self.landmarks(content.get("landmarks", {}), form))

    def error(self, problem: str) -> UserError:
        return UserError(f"{self.where}: {problem}")

    def keys(self, content: Any, required: Sequence[str], optional: Sequence[str], what: str) -> Mapping[str, Any]:
        if not isinstance(content, dict):
            raise self.error(f"{what} must be an object with {', '.join(required)}, not {type(content).__name__}")
        if missing := [key for key in required if key not in content]:
            raise self.error(f"{what} lacks {', '.join(missing)}")
        if unknown := [key for key in content if key not in (*required, *optional)]:
            raise self.error(f"{what} has unknown keys: {', '.join(map(str, unknown))[:200]}")
        return content

    def number(self, value: Any, key: str, largest: float = 1e9) -> float:
        if type(value) not in (int, float) or not 0 < value <= largest:
            raise self.error(f'"{key}" must be a positive number of at most {largest:g}, not {str(value)[:40]!r}')
        return float(value)

    def word(self, value: Any, what: str) -> str:
        if not isinstance(value, str) or not WORD.fullmatch(value):
            raise self.error(f"{what} must be a word without blanks, not {str(value)[:60]!r}")
        return value

    def vector(self, value: Any, what: str) -> tuple[float, float, float]:
        numbers = isinstance(value, list) and len(value) == 3
        if not numbers or not all(type(each) in (int, float) and -100 < each < 100 for each in value):
            raise self.error(f"{what} must be three numbers in metres, not {str(value)[:60]!r}")
        return tuple(map(float, value))

    def tree(self, joints: Any) -> tuple[tuple[str, ...], tuple[int, ...], tuple[tuple[float, float, float], ...]]:
        if not isinstance(joints, list) or len(joints) < 2:
            raise self.error('"joints" must be a list of at least two joints')
        for place, joint in enumerate(joints):
            self.keys(joint, ("name", "parent", "offset"), (), f"joint {place}")
            if self.word(joint["name"], f"the name of joint {place}") in self.numbers:
                raise self.error(f"two joints are called {joint['name']}")
            self.numbers[joint["name"]] = place
        names = tuple(self.numbers)
        parents = tuple(self.parent(joint, place) for place, joint in enumerate(joints))
        offsets = tuple(self.offset(joint, place) for place, joint in enumerate(joints))
        return names, parents, offsets

    def parent(self, joint: Mapping[str, Any], place: int) -> int:
        name, parent = joint["name"], joint["parent"]
        if parent is None:
            if place:
                raise self.error(f"{name} has no parent, but only the first joint is the root")
            return -1
        number = self.joint(parent, f"the parent of {name}")
        if not place:
            raise self.error(f"the first joint is the root, but {name} has the parent {parent}")
        if number >= place:
            raise self.error(f"{name} stands before its parent {parent}: no joint is above itself, parents come first")
        return number

    def offset(self, joint: Mapping[str, Any], place: int) -> tuple[float, float, float]:
        offset = self.vector(joint["offset"], f"the offset of {joint['name']}")
        if place and not any(offset):
            raise self.error(f"{joint['name']} lies on its parent {joint['parent']}: its offset is zero")
        return offset

    def joint(self, name: Any, what: str) -> int:
        if not isinstance(name, str) or name not in self.numbers:
            raise self.error(f"{what} is {str(name)[:60]!r}, which is no joint")
        return self.numbers[name]

    def joint_lists(self, content: Any, what: str) -> tuple[tuple[str, tuple[int, ...]], ...]:
        if not isinstance(content, dict) or not content:
            raise self.error(f"{what} must be an object of lists of joints")
        for part, joints in content.items():
            self.word(part, f"{what}: the name of a part")
            if not isinstance(joints, list) or not joints:
                raise self.error(f"{what}: {part} must be a list of joints")
        return tuple(
            (part, tuple(self.joint(joint, f"{what}: a joint of {part}") for joint in joints))
            for part, joints in content.items()
        )

    def once_each(self, parts: Sequence[tuple[str, tuple[int, ...]]]) -> None:
        names = list(self.numbers)
        uses = Counter(joint for _, joints in parts for joint in joints)
        if twice := [names[joint] for joint, count in uses.items() if count > 1]:
            raise self.error(f'"parts": {twice[0]} stands in more than one place')
        if lost := [name for name, joint in self.numbers.items() if joint not in uses]:
            raise self.error(f'"parts": {lost[0]} is in no part')

    def foot(self, content: Any, side: str, parents: Sequence[int]) -> tuple[int, int]:
        if not isinstance(content, list) or len(content) != 2:
            raise self.error(f'"feet": {side} must be an ankle and a toe')
        ankle, toe = (self.joint(name, f'"feet": {side}') for name in content)
        if parents[toe] != ankle:
            raise self.error(f'"feet": {side}: {content[0]} is not the parent of {content[1]}')
        return ankle, toe

    def rest(self, content: Any) -> tuple[tuple[int, tuple[float, float, float]], ...]:
        if not isinstance(content, dict):
            raise self.error('"rest" must be an object of directions')
        rest = tuple(
            (self.joint(name, '"rest": a joint'), self.vector(direction, f'"rest": {name}'))
            for name, direction in content.items()
        )
        if zero := [joint for joint, direction in rest if not any(direction)]:
            raise self.error(f'"rest": {list(self.numbers)[zero[0]]} has no direction')
        return rest

    def standing(self, form: MotionFormat) -> None:
        """Legs hang on hips, and the rest pose stands as the module says."""
        rest = [[0.0, 0.0, 0.0]]
        directed = dict(form.rest)
        for joint, parent in enumerate(form.parents[1:], start=1):
            rest.append(
                [at + step for at, step in zip(rest[parent], directed.get(joint, form.offsets[joint]), strict=True)]
            )
        sides = zip((*form.face_joints[1::2], *form.left_foot), (*form.face_joints[::2], *form.right_foot), strict=True)
        for left, right in sides:
            if left == right or form.mirror[left] != right:
                names = (form.joint_names[left], form.joint_names[right])
                raise self.error(f'"mirror": {" and ".join(names)} must be each other\'s other side')
        right, left = form.face_joints[:2]
        for hip, foot, side in ((left, form.left_foot, "left"), (right, form.right_foot, "right")):
            if not form.way(hip, foot[1]):
                names = form.joint_names
                raise self.error(f'"feet": {side}: {names[foot[1]]} does not hang on {names[hip]}, the {side} hip')
            if rest[foot[0]][1] >= rest[hip][1]:
                raise self.error(
                    f"the rest pose must stand with y up, but {form.joint_names[foot[0]]} is not below the hip"
                )
        if rest[left][0] <= rest[right][0]:
            raise self.error(f"the rest pose must have its left at +x, but {form.joint_names[left]} is at the right")

    def landmarks(self, content: Any, form: MotionFormat) -> tuple[tuple[str, int], ...]:
        """The joints of all roles that are given or can be told."""
        self.keys(content, (), LANDMARKS, '"landmarks"')
        given = {role: self.joint(name, f'"landmarks": {role}') for role, name in content.items()}
        plain = {re.sub(r"^.*:|[^a-z]", "", name.lower()): joint for name, joint in reversed(self.numbers.items())}
        head = given.get("head", plain.get("head"))
        found = {"head": head, "neck": plain.get("neck", form.parents[head] if head else None)}
        limbs = [("head", ("neck", "head"), 0)]
        for side in SIDES:
            hip, shoulder = (form.face_joints[FACING.index(f"{side}_{role}")] for role in ("hip", "shoulder"))
            way = form.way(hip, (form.left_foot if side == "left" else form.right_foot)[1])
            if len(way) > 3:
                found |= {f"{side}_knee": way[1], f"{side}_ankle": way[2]}
            elbow = given.get(f"{side}_elbow", plain.get(f"{side}elbow", _child(form, shoulder)))
            found |= {f"{side}_elbow": elbow, f"{side}_wrist": plain.get(f"{side}wrist", _child(form, elbow))}
            limbs += [(f"{side} leg", (f"{side}_knee", f"{side}_ankle"), hip)]
            limbs += [(f"{side} arm", (f"{side}_elbow", f"{side}_wrist"), shoulder)]
        found = {role: joint for role, joint in (found | given).items() if joint}
        for limb, roles, start in limbs:
            ways = [form.way(start, found[role]) for role in roles if role in found]
            if not all(len(way) > 1 for way in ways) or (len(ways) == 2 and ways[1][: len(ways[0])] != ways[0]):
                told = ", ".join(f"{role} {form.joint_names[found[role]]}" for role in roles if role in found)
                raise self.error(f'"landmarks": {told} do not follow {form.joint_names[start]} along the {limb}')
        return tuple((role, found[role]) for role in LANDMARKS if role in found)

    def mirrored(self, content: Any, names: Sequence[str], parents: Sequence[int]) -> tuple[int, ...]:
        """The joint on the other side: as given, else the one whose name has left and right exchanged."""
        told = {name: _other_side(name) for name in names}
        pairs = content if content is not None else {name: told[name] for name in names if told[name] in self.numbers}
        if not isinstance(pairs, dict):
            raise self.error('"mirror" must be an object of joints')
        for name in pairs:
            self.joint(name, '"mirror": a joint')
        others = tuple(self.joint(pairs.get(name, name), f'"mirror": the other side of {name}') for name in names)
        for joint, other in enumerate(others):
            if others[other] != joint:
                raise self.error(f'"mirror": {names[joint]} and {names[other]} are not each other\'s other side')
            above, wanted = parents[other], others[parents[joint]] if joint else -1
            if above != wanted:
                place = names[wanted] if wanted >= 0 else "no joint"
                raise self.error(
                    f'"mirror": {names[other]}, the other side of {names[joint]}, does not hang on {place}'
                )
        return others

    def walks(self, content: Any, parents: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        if not isinstance(content, list) or not all(isinstance(chain, list) and len(chain) > 1 for chain in content):
            raise self.error('"chains" must be a list of lists of joints')
        chains = tuple(tuple(self.joint(name, '"chains": a joint') for name in chain) for chain in content)
        names = list(self.numbers)
        reached = Counter(child for chain in chains for child in chain[1:])
        for chain in chains:
            for parent, child in zip(chain, chain[1:], strict=False):
                if parents[child] != parent:
                    raise self.error(f'"chains": {names[parent]} is not the parent of {names[child]}')
        if wrong := [name for name, joint in self.numbers.items() if joint and reached[joint] != 1]:
            raise self.error(f'"chains": {wrong[0]} must be reached once')
        return chains


def _child(form: MotionFormat, joint: int | None) -> int | None:
    """The first joint below."""
    return form.parents.index(joint) if joint is not None and joint in form.parents else None


def _other_side(name: str) -> str:
    """A joint's name with left and right exchanged, in any of the usual ways to write them."""
    if (letter := LETTER.search(name)) is not None:
        other = {"L": "R", "R": "L", "l": "r", "r": "l"}[letter.group()]
        return name[: letter.start()] + other + name[letter.end() :]
    for left, right in (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT")):
        if left in name:
            return name.replace(left, right)
        if right in name:
            return name.replace(right, left)
    return name


def _chains(parents: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Walks down the tree, along the first child, one anew from each joint that branches."""
    chains: list[list[int]] = []
    for joint in range(1, len(parents)):
        chain = next((chain for chain in chains if chain[-1] == parents[joint]), None)
        if chain is None or not parents[joint]:
            chains.append([parents[joint], joint])
        else:
            chain.append(joint)
    return tuple(map(tuple, chains))
