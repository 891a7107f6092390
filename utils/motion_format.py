"""What a motion is made of: joints, body parts, feet, rates, units. One value that every layer takes.

A format is a file, see `utils.formats`. Needs neither torch nor NumPy to be read, so that `--help` stays instant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from utils.errors import UserError

if TYPE_CHECKING:
    import numpy as np

EMPTY_SLOT = -1
CHANNELS_PER_JOINT = 12  # 3 position, 6 rotation, 3 velocity
ROOT_COLUMNS, CONTACT_COLUMNS = 4, 4
CONTACT = 0.5  # the contact columns of real features are 0 or 1, those of decoded ones lie between

NUMBERS = ("units_per_metre", "contact_speed", "heading_seconds")
FACING = ("right_hip", "left_hip", "right_shoulder", "left_shoulder")
SIDES = ("left", "right")
LANDMARKS = ("head", "neck", *(f"{side}_{role}" for role in ("knee", "ankle", "elbow", "wrist") for side in SIDES))
SHOWN_ONLY = ("name", "landmarks", "rest")  # keys that features do not depend on


@dataclass(frozen=True)
class MotionFormat:
    """A skeleton with J joints and what features of its motions mean; joint 0 is the root.

    Attributes:
        name: "humanml3d", "kit", or that of a user's own.
        fps: frames a second.
        joint_names: unique.
        parents: parent of each joint, -1 for the root; a parent comes before its children.
        offsets: rest position of each joint relative to its parent, metres.
        parts: body parts and their joints, each joint once: the rows of the token grid.
        face_joints: right hip, left hip, right shoulder, left shoulder.
        left_foot, right_foot: (ankle, toe).
        mirror: the joint on the other side.
        chains: inverse kinematics walk along these; each starts anew from the root's rotation, as the published do.
        retriever_parts: joints that each part encoder of the retriever sees.
        contact_speed: metres a second below which a foot is in contact.
        landmarks: joints that drawing, animation files and the size of a body go by, of those in `LANDMARKS` that there
            are.
        rest: joints whose bone has another direction in the rest pose of animation files than its offset.
        heading_seconds: standard deviation by which the heading of features is smoothed.
        units_per_metre: lengths in features are metres times this.
        unit_length: frames a token step, the same for all; lengths are cut down to multiples of it.
    """

    name: str
    fps: float
    joint_names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: tuple[tuple[float, float, float], ...]
    parts: tuple[tuple[str, tuple[int, ...]], ...]
    face_joints: tuple[int, int, int, int]
    left_foot: tuple[int, int]
    right_foot: tuple[int, int]
    mirror: tuple[int, ...]
    chains: tuple[tuple[int, ...], ...]
    retriever_parts: tuple[tuple[str, tuple[int, ...]], ...]
    landmarks: tuple[tuple[str, int], ...]
    rest: tuple[tuple[int, tuple[float, float, float]], ...]
    contact_speed: float
    heading_seconds: float
    units_per_metre: float

    unit_length: ClassVar[int] = 4

    @property
    def n_joints(self) -> int:
        """J."""
        return len(self.parents)

    @property
    def feet(self) -> tuple[int, int, int, int]:
        """Left ankle, left toe, right ankle, right toe: the order of the contact columns."""
        return (*self.left_foot, *self.right_foot)

    @cached_property
    def bone_lengths(self) -> np.ndarray:
        """(J,) metres, of the bone that ends in each joint; 0 for the root."""
        import numpy as np

        return np.linalg.norm(np.array(self.offsets), axis=-1)

    @cached_property
    def directions(self) -> np.ndarray:
        """(J, 3) unit rest direction of the bone that ends in each joint; 0 for the root."""
        import numpy as np

        return np.array(self.offsets) / np.maximum(self.bone_lengths, 1e-12)[:, None]

    @cached_property
    def rest_directions(self) -> np.ndarray:
        """(J, 3) unit directions of the bones in the rest pose of animation files, a T-pose; 0 for the root."""
        import numpy as np

        directions = self.directions.copy()
        for joint, direction in self.rest:
            directions[joint] = np.array(direction) / np.linalg.norm(direction)
        return directions

    # The body: which joint is which limb's.

    def landmark(self, role: str) -> int:
        """The joint that is one of `LANDMARKS`.

        Raises:
            UserError: the format has none.
        """
        for name, joint in self.landmarks:
            if name == role:
                return joint
        raise UserError(f'the format {self.name} does not say which joint is the {role}: name it under "landmarks"')

    def leg(self, side: str) -> tuple[int, int, int]:
        """Hip, knee and ankle of the "left" or "right" leg."""
        hip = self.face_joints[FACING.index(f"{side}_hip")]
        return hip, self.landmark(f"{side}_knee"), self.landmark(f"{side}_ankle")

    def arm(self, side: str) -> tuple[int, int, int]:
        """Shoulder, elbow and wrist of the "left" or "right" arm."""
        shoulder = self.face_joints[FACING.index(f"{side}_shoulder")]
        return shoulder, self.landmark(f"{side}_elbow"), self.landmark(f"{side}_wrist")

    def foot(self, side: str) -> tuple[int, ...]:
        """From the ankle down to the toe of the "left" or "right" leg."""
        toe = (self.left_foot if side == "left" else self.right_foot)[1]
        return self.way(self.landmark(f"{side}_ankle"), toe)

    @property
    def spine(self) -> tuple[int, ...]:
        """From the root up to the joint below the neck."""
        return self.way(0, self.landmark("neck"))[:-1]

    def way(self, start: int, end: int) -> tuple[int, ...]:
        """The joints from `start` down to `end`, both included; nothing where `end` does not hang on `start`."""
        way = [end]
        while way[0] != start:
            if self.parents[way[0]] < 0:
                return ()
            way.insert(0, self.parents[way[0]])
        return tuple(way)

    # Body parts: the rows of the grids.

    @property
    def n_parts(self) -> int:
        """Body parts, the rows of the token grid."""
        return len(self.parts)

    @property
    def slots_per_part(self) -> int:
        """Joint slots of a body part, the same for all: an even number, which halves exactly."""
        longest = max(len(joints) for _, joints in self.parts)
        return longest + longest % 2

    @property
    def slots(self) -> tuple[int, ...]:
        """The joints of all part slots in row order, `EMPTY_SLOT` where free: the rows of the input grid."""
        free = (EMPTY_SLOT,) * self.slots_per_part
        return tuple(slot for _, joints in self.parts for slot in (*joints, *free)[: self.slots_per_part])

    # Columns of a feature row, those of Guo et al. (CVPR 2022).

    @property
    def n_features(self) -> int:
        """D: 4 root columns, 12 a joint less the root's position and rotation, 4 contacts."""
        return self.contacts.stop

    @property
    def root(self) -> slice:
        """Yaw velocity (half angle, rad a frame), velocity x and z, height."""
        return slice(0, ROOT_COLUMNS)

    @property
    def positions(self) -> slice:
        """Positions of joints 1..J-1 relative to the root in x and z, absolute in y, heading removed."""
        return slice(ROOT_COLUMNS, ROOT_COLUMNS + 3 * (self.n_joints - 1))

    @property
    def rotations(self) -> slice:
        """6D rotations of joints 1..J-1."""
        return slice(self.positions.stop, self.positions.stop + 6 * (self.n_joints - 1))

    @property
    def velocities(self) -> slice:
        """Velocities a frame of joints 0..J-1, heading removed."""
        return slice(self.rotations.stop, self.rotations.stop + 3 * self.n_joints)

    @property
    def contacts(self) -> slice:
        """Left ankle, left toe, right ankle, right toe: 1 in contact, 0 not."""
        return slice(self.velocities.stop, self.velocities.stop + CONTACT_COLUMNS)

    @property
    def groups(self) -> dict[str, slice]:
        """Columns of one kind, which the published `Std.npy` gives one value each."""
        return {
            "yaw velocity": slice(0, 1),
            "root velocity": slice(1, 3),
            "root height": slice(3, 4),
            "positions": self.positions,
            "rotations": self.rotations,
            "velocities": self.velocities,
            "contacts": self.contacts,
        }

    def joint_columns(self, joint: int) -> list[int]:
        """The columns of one joint in the order position, rotation, velocity (the root has its velocity only)."""
        velocity = [self.velocities.start + 3 * joint + axis for axis in range(3)]
        if joint == 0:
            return velocity
        position = [self.positions.start + 3 * (joint - 1) + axis for axis in range(3)]
        rotation = [self.rotations.start + 6 * (joint - 1) + axis for axis in range(6)]
        return position + rotation + velocity

    @cached_property
    def part_columns(self) -> dict[str, np.ndarray]:
        """Columns that each part encoder of the retriever sees; root columns and contacts go with root and feet."""
        import numpy as np

        def columns(joints: tuple[int, ...]) -> list[int]:
            first = self.contacts.start
            root = list(range(ROOT_COLUMNS)) if 0 in joints else []
            left = [first, first + 1] if self.left_foot[1] in joints else []
            right = [first + 2, first + 3] if self.right_foot[1] in joints else []
            return root + [column for joint in joints for column in self.joint_columns(joint)] + left + right

        return {part: np.array(columns(joints)) for part, joints in self.retriever_parts}

    @cached_property
    def grid_columns(self) -> np.ndarray:
        """(slots, 12) feature column in each cell of the grid, D where a cell is empty.

        The root's row has no position and rotation: the four root columns and the four contacts live there, so that no
        feature is left out.
        """
        import numpy as np

        table = np.full((len(self.slots), CHANNELS_PER_JOINT), self.n_features)
        for row, joint in enumerate(self.slots):
            if joint == 0:
                table[row, :4] = range(4)
                table[row, 4:8] = range(self.contacts.start, self.contacts.stop)
                table[row, 9:] = self.joint_columns(0)
            elif joint != EMPTY_SLOT:
                table[row] = self.joint_columns(joint)
        return table

    @cached_property
    def grid_cells(self) -> np.ndarray:
        """(D,) the flat grid cell of each feature column: the inverse of `grid_columns`."""
        import numpy as np

        flat = self.grid_columns.ravel()
        cells = np.empty(self.n_features, dtype=np.int64)
        used = flat < self.n_features
        cells[flat[used]] = np.flatnonzero(used)
        return cells

    def to_json(self) -> dict[str, Any]:
        """What its file holds; `read_format` of that gives the same format."""
        names = self.joint_names

        def named(joints: Sequence[int]) -> list[str]:
            return [names[joint] for joint in joints]

        return {
            "name": self.name,
            "fps": self.fps,
            **{key: getattr(self, key) for key in NUMBERS},
            "joints": [
                {"name": name, "parent": None if parent < 0 else names[parent], "offset": list(offset)}
                for name, parent, offset in zip(names, self.parents, self.offsets, strict=True)
            ],
            "parts": {part: named(joints) for part, joints in self.parts},
            "facing": dict(zip(FACING, named(self.face_joints), strict=True)),
            "feet": {"left": named(self.left_foot), "right": named(self.right_foot)},
            "mirror": dict(zip(names, named(self.mirror), strict=True)),
            "chains": [named(chain) for chain in self.chains],
            "retriever_parts": {part: named(joints) for part, joints in self.retriever_parts},
            "landmarks": {role: names[joint] for role, joint in self.landmarks},
            "rest": {names[joint]: list(direction) for joint, direction in self.rest},
        }

    def difference(self, other: MotionFormat) -> str | None:
        """In one line what features of the other format mean otherwise; None where motions of both are of one kind."""
        if self.joint_names != other.joint_names:
            unlike = Counter(self.joint_names) - Counter(other.joint_names) or Counter(other.joint_names)
            return f"{self.n_joints} joints, not {other.n_joints} ({', '.join(list(unlike)[:3])})"
        own, others = ({key: _keyed(value) for key, value in each.to_json().items()} for each in (self, other))
        key = next((key for key in own if key not in SHOWN_ONLY and own[key] != others[key]), None)
        if key is None:
            return None
        if key in ("fps", *NUMBERS):
            return f"{key} {own[key]:g}, not {others[key]:g}"
        if isinstance(own[key], dict):
            name = next(name for name in (*own[key], *others[key]) if own[key].get(name) != others[key].get(name))
            return f"{key}: {name} is {own[key].get(name)}, not {others[key].get(name)}"
        return f"{key}: {own[key]}, not {others[key]}"


def _keyed(value: Any) -> Any:
    """The list of joints by their names; other values as they are."""
    joints = isinstance(value, list) and isinstance(value[0], dict)
    return {joint["name"]: [joint["parent"], joint["offset"]] for joint in value} if joints else value
