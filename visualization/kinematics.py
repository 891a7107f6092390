"""Joint positions to joint rotations and back, for animation files.

Positions leave the twist of every bone open. Here pelvis and chest take it from their rigid triangles of joints (hips
and spine, collars and neck), the spine between shares the difference, and upper arms and thighs take it from the plane
in which elbow and knee bend, smoothly over time: a straight limb has no such plane and must not spin.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_banded

from utils import quaternion
from utils.formats import get_format
from utils.motion_format import MotionFormat
from utils.t_pose import t_pose_directions
from visualization.body import leg_joints

FULL_BEND = np.sin(np.deg2rad(25.0))  # a limb bent by this much shows its plane fully
PRIOR_WEIGHT = 0.02  # pull towards the untwisted limb where nothing else tells
MOST_CORRECTED = 0.35  # of a bone's length: by how much it makes up for the bones above it
SPINE_BEND = 0.3  # radians by which the spine between hips and chest bends otherwise than evenly
STEADY_SECONDS = 0.1  # time over which the aim of a bone is smoothed whose noise is as large as that
TWIST_SECONDS = 0.06  # time over which the twist is smoothed where the plane is clear


@dataclass(frozen=True)
class Rig:
    """A tree of nodes with rest offsets: the skeleton's joints, plus helpers where one joint must turn in two ways.

    Attributes:
        names, parents: of the N nodes; a parent comes before its children.
        joints: (N,) the joint whose position each node has.
        offsets: (N, 3) rest position relative to the parent, metres; the rest pose is a T-pose that faces +z.
        ends: rest position of what lies beyond a leaf (hand, toes, crown), by node.
    """

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
    def node_of_joint(self) -> np.ndarray:
        """(J,) the node that carries each joint's own name."""
        return np.array([self.joints.index(joint) for joint in range(max(self.joints) + 1)])


@dataclass(frozen=True)
class Pose:
    """A motion of a rig: `root` (T, 3) metres; `local` and `world` rotations (T, N, 4), signs continuous in time."""

    root: np.ndarray
    local: np.ndarray
    world: np.ndarray


def fit_rig(joints: np.ndarray, dataset: str) -> Rig:
    """The rig of a clip (T, J, 3): every bone as long as its median over the clip."""
    skeleton = get_format(dataset)
    names, parents, sources = _nodes(skeleton)
    positions = joints[:, sources]
    offsets = np.zeros((len(names), 3))
    rest = t_pose_directions(names)
    for node in range(1, len(names)):
        bone = positions[:, node] - positions[:, parents[node]]
        offsets[node] = np.median(np.linalg.norm(bone, axis=-1)) * rest[node]
    rig = Rig(tuple(names), tuple(parents), tuple(sources), offsets, {})
    for node, children in enumerate(rig.children):
        if len(children) > 1:
            _fit_branch(rig, positions, node)
    scale = (
        np.linalg.norm(offsets[[leg_joints(skeleton, "left")[1], leg_joints(skeleton, "left")[2]]], axis=-1).sum()
        / 0.82
    )
    for node, name in enumerate(names):
        if not rig.children[node]:
            length = 0.18 if name == "head" else 0.085 if "wrist" in name else 0.06
            direction = np.array([0.0, 0.0, 1.0]) if name.endswith(("foot", "toe")) else rest[node]
            rig.ends[node] = scale * length * (np.array([0.0, 1.0, 0.0]) if name == "head" else direction)
    return rig


