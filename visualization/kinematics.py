"""Joint positions to joint rotations and back, for animation files.

Positions leave the twist of every bone open. Here pelvis and chest take it from their rigid triangles of joints (hips
and spine, collars and neck), the spine between shares the difference, and upper arms and thighs take it from the plane
in which elbow and knee bend, smoothly over time: a straight limb has no such plane and must not spin.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from utils import quaternion
from utils.motion_format import SIDES, MotionFormat
from utils.quaternion import normalize
from utils.rig import RigMotion
from visualization.body import LEG_LENGTH
from visualization.limbs import aim, limb_rotation, rigid_fit, steadied, swing

SPREAD = 0.5  # second singular value of the children's rest directions from which they tell how their node turns


@dataclass(frozen=True)
class Rig:
    """A tree of nodes with rest offsets: the skeleton's joints, plus helpers where one joint must turn in two ways.

    Attributes:
        form: the skeleton.
        names, parents: of the N nodes; a parent comes before its children.
        joints: (N,) the joint whose position each node has.
        offsets: (N, 3) rest position relative to the parent, metres; the rest pose is a T-pose that faces +z.
        ends: rest position of what lies beyond a leaf (hand, toes, crown), by node.
    """

    form: MotionFormat
    names: tuple[str, ...]
    parents: tuple[int, ...]
    joints: tuple[int, ...]
    offsets: np.ndarray
    ends: dict[int, np.ndarray]

    @functools.cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """Children of each node."""
        count = range(len(self.parents))
        return tuple(tuple(child for child in count if self.parents[child] == node) for node in count)

    @functools.cached_property
    def branches(self) -> dict[int, tuple[int, ...]]:
        """Nodes whose turn their children tell, as those do not lie on one line, and these children."""
        rest, found = self.form.rest_directions, {}
        for node, children in enumerate(self.children):
            own = tuple(child for child in children if self.joints[child] != self.joints[node])
            spread = np.linalg.svd(rest[[self.joints[child] for child in own]], compute_uv=False)[1:2]
            if len(children) > 1 and (self.pair(own) or (spread > SPREAD).any()):
                found[node] = own
        return found

    def pair(self, children: Sequence[int]) -> tuple[int, int] | None:
        """Places of a left and a right one among the children of a node."""
        joints = [self.joints[child] for child in children]
        for place, joint in enumerate(joints):
            other = self.form.mirror[joint]
            if other != joint and other in joints:
                pair = (place, joints.index(other))
                across = self.form.rest_directions[[joint, other], 0]
                return pair if across[0] > across[1] else pair[::-1]
        return None

    def next_of(self, node: int) -> int:
        """The child that most hangs on: where a limb goes on."""

        def below(child: int) -> int:
            return 1 + sum(map(below, self.children[child]))

        return max(self.children[node], key=below)

    @functools.cached_property
    def node_of_joint(self) -> np.ndarray:
        """(J,) the node that carries each joint's own name."""
        return np.array([self.joints.index(joint) for joint in range(max(self.joints) + 1)])


@dataclass(frozen=True)
class Pose:
    """A motion of a rig: `root` (T, 3) metres; `local` and `world` rotations (T, N, 4), signs continuous in time."""

    root: np.ndarray
    local: np.ndarray
    world: np.ndarray


