"""Motions on a user's own rig: the rig's proportions, names and rest pose stay, its feet are on the floor.

Every joint turns in the world as the motion's own rig turns, from where both are the same pose. For limbs that is where
their bones point the same way; trunk and feet, whose joints lie elsewhere in every rig, start from standing upright.

Letters: T frames, N nodes of the character, J joints.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from storage.files import atomic_path
from utils import quaternion
from utils.errors import UserError
from utils.motion_format import SIDES, MotionFormat
from visualization.body import get_body
from visualization.bvh import Tree as BvhTree
from visualization.bvh import rig_motion, write_tree
from visualization.character import Character, with_plain_node
from visualization.contacts import SOLE, standing_floor

# How the motion's own rig is turned in somebody who stands upright with hanging arms and faces +z: rotation vectors in
# degrees, of the left side. Only of trunk and feet, whose joints lie elsewhere in every rig.
STANDING = {
    "pelvis": (-11.0, 0.0, 0.0),
    "spine1": (5.0, 0.0, 0.0),
    "spine2": (5.5, 0.0, 0.0),
    "spine3": (-3.0, 0.0, 0.0),
    "neck": (10.0, 0.0, 0.0),
    "head": (10.0, 0.0, 0.0),
    "left_collar": (-3.0, 7.0, 12.0),
    "left_ankle": (0.0, 0.0, 0.0),
    "left_foot": (0.0, 0.0, 0.0),
}
STRETCH = 0.999  # of a leg's length: no foot is reached for farther
LOWER_FOOT = 0.03  # metres by which one foot must be lower to be the one that the height goes by


@dataclass(frozen=True)
class Retargeted:
    """A motion of a character, in the file's axes and unit.

    Attributes:
        character: whose.
        places, turns: (T, N, 3) and (T, N, 4) of its nodes in the world.
        joints: (T, J, 3) metres, y up, of the skeleton's joints.
    """

    character: Character
    places: np.ndarray
    turns: np.ndarray
    joints: np.ndarray

    def write_bvh(self, path: Path, fps: float) -> Path:
        """Writes the moving skeleton as a .bvh, whose unit is the character's.

        Raises:
            UserError: the folder cannot be written.
        """
        tree = self.character.tree
        rest_places, rest_turns = tree.rest
        if self.character.glb is None:
            nodes, rest_turns = list(range(len(tree.names))), np.tile([1.0, 0, 0, 0], (len(tree.names), 1))
            offsets = tree.scaled_offsets
        else:  # a .bvh has no rotations at rest
            nodes = self._skeleton()
            offsets = np.array([rest_places[node] - rest_places[max(tree.parents[node], 0)] for node in nodes])
        place = {node: index for index, node in enumerate(nodes)}
        parents = [place.get(tree.parents[node], -1) for node in nodes]
        world = quaternion.multiply(self.turns[:, nodes], quaternion.inverse(rest_turns[nodes]))
        local = world.copy()
        for index, parent in enumerate(parents):
            if parent >= 0:
                local[:, index] = quaternion.multiply(quaternion.inverse(world[:, parent]), world[:, index])
        ends = np.nan_to_num(tree.ends[nodes])
        # What lies between the root and the pelvis does not turn: the root is moved for it.
        pelvis = int(self.character.nodes[0])
        root = self.places[:, nodes[0]]
        reached = root.copy()
        for node in [node for node in reversed(tree.chain(pelvis)) if node in place][1:]:
            parent = place[tree.parents[node]]
            reached = reached + quaternion.rotate(world[:, parent], offsets[place[node]])
        root = root + self.places[:, pelvis] - reached
        written = BvhTree([tree.names[node] for node in nodes], parents, offsets, dict(enumerate(ends)))
        return write_tree(path, written, root, quaternion.unroll(local), fps)

    def write_glb(self, path: Path, fps: float, name: str = "motion") -> Path:
        """Writes the character's file with this motion as its only animation; all else in it stays.

        Raises:
            UserError: the character is no .glb, or the folder cannot be written.
        """
        glb, tree = self.character.glb, self.character.tree
        if glb is None:
            raise UserError("a character without a mesh cannot be written as .glb")
        glb = glb.copy()
        tracks, pelvis = {}, int(self.character.nodes[0])
        for node in sorted({pelvis, *(int(node) for node in self.character.nodes if node >= 0)}):
            number, parent = tree.numbers[node], tree.parents[node]
            with_plain_node(glb.document["nodes"][number])
            above = self.turns[:, parent] if parent >= 0 else np.tile([1.0, 0, 0, 0], (len(self.turns), 1))
            back = quaternion.inverse(above)
            if node == pelvis:
                away = self.places[:, node] - (self.places[:, parent] if parent >= 0 else 0)
                size = tree.world_sizes[parent] if parent >= 0 else 1.0
                tracks[number, "translation"] = quaternion.rotate(back, away) / size
            tracks[number, "rotation"] = quaternion.unroll(quaternion.multiply(back, self.turns[:, node])[:, None])[
                :, 0
            ]
        glb.animate(name, fps, tracks)
        with atomic_path(path) as temporary:
            temporary.write_bytes(glb.pack())
        return path

    def _skeleton(self) -> list[int]:
        """The nodes of a .glb that are its skeleton: what the pelvis hangs on within the skin, and all below that."""
        tree, glb = self.character.tree, self.character.glb
        bones = glb.bones if glb else set()
        top = int(self.character.nodes[0])
        for node in tree.chain(top)[1:]:
            if tree.numbers[node] not in bones:
                break
            top = node
        below = [node for node in range(len(tree.names)) if top in tree.chain(node)]
        carried = {each for node in below if tree.numbers[node] in bones for each in tree.chain(node)}
        return [node for node in below if node in carried] if bones else below


def retarget(joints: np.ndarray, fps: float, form: MotionFormat, character: Character) -> Retargeted:
    """Puts joints (T, J, 3) onto a character; a leg's length is the measure of the way that it goes.

    Raises:
        UserError: bad joints or fps.
    """
    rig, pose = rig_motion(joints, fps, form)
    rest_rig, rest_pose = rig_motion(character.joints[None], fps, form)
    tree = character.tree
    _, rest_turns = tree.rest
    turned = np.broadcast_to(quaternion.multiply(character.frame, rest_turns), (len(joints), *rest_turns.shape)).copy()
    mapped = {int(node): joint for joint, node in enumerate(character.nodes) if node >= 0}  # the last joint of a node
    world: dict[int, np.ndarray] = {}
    for node, joint in mapped.items():
        own = int(rig.node_of_joint[joint])
        start = rest_pose.world[0, int(rest_rig.node_of_joint[joint])]
        if character.upright and (standing := _standing(form.joint_names[joint])) is not None:
            start = standing
        turn = quaternion.multiply(pose.world[:, own], quaternion.inverse(start))
        world[node] = quaternion.multiply(turn, turned[:, node])
    scale = _leg(character.joints[None], form) / _leg(joints, form)
    source = joints - [0.0, standing_floor(joints, form), 0.0]
    body = _Body(character, world, (scale * source[:, 0]).copy())
    flat = SOLE * get_body(form).scale(joints)
    goals = {}
    for side in SIDES:
        hip, knee, ankle = form.leg(side)
        toe = (form.left_foot if side == "left" else form.right_foot)[1]
        drop = -rig.offsets[rig.node_of_joint[toe], 1]  # of the ankle of a flat foot, above its toes
        goal = scale * source[:, ankle]
        if character.upright:  # else nothing tells how high its ankles are
            goal[:, 1] += character.joints[ankle, 1] - scale * (flat + drop)
        goals[hip, knee, ankle] = goal
    body.stand(goals)
    return body.finished()


class _Body:
    """A character in motion: metres, y up; rotations (T, 4) of its mapped nodes, which may still be changed."""

    def __init__(self, character: Character, world: dict[int, np.ndarray], root: np.ndarray) -> None:
        self.character, self.world, self.root = character, world, root
        self.rest_turns = quaternion.multiply(character.frame, character.tree.rest[1])
        self.place()

    def place(self) -> None:
        """Forward kinematics."""
        tree, frame, metres = self.character.tree, self.character.frame, self.character.metres
        rest_places, _ = tree.rest
        pelvis, frames = int(self.character.nodes[0]), len(self.root)
        offsets, above = tree.scaled_offsets * metres, set(tree.chain(pelvis)[1:])
        self.turns = np.empty((frames, len(tree.names), 4))
        self.places = np.empty((frames, len(tree.names), 3))
        for node, parent in enumerate(tree.parents):
            if node in self.world:
                self.turns[:, node] = self.world[node]
            elif parent < 0 or node in above:
                self.turns[:, node] = self.rest_turns[node]
            else:
                self.turns[:, node] = quaternion.multiply(self.turns[:, parent], tree.turns[node])
            if node == pelvis:
                self.places[:, node] = self.root
            elif parent < 0 or node in above:
                self.places[:, node] = quaternion.rotate(frame, rest_places[node] * metres) - [
                    0.0,
                    self.character.floor,
                    0.0,
                ]
            else:
                offset = np.broadcast_to(offsets[node], (frames, 3))
                self.places[:, node] = self.places[:, parent] + quaternion.rotate(self.turns[:, parent], offset)

    def stand(self, goals: dict[tuple[int, int, int], np.ndarray]) -> None:
        """Raises the body so that its lower foot is where it should be, and bends the legs so that both are.

        Args:
            goals: (T, 3) of the ankle, by the joints hip, knee, ankle.
        """
        nodes = {leg: [int(self.character.nodes[joint]) for joint in leg] for leg in goals}
        missing = np.stack([goal - self.places[:, nodes[leg][2]] for leg, goal in goals.items()])[..., 1]
        heights = np.stack([goal[:, 1] for goal in goals.values()])
        weights = np.exp(-(heights - heights.min(axis=0)) / LOWER_FOOT)
        self.root[:, 1] += (weights * missing).sum(axis=0) / weights.sum(axis=0)
        self.place()
        for leg, goal in goals.items():
            self._reach(*nodes[leg], goal)
        self.place()

    def _reach(self, hip: int, knee: int, ankle: int, goal: np.ndarray) -> None:
        """Turns thigh and shin so that the ankle comes as near as it can to `goal` (T, 3); the foot keeps its turn."""
        start, middle, end = (self.places[:, node] for node in (hip, knee, ankle))
        thigh, shin = (np.linalg.norm(bone, axis=-1, keepdims=True) for bone in (middle - start, end - middle))
        axis = quaternion.normalize(goal - start)
        longest = np.linalg.norm(end - start, axis=-1, keepdims=True).clip(STRETCH * (thigh + shin))
        distance = np.linalg.norm(goal - start, axis=-1, keepdims=True).clip(abs(thigh - shin) + 1e-4, longest)
        # The knee stays on the side on which it is; the front of a straight leg is carried along with the leg.
        swing = quaternion.between(end - start, axis)
        front = quaternion.multiply(self.world[hip], quaternion.inverse(self.rest_turns[hip]))
        ahead = quaternion.rotate(swing, middle - start + 1e-3 * quaternion.rotate(front, np.array([0.0, 0.0, 1.0])))
        ahead = ahead - (ahead * axis).sum(-1, keepdims=True) * axis
        along = (thigh**2 - shin**2 + distance**2) / (2 * distance)
        side = np.sqrt(np.maximum(thigh**2 - along**2, 0)) * quaternion.normalize(ahead)
        bent, reached = start + along * axis + side, start + distance * axis
        for node, old, new in ((hip, middle - start, bent - start), (knee, end - middle, reached - bent)):
            self.world[node] = quaternion.multiply(quaternion.between(old, new), self.world[node])

    def finished(self) -> Retargeted:
        """The motion in the file's axes and unit."""
        back = quaternion.inverse(self.character.frame)
        joints = np.einsum("jn,tnx->tjx", self.character.weights, self.places)
        places = quaternion.rotate(back, self.places + [0.0, self.character.floor, 0.0]) / self.character.metres
        return Retargeted(self.character, places, quaternion.multiply(back, self.turns), joints)


def _standing(name: str) -> np.ndarray | None:
    """How a joint of trunk or feet is turned in somebody who stands, (4,); None of limbs."""
    mirrored = name.startswith("right_")
    vector = STANDING.get(f"left_{name.removeprefix('right_')}" if mirrored else name)
    if vector is None:
        return None
    return quaternion.from_rotation_vector(np.deg2rad(vector) * ([1, -1, -1] if mirrored else [1, 1, 1]))


def _leg(joints: np.ndarray, form: MotionFormat) -> float:
    """Length of a leg of joints (T, J, 3), medians over time, the mean of both sides."""
    bones = [(leg[at], leg[at + 1]) for leg in map(form.leg, SIDES) for at in (0, 1)]
    lengths = np.linalg.norm(np.stack([joints[:, a] - joints[:, b] for a, b in bones]), axis=-1)
    return float(np.median(lengths, axis=1).sum() / len(SIDES))