def solve(joints: np.ndarray, rig: Rig, fps: float) -> Pose:
    """Rotations that bring the rig as close to joint positions (T, J, 3) as constant bone lengths allow.

    Each bone aims from where its start came to lie at where its end should be, so errors do not add up along a limb.
    """
    target = joints[:, list(rig.joints)]
    frames, count = target.shape[:2]
    position = np.zeros((frames, count, 3))
    world = np.zeros((frames, count, 4))
    position[:, 0] = target[:, 0]
    branches = {node: _branch_rotation(rig, target, node) for node in range(count) if len(rig.children[node]) > 1}
    trunk = _trunk(rig)
    for node in range(count):
        parent = rig.parents[node]
        if parent >= 0:
            position[:, node] = position[:, parent] + quaternion.rotate(world[:, parent], rig.offsets[node])
        children = rig.children[node]
        if node in branches:
            world[:, node] = branches[node]
        elif not children:
            world[:, node] = world[:, parent]
        else:
            before = world[:, parent]
            aim = _aim(target, position, node, children[0])
            if node in trunk:
                lower, upper, share = trunk[node]
                before = quaternion.slerp(branches[lower], branches[upper], share)
            if node in trunk or rig.names[node] == "neck":
                likely = quaternion.rotate(before, rig.offsets[children[0]])
                aim = _steadied(aim, likely, target[:, children[0]] - target[:, node], fps)
            if rig.names[node] in _HINGES:
                hinge = np.array(_HINGES[rig.names[node]])
                below = rig.children[children[0]][0]
                flexed = target[:, below] - target[:, children[0]]
                world[:, node] = _limb_rotation(before, rig.offsets[children[0]], aim, flexed, hinge, fps)
            else:
                world[:, node] = _swing(before, rig.offsets[children[0]], aim)
    local = world.copy()
    for node in range(1, count):
        local[:, node] = quaternion.multiply(quaternion.inverse(world[:, rig.parents[node]]), world[:, node])
    return Pose(target[:, 0].copy(), quaternion.unroll(local), quaternion.unroll(world))


def forward(rig: Rig, root: np.ndarray, local: np.ndarray) -> np.ndarray:
    """Positions (T, N, 3) of the rig's nodes from `root` (T, 3) and local rotations (T, N, 4)."""
    position = np.zeros((*local.shape[:2], 3))
    world = np.zeros_like(local)
    position[:, 0], world[:, 0] = root, local[:, 0]
    for node in range(1, len(rig.parents)):
        parent = rig.parents[node]
        position[:, node] = position[:, parent] + quaternion.rotate(world[:, parent], rig.offsets[node])
        world[:, node] = quaternion.multiply(world[:, parent], local[:, node])
    return position


# Joints whose one child bends like a hinge, and about which rest axis: shins to the back, forearms to the front.
_HINGES = {
    "left_hip": (1.0, 0.0, 0.0),
    "right_hip": (1.0, 0.0, 0.0),
    "left_shoulder": (0.0, -1.0, 0.0),
    "right_shoulder": (0.0, 1.0, 0.0),
}


def _nodes(skeleton: MotionFormat) -> tuple[list[str], list[int], list[int]]:
    """Names, parents and joint indices of the rig's nodes.

    Where the head hangs on the same joint as the shoulders (KIT), a helper of no length lets it nod without them.
    """
    names, parents, sources = [], [], []
    moved: dict[int, int] = {}
    for joint, name in enumerate(skeleton.joint_names):
        parent = skeleton.parents[joint]
        node_parent = moved[parent] if parent >= 0 else -1
        if name == "head" and skeleton.parents.count(parent) > 1:
            names.append("head_base")
            parents.append(node_parent)
            sources.append(parent)
            node_parent = len(names) - 1
        moved[joint] = len(names)
        names.append(name)
        parents.append(node_parent)
        sources.append(joint)
    return names, parents, sources


def _trunk(rig: Rig) -> dict[int, tuple[int, int, float]]:
    """Spine nodes between two branching ones: (lower branch, upper branch, share of the way up)."""
    upper = next((node for node in range(1, len(rig.parents)) if len(rig.children[node]) > 1), None)
    if upper is None:
        return {}
    between = []
    node = rig.parents[upper]
    while node > 0:
        between.insert(0, node)
        node = rig.parents[node]
    return {node: (0, upper, (place + 1) / (len(between) + 1)) for place, node in enumerate(between)}