def fit_rig(joints: np.ndarray, form: MotionFormat) -> Rig:
    """The rig of a clip (T, J, 3): every bone as long as its median over the clip.

    Raises:
        UserError: the format does not say where the head or a limb is.
    """
    names, parents, sources = _nodes(form)
    positions = joints[:, sources]
    offsets = np.zeros((len(names), 3))
    rest = form.rest_directions[sources]
    for node in range(1, len(names)):
        bone = positions[:, node] - positions[:, parents[node]]
        offsets[node] = np.median(np.linalg.norm(bone, axis=-1)) * rest[node]
    rig = Rig(form, tuple(names), tuple(parents), tuple(sources), offsets, {})
    for node in rig.branches:
        _fit_branch(rig, positions, node)
    _, knee, ankle = form.leg("left")
    scale = np.linalg.norm(offsets[rig.node_of_joint[[knee, ankle]]], axis=-1).sum() / LEG_LENGTH
    head, wrists = form.landmark("head"), [form.arm(side)[2] for side in SIDES]
    toes = {joint for foot in (form.left_foot, form.right_foot) for joint in foot}
    for node, joint in enumerate(sources):
        if not rig.children[node]:
            length = 0.18 if joint == head else 0.085 if joint in wrists else 0.06
            direction = np.array([0.0, 0.0, 1.0]) if joint in toes else rest[node]
            rig.ends[node] = scale * length * (np.array([0.0, 1.0, 0.0]) if joint == head else direction)
    return rig


def solve(joints: np.ndarray, rig: Rig, fps: float) -> Pose:
    """Rotations that bring the rig as close to joint positions (T, J, 3) as constant bone lengths allow.

    Each bone aims from where its start came to lie at where its end should be, so errors do not add up along a limb.
    """
    target = joints[:, list(rig.joints)]
    frames, count = target.shape[:2]
    position = np.zeros((frames, count, 3))
    world = np.zeros((frames, count, 4))
    upright = np.tile([1.0, 0.0, 0.0, 0.0], (frames, 1))
    position[:, 0] = target[:, 0]
    fits = {node: rigid_fit(*_branch_vectors(rig, target, node)) for node in rig.branches}
    branches = {node: quaternion.unroll(quaternion.from_matrix(fit)) for node, fit in fits.items()}
    trunk, hinges = _trunk(rig), _hinges(rig)
    neck = rig.node_of_joint[rig.form.landmark("neck")]
    for node in range(count):
        parent = rig.parents[node]
        if parent >= 0:
            position[:, node] = position[:, parent] + quaternion.rotate(world[:, parent], rig.offsets[node])
        if node in branches:
            world[:, node] = branches[node]
        elif not rig.children[node]:
            world[:, node] = world[:, parent]
        else:
            before, child = world[:, parent] if parent >= 0 else upright, rig.next_of(node)
            bone = aim(target, position, node, child)
            if node in trunk:
                lower, upper, share = trunk[node]
                before = quaternion.slerp(branches[lower], branches[upper], share)
            if node in trunk or node == neck:
                likely = quaternion.rotate(before, rig.offsets[child])
                bone = steadied(bone, likely, target[:, child] - target[:, node], fps)
            if node in hinges:
                hinge, bend, below = hinges[node]
                flexed = target[:, below] - target[:, bend]
                world[:, node] = limb_rotation(before, rig.offsets[child], bone, flexed, hinge, fps)
            else:
                world[:, node] = swing(before, rig.offsets[child], bone)
    local = world.copy()
    for node in range(1, count):
        local[:, node] = quaternion.multiply(quaternion.inverse(world[:, rig.parents[node]]), world[:, node])
    return Pose(target[:, 0].copy(), quaternion.unroll(local), quaternion.unroll(world))


def forward(rig: Rig, root: np.ndarray, local: np.ndarray) -> np.ndarray:
    """Positions (T, N, 3) of the rig's nodes from `root` (T, 3) and local rotations (T, N, 4)."""
    translations = np.tile(rig.offsets, (len(root), 1, 1))
    translations[:, 0] = root
    return RigMotion(rig.names, rig.parents, translations, local, fps=1.0).positions()


