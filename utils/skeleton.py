"""The two skeletons of the field and their body parts: the one table that says which joint is where.

y is up, the body faces +z, its left is +x.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from utils.errors import UserError

EMPTY_SLOT = -1
HEAD_DIRECTION = np.array([0.0, 0.90, 0.44])  # from neck to head, upright
FOOT_DIRECTION = np.array([0.0, -0.45, 0.89])  # from ankle to toe of a flat foot


@dataclass(frozen=True)
class Skeleton:
    """A kinematic tree with J joints; joint 0 is the root.

    Attributes:
        parents: parent of each joint, -1 for the root; a parent comes before its children.
        directions: (J, 3) rest direction of the bone that ends in each joint, as the published features use them.
        bone_lengths: (J,) metres, of the bone that ends in each joint.
        chains: the published inverse kinematics walk along these; each starts anew from the root's rotation.
        face_joints: right hip, left hip, right shoulder, left shoulder.
        left_foot, right_foot: (ankle, toe).
        mirror: (J,) the joint on the other side.
        part_names, part_slots: six body parts and the joints in their slots, `EMPTY_SLOT` where a slot is free. This is
            the row order of the token grid.
        retriever_parts: joints that each part encoder of the retriever sees (the root channels are added to "root").
    """

    name: str
    joint_names: tuple[str, ...]
    parents: tuple[int, ...]
    directions: np.ndarray
    bone_lengths: np.ndarray
    chains: tuple[tuple[int, ...], ...]
    face_joints: tuple[int, int, int, int]
    left_foot: tuple[int, int]
    right_foot: tuple[int, int]
    mirror: tuple[int, ...]
    part_names: tuple[str, ...]
    part_slots: tuple[tuple[int, ...], ...]
    retriever_parts: dict[str, tuple[int, ...]]

    @property
    def n_joints(self) -> int:
        """J."""
        return len(self.parents)

    @property
    def slots(self) -> tuple[int, ...]:
        """The joints of all part slots in row order, `EMPTY_SLOT` where free."""
        return tuple(joint for part in self.part_slots for joint in part)

    @property
    def slots_per_part(self) -> int:
        """How many joint slots a body part has (the same for all)."""
        return len(self.part_slots[0])


PART_NAMES = ("spine", "left_leg", "right_leg", "head", "left_arm", "right_arm")

_HUMANML3D = Skeleton(
    name="humanml3d",
    joint_names=tuple(
        [
            "pelvis",
            "left_hip",
            "right_hip",
            "spine1",
            "left_knee",
            "right_knee",
            "spine2",
            "left_ankle",
            "right_ankle",
            "spine3",
            "left_foot",
            "right_foot",
            "neck",
            "left_collar",
            "right_collar",
            "head",
            "left_shoulder",
            "right_shoulder",
            "left_elbow",
            "right_elbow",
            "left_wrist",
            "right_wrist",
        ]
    ),
    parents=(-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19),
    directions=np.array(
        [[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, -1, 0], [0, 1, 0], [0, -1, 0], [0, -1, 0]]
        + [[0, 1, 0], [0, 0, 1], [0, 0, 1], [0, 1, 0], [1, 0, 0], [-1, 0, 0], [0, 0, 1]]
        + [[0, -1, 0]] * 6,
        dtype=np.float64,
    ),
    # The proportions of every clip of the published dataset, which is retargeted to one body.
    bone_lengths=np.array(
        [0, 0.10307, 0.10988, 0.13157, 0.39362, 0.39019, 0.14319, 0.43243, 0.42564, 0.05736, 0.14338]
        + [0.14942, 0.21936, 0.13749, 0.14338, 0.10304, 0.13161, 0.12298, 0.25684, 0.26309, 0.26601, 0.26988]
    ),
    chains=((0, 2, 5, 8, 11), (0, 1, 4, 7, 10), (0, 3, 6, 9, 12, 15), (9, 14, 17, 19, 21), (9, 13, 16, 18, 20)),
    face_joints=(2, 1, 17, 16),
    left_foot=(7, 10),
    right_foot=(8, 11),
    mirror=(0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20),
    part_names=PART_NAMES,
    part_slots=(
        (0, 3, 6, 9),
        (1, 4, 7, 10),
        (2, 5, 8, 11),
        (12, 15, EMPTY_SLOT, EMPTY_SLOT),
        (13, 16, 18, 20),
        (14, 17, 19, 21),
    ),
    retriever_parts={
        "root": (0,),
        "right_leg": (2, 5, 8, 11),
        "left_leg": (1, 4, 7, 10),
        "backbone": (3, 6, 9, 12, 15),
        "right_arm": (9, 14, 17, 19, 21),
        "left_arm": (9, 13, 16, 18, 20),
    },
)

_KIT = Skeleton(
    name="kit",
    joint_names=tuple(
        [
            "pelvis",
            "spine",
            "chest",
            "neck",
            "head",
            "right_shoulder",
            "right_elbow",
            "right_wrist",
            "left_shoulder",
            "left_elbow",
            "left_wrist",
            "right_hip",
            "right_knee",
            "right_ankle",
            "right_heel",
            "right_toe",
            "left_hip",
            "left_knee",
            "left_ankle",
            "left_heel",
            "left_toe",
        ]
    ),
    parents=(-1, 0, 1, 2, 3, 3, 5, 6, 3, 8, 9, 0, 11, 12, 13, 14, 0, 16, 17, 18, 19),
    directions=np.array(
        [[0, 0, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0], [1, 0, 0], [0, -1, 0], [0, -1, 0], [-1, 0, 0]]
        + [[0, -1, 0], [0, -1, 0], [1, 0, 0], [0, -1, 0], [0, -1, 0], [0, 0, 1], [0, 0, 1], [-1, 0, 0]]
        + [[0, -1, 0], [0, -1, 0], [0, 0, 1], [0, 0, 1]],
        dtype=np.float64,
    ),
    # Metres, from the published mean pose.
    bone_lengths=np.array(
        [0, 0.120, 0.168, 0.062, 0.042, 0.157, 0.210, 0.143, 0.157, 0.210, 0.143]
        + [0.070, 0.349, 0.353, 0.040, 0.071, 0.070, 0.349, 0.353, 0.040, 0.071]
    ),
    chains=((0, 11, 12, 13, 14, 15), (0, 16, 17, 18, 19, 20), (0, 1, 2, 3, 4), (3, 5, 6, 7), (3, 8, 9, 10)),
    face_joints=(11, 16, 5, 8),
    left_foot=(19, 20),
    right_foot=(14, 15),
    mirror=(0, 1, 2, 3, 4, 8, 9, 10, 5, 6, 7, 16, 17, 18, 19, 20, 11, 12, 13, 14, 15),
    part_names=PART_NAMES,
    # Legs have five joints here, so each part has six slots (an even number halves exactly).
    part_slots=(
        (0, 1, 2, 3, EMPTY_SLOT, EMPTY_SLOT),
        (16, 17, 18, 19, 20, EMPTY_SLOT),
        (11, 12, 13, 14, 15, EMPTY_SLOT),
        (4,) + (EMPTY_SLOT,) * 5,
        (8, 9, 10) + (EMPTY_SLOT,) * 3,
        (5, 6, 7) + (EMPTY_SLOT,) * 3,
    ),
    retriever_parts={
        "root": (0,),
        "right_leg": (11, 12, 13, 14, 15),
        "left_leg": (16, 17, 18, 19, 20),
        "backbone": (1, 2, 3, 4),
        "right_arm": (3, 5, 6, 7),
        "left_arm": (3, 8, 9, 10),
    },
)


def t_pose_directions(names: Sequence[str]) -> np.ndarray:
    """(N, 3) unit directions of the bones that end in joints `names`: a T-pose that faces +z, the left at +x."""
    rest = np.tile(np.array([0.0, 1.0, 0.0]), (len(names), 1))
    for node, name in enumerate(names):
        side = 1.0 if name.startswith("left") else -1.0
        if name.endswith(("hip", "collar", "shoulder", "elbow", "wrist")):
            rest[node] = [side, 0, 0]
        elif name.endswith(("knee", "ankle")):
            rest[node] = [0, -1, 0]
        elif name.endswith(("heel", "foot", "toe")):
            rest[node] = FOOT_DIRECTION / np.linalg.norm(FOOT_DIRECTION)
        elif name == "head":
            rest[node] = HEAD_DIRECTION / np.linalg.norm(HEAD_DIRECTION)
    return rest


SKELETONS: dict[str, Skeleton] = {"humanml3d": _HUMANML3D, "kit": _KIT}
_ALIASES = {"t2m": "humanml3d", "mini": "humanml3d"}


def get_skeleton(dataset: str) -> Skeleton:
    """The skeleton of a dataset or layout name.

    Raises:
        UserError: there is no such skeleton.
    """
    name = _ALIASES.get(dataset, dataset)
    if name not in SKELETONS:
        raise UserError(f"no skeleton is called {dataset!r}; there are {', '.join([*SKELETONS, *_ALIASES])}")
    return SKELETONS[name]