def _branch_vectors(rig: Rig, target: np.ndarray, node: int) -> tuple[np.ndarray, np.ndarray]:
    """Rest (K, 3) and seen (T, K, 3) vectors that fix the rotation of a branching node."""
    children = [child for child in rig.children[node] if rig.joints[child] != rig.joints[node]]
    rest = [rig.offsets[child] for child in children]
    seen = [target[:, child] - target[:, node] for child in children]
    if len(children) < 3 and rig.parents[node] >= 0:
        # Two shoulders lie almost on one line: the bone below tells how far the chest leans.
        below = target[:, node] - target[:, rig.parents[node]]
        rest.append(np.linalg.norm(rig.offsets[node]) * np.array([0.0, 1.0, 0.0]))
        seen.append(below)
    return np.array(rest), np.stack(seen, axis=1)


def _branch_rotation(rig: Rig, target: np.ndarray, node: int) -> np.ndarray:
    """World rotations (T, 4) of a branching node: the best rigid fit of its children (Kabsch)."""
    rest, seen = _branch_vectors(rig, target, node)
    return quaternion.unroll(quaternion.from_matrix(_rigid_fit(rest, seen)))


def _rigid_fit(rest: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Rotation matrices (T, 3, 3) that turn `rest` (K, 3) best into `seen` (T, K, 3)."""
    u, _, vt = np.linalg.svd(np.einsum("ki,tkj->tij", rest, seen))
    sign = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    vt[:, 2] *= np.where(sign == 0, 1, sign)[:, None]
    return np.swapaxes(u @ vt, -1, -2)


def _fit_branch(rig: Rig, target: np.ndarray, node: int) -> None:
    """Sets the offsets of a branching node's children to their mean place in its own frame (lengths stay medians)."""
    children = [child for child in rig.children[node] if rig.joints[child] != rig.joints[node]]
    seen = np.stack([target[:, child] - target[:, node] for child in children], axis=1)
    left = next(i for i, child in enumerate(children) if rig.names[child].startswith("left"))
    right = next(i for i, child in enumerate(children) if rig.names[child].startswith("right"))
    middle = [i for i in range(len(children)) if i not in (left, right)]
    up = seen[:, middle[0]] if middle else target[:, node] - target[:, rig.parents[node]]
    across = _unit(seen[:, left] - seen[:, right])
    front = _unit(np.cross(across, up))
    frame = np.stack([across, np.cross(front, across), front], axis=-1)
    lengths = np.linalg.norm(rig.offsets[children], axis=-1, keepdims=True)
    for _ in range(3):
        mean = np.einsum("tij,tki->kj", frame, seen) / len(seen)
        rig.offsets[children] = lengths * _unit(mean)
        frame = _rigid_fit(*_branch_vectors(rig, target, node))


def _aim(target: np.ndarray, position: np.ndarray, node: int, child: int) -> np.ndarray:
    """Where the bone from `node` to `child` points, (T, 3): at its target (T, N, 3) from where it starts in `position`.

    A start that lies far off, for so short a bone, is made up for in part only: it would swing the bone about.
    """
    bone, error = target[:, child] - target[:, node], target[:, node] - position[:, node]
    most = MOST_CORRECTED * np.median(np.linalg.norm(bone, axis=-1))
    return bone + error * np.minimum(1, most / np.maximum(np.linalg.norm(error, axis=-1, keepdims=True), 1e-12))


def _steadied(aim: np.ndarray, likely: np.ndarray, bone: np.ndarray, fps: float) -> np.ndarray:
    """Aims (T, 3) of a bone of the spine without the jitter of its joints: a short bone makes much of little noise.

    How noisy its joints are is seen from `bone` (T, 3), whose length should not change: a bone of constant length aims
    as it does. Of others the aims are drawn towards `likely` (T, 3), which the hips and the chest tell, and smoothed.
    """
    length = np.linalg.norm(bone, axis=-1)
    noise = float(np.std(length) / max(np.median(length), 1e-9))  # radians, about
    doubt = (noise / SPINE_BEND) ** 2
    frames = len(aim)
    if frames < 3 or doubt < 1e-6:
        return aim
    stiffness = doubt * (STEADY_SECONDS * fps) ** 4
    # (1 + doubt + stiffness D'D) x = aim + doubt likely, where D takes second differences
    bands = np.zeros((5, frames))
    for offset, weight in ((0, 1.0), (1, -2.0), (2, 1.0)):
        for other, factor in ((0, 1.0), (1, -2.0), (2, 1.0)):
            rows = np.arange(frames - 2)
            bands[2 + offset - other, rows + other] += stiffness * weight * factor
    bands[2] += 1 + doubt
    return solve_banded((2, 2), bands, _unit(aim) + doubt * _unit(likely))


def _swing(before: np.ndarray, offset: np.ndarray, aim: np.ndarray) -> np.ndarray:
    """`before` (T, 4) turned the shortest way so that the rest vector `offset` (3,) points along `aim` (T, 3)."""
    return quaternion.multiply(quaternion.between(quaternion.rotate(before, offset), aim), before)


def _limb_rotation(
    before: np.ndarray, offset: np.ndarray, aim: np.ndarray, flexed: np.ndarray, hinge: np.ndarray, fps: float
) -> np.ndarray:
    """World rotations (T, 4) of a thigh or upper arm.

    Args:
        before: (T, 4) rotation of the parent.
        offset: (3,) rest vector of the bone; `aim`: (T, 3) where it points now.
        flexed: (T, 3) the bone below it.
        hinge: (3,) rest axis of the joint between the two.
    """
    frames = len(aim)
    to_parent = quaternion.inverse(before)
    axis, lower = _unit(quaternion.rotate(to_parent, aim)), _unit(quaternion.rotate(to_parent, flexed))
    rest = np.broadcast_to(_unit(offset), axis.shape)
    untwisted = quaternion.between(rest, axis)
    # Carried along from frame to frame without any twist of its own: nothing here can jump.
    steps = quaternion.between(axis[:-1], axis[1:])
    carried = quaternion.accumulate(np.concatenate([untwisted[:1], steps]))
    reference = quaternion.rotate(carried, hinge)
    normal = np.cross(axis, lower)
    bend = np.linalg.norm(normal, axis=-1)
    seen = _angle_about(axis, reference, normal)
    prior = _angle_about(axis, reference, quaternion.rotate(untwisted, hinge))
    clear = np.minimum(bend / FULL_BEND, 1) ** 4
    # The untwisted limb means nothing where the limb points against its rest direction.
    trusted = PRIOR_WEIGHT * np.clip((1 + (axis * rest).sum(-1)) / 2, 1e-3, 1)
    stiffness = (TWIST_SECONDS * fps) ** 2
    weight = clear + trusted
    bands = np.zeros((3, frames))
    bands[0, 1:] = bands[2, :-1] = -stiffness
    bands[1] = weight + 2 * stiffness
    bands[1, [0, -1]] -= stiffness
    if frames == 1:
        bands[1] = weight
    wanted = clear * np.exp(1j * seen) + trusted * np.exp(1j * prior)
    twist = np.angle(solve_banded((1, 1), bands, wanted))
    turned = quaternion.multiply(quaternion.from_axis_angle(axis, twist), carried)
    return quaternion.normalize(quaternion.multiply(before, turned))


def _angle_about(axis: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Signed angles (T,) from `start` to `end` about `axis`, all (T, 3) with the first two perpendicular."""
    return np.arctan2((np.cross(start, end) * axis).sum(-1), (start * end).sum(-1))


def _unit(vector: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) of length one; zero stays zero."""
    return vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-12)