def _hinges(rig: Rig) -> dict[int, tuple[np.ndarray, int, int]]:
    """Thighs and upper arms: the rest axis about which knee and elbow bend, that joint's node, and the one below it.

    Shins bend to the back, forearms to the front.
    """
    hinges = {}
    for side, across in (("left", -1.0), ("right", 1.0)):
        for limb, ahead in ((rig.form.leg(side), -1.0), (rig.form.arm(side), 1.0)):
            start, bend, below = rig.node_of_joint[list(limb)]
            axis = np.cross(rig.form.rest_directions[limb[1]], [0.0, 0.0, ahead])
            length = np.linalg.norm(axis)
            # A limb that points ahead bends inwards.
            axis = axis / length if length > 0.1 else np.array([0.0, across, 0.0])
            hinges[int(start)] = axis, int(bend), int(below)
    return hinges


def _nodes(form: MotionFormat) -> tuple[list[str], list[int], list[int]]:
    """Names, parents and joint indices of the rig's nodes.

    Where the head hangs on the same joint as the shoulders (KIT), a helper of no length lets it nod without them.
    """
    names, parents, sources = [], [], []
    moved: dict[int, int] = {}
    for joint, name in enumerate(form.joint_names):
        parent = form.parents[joint]
        node_parent = moved[parent] if parent >= 0 else -1
        if joint == form.landmark("head") and form.parents.count(parent) > 1:
            names.append(f"{name}_base")
            parents.append(node_parent)
            sources.append(parent)
            node_parent = len(names) - 1
        moved[joint] = len(names)
        names.append(name)
        parents.append(node_parent)
        sources.append(joint)
    return names, parents, sources


def _trunk(rig: Rig) -> dict[int, tuple[int, int, float]]:
    """Spine nodes between where the legs hang and where the arms do: (lower, upper, share of the way up)."""
    right_hip, left_hip, right_shoulder, left_shoulder = rig.form.face_joints
    lower = [joint for joint in rig.form.way(0, left_hip) if rig.form.way(joint, right_hip)]
    upper = [joint for joint in rig.form.way(0, left_shoulder) if rig.form.way(joint, right_shoulder)]
    between = [int(rig.node_of_joint[joint]) for joint in upper if joint not in lower]
    start = int(rig.node_of_joint[lower[-1]])
    if not between or start not in rig.branches or between[-1] not in rig.branches:
        return {}
    *between, end = between
    return {node: (start, end, (place + 1) / (len(between) + 1)) for place, node in enumerate(between)}


def _branch_vectors(rig: Rig, target: np.ndarray, node: int) -> tuple[np.ndarray, np.ndarray]:
    """Rest (K, 3) and seen (T, K, 3) vectors that fix the rotation of a branching node."""
    children = rig.branches[node]
    rest = [rig.offsets[child] for child in children]
    seen = [target[:, child] - target[:, node] for child in children]
    if len(children) < 3 and rig.parents[node] >= 0 and rig.pair(children):
        # Two shoulders lie almost on one line: the bone below tells how far the chest leans.
        rest.append(rig.offsets[node])
        seen.append(target[:, node] - target[:, rig.parents[node]])
    return np.array(rest), np.stack(seen, axis=1)


def _fit_branch(rig: Rig, target: np.ndarray, node: int) -> None:
    """Sets the offsets of a branching node's children to their mean place in its own frame (lengths stay medians)."""
    children = list(rig.branches[node])
    seen = np.stack([target[:, child] - target[:, node] for child in children], axis=1)
    if pair := rig.pair(children):
        left, right = pair
        middle = [place for place in range(len(children)) if place not in pair]
        up = seen[:, middle[0]] if middle else target[:, node] - target[:, rig.parents[node]]
        across = normalize(seen[:, left] - seen[:, right])
        front = normalize(np.cross(across, up))
        frame = np.stack([across, np.cross(front, across), front], axis=-1)
    else:
        frame = rigid_fit(*_branch_vectors(rig, target, node))
    lengths = np.linalg.norm(rig.offsets[children], axis=-1, keepdims=True)
    for _ in range(3):
        mean = np.einsum("tij,tki->kj", frame, seen) / len(seen)
        rig.offsets[children] = lengths * normalize(mean)
        frame = rigid_fit(*_branch_vectors(rig, target, node))
