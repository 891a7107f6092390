"""The character that a motion is put onto: its file, and which of its nodes are the skeleton's joints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from data.motions.body import likely_unit, turn_up, upright_axis
from data.motions.bones import complete
from data.motions.joint_maps import JointMap, guess_joint_map, load_joint_map, shipped_names
from data.motions.settings import METRES
from utils import quaternion
from utils.bvh import read_bvh
from utils.errors import UserError
from utils.facing import heading, yaw_quaternion
from utils.formats import HUMANML3D
from utils.glb import Glb, read_glb
from utils.motion_format import SIDES, MotionFormat
from visualization.character import Character, Tree, bvh_tree, glb_tree, renamed

KINDS = (".glb", ".vrm", ".bvh")
OPTIONAL = (
    "spine2",
    "spine3",
    "neck",
    "collar",
    "foot",
)  # joints that a rig may do without: the one above stands for it
FRAMES_TRIED = 16  # of a .bvh whose rest pose nobody takes
STANDS = 0.85  # cosine: how far legs and trunk of a rest pose may be from straight
AHEAD = 0.4  # the same of feet from straight ahead
NEAR_FLOOR = 0.15  # of the body's height: a lowest joint that is so little above 0 stands on a floor at 0
SOLE = 0.02  # of the body's height: how far the floor is below the lowest joint otherwise


def read_character(path: str, joint_map: str | None, form: MotionFormat) -> Character:
    """A rig of the user's own.

    Args:
        path: a .glb, .vrm or .bvh file.
        joint_map: which of its nodes are the joints, see `data.motions.joint_maps`; None: told by their names.
        form: of the motions.

    Raises:
        UserError: no such file, another kind, no skeleton in it, or no node for a joint, which is named.
    """
    if form.joint_names != HUMANML3D.joint_names:
        raise UserError(f"--target takes motions of HumanML3D's joints, not of {form.name}")
    suffix = Path(path).suffix.lower()
    if suffix not in KINDS:
        raise UserError(f"--target {path}: give a character as {', '.join(KINDS)}")
    try:
        if suffix == ".bvh":
            motion, glb = read_bvh(path), None
            # A rest pose that nobody takes means nothing: then there may be a frame in which somebody stands.
            tried = np.unique(np.linspace(0, len(motion.rotations) - 1, FRAMES_TRIED).round().astype(int))
            trees = [bvh_tree(motion), *(bvh_tree(motion, int(frame)) for frame in tried)]
        else:
            glb = read_glb(path)
            trees = [glb_tree(glb, path)]
        told = trees[0] if glb is None else renamed(trees[0], _humanoid(glb, trees[0]))
        chosen = load_joint_map(joint_map, form) if joint_map else _fitting(told.names, form)
        characters = []
        for tree in trees:
            characters.append(_character(renamed(tree, told.names), tree, chosen, form, glb))
            if characters[-1].upright:
                break
    except UserError as error:
        raise UserError(f"--target {error}" if path in str(error) else f"--target {path}: {error}") from error
    best = characters[-1] if characters[-1].upright else characters[:2][-1]
    # Who stands in a frame may do so on tiptoe or bent: only a rest pose is trusted to be that of somebody upright.
    return replace(best, upright=best.upright and best is characters[0])


def _fitting(names: tuple[str, ...], form: MotionFormat) -> JointMap:
    """The shipped map that fits, perhaps without joints that a rig may do without."""
    try:
        return guess_joint_map(names, form)
    except UserError as error:
        nearest = []
        for name in shipped_names():
            known = load_joint_map(name)
            blends, missing = list(known.blends), set(known.missing(names))
            for joint, blend in enumerate(blends):
                optional = form.joint_names[joint].removeprefix("left_").removeprefix("right_") in OPTIONAL
                if optional and any(source in missing for source, _ in blend):
                    blends[joint] = blends[form.parents[joint]]
            lacking = [
                f"{joint} ({', '.join(source for source, _ in blend)})"
                for joint, blend in zip(form.joint_names, blends, strict=True)
                if any(source in missing for source, _ in blend)
            ]
            found = len(known.sources) - len(missing)
            nearest.append((len(lacking), -found, lacking, JointMap(name, tuple(blends))))
        count, _, lacking, best = min(nearest, key=lambda each: each[:2])
        if not count:
            return best
        if count > form.n_joints / 2:
            raise UserError(
                f"no joint is known by its name among {', '.join(names[:6])}: tell which is which in a JSON file,"
                " --target_map FILE"
            ) from error
        raise UserError(
            f"no node is called as {', '.join(lacking)} is in {best.name}, which comes nearest: tell which are in a"
            " JSON file, --target_map FILE"
        ) from error


def _humanoid(glb: Glb, tree: Tree) -> list[str]:
    """The names of the nodes; where the file itself says which humanoid bones they are (VRM), those of the bones.

    What is called like a bone and is none, such as the mesh of a head, is called otherwise.
    """
    place = {number: index for index, number in enumerate(tree.numbers)}
    bones = glb.bones
    called = {name for name, number in zip(tree.names, tree.numbers, strict=True) if number in bones}
    names = [
        f"{name} {number}" if name in called and number not in bones else name
        for name, number in zip(tree.names, tree.numbers, strict=True)
    ]
    extensions = glb.document.get("extensions")
    extensions = extensions if isinstance(extensions, dict) else {}
    for key in ("VRMC_vrm", "VRM"):
        told: Any = extensions.get(key)
        told = told.get("humanoid") if isinstance(told, dict) else None
        told = told.get("humanBones") if isinstance(told, dict) else None
        if isinstance(told, list):  # VRM 0
            told = {each.get("bone"): each for each in told if isinstance(each, dict)}
        found = {
            bone: place[each["node"]]
            for bone, each in (told if isinstance(told, dict) else {}).items()
            if isinstance(bone, str)
            and isinstance(each, dict)
            and type(each.get("node")) is int
            and each["node"] in place
        }
        if found:
            names = [f"{name} {index}" for index, name in enumerate(names)]  # none may be taken for a bone
            for bone, index in found.items():
                names[index] = bone
            break
    return names


def _character(told: Tree, tree: Tree, chosen: JointMap, form: MotionFormat, glb: Glb | None) -> Character:
    """The rig with its joints, from nodes under the names that the map goes by."""
    numbers = chosen.nodes(told.names)
    weights = np.zeros((form.n_joints, len(told.names)))
    for joint, blend in enumerate(chosen.blends):
        for source, weight in blend:
            weights[joint, numbers[source]] += weight
    nodes = np.where((weights == 1).sum(axis=1) == 1, weights.argmax(axis=1), -1)
    if nodes[0] < 0:
        nodes[0] = weights[0].argmax()
    limbs = [joint for side in SIDES for joint in (*form.leg(side), *form.arm(side))]
    if blended := [form.joint_names[joint] for joint in limbs if nodes[joint] < 0]:
        raise UserError(f"{', '.join(blended)} must be nodes of their own, not blends of several (map {chosen.name})")
    if len(set(nodes[limbs].tolist())) < len(limbs):
        raise UserError(f"two joints of arms or legs are one node (map {chosen.name})")
    places, _ = tree.rest
    raw = (weights @ places)[None]
    metres = METRES[likely_unit(raw, form)]
    axis, _ = upright_axis(raw, form)
    joints, _ = complete(turn_up(raw * metres, axis), form, told.hierarchy(), chosen, axis)
    yaw = yaw_quaternion(-heading(joints, form))[0]
    joints = quaternion.rotate(yaw, joints[0])
    low, high = joints[:, 1].min(), joints[:, 1].max()
    floor = 0.0 if 0 <= low < NEAR_FLOOR * (high - low) else low - SOLE * (high - low)
    joints[:, 1] -= floor
    turn = quaternion.from_matrix(turn_up(np.eye(3), axis).T)
    return Character(
        tree, nodes, weights, joints, quaternion.multiply(yaw, turn), metres, _stands(joints, form), floor, glb
    )


def _stands(joints: np.ndarray, form: MotionFormat) -> bool:
    """Whether joints (J, 3) that face +z are those of somebody who stands upright."""

    def along(start: int, end: int, axis: int) -> float:
        bone = joints[end] - joints[start]
        return float(bone[axis] / max(np.linalg.norm(bone), 1e-9))

    straight = [along(0, form.landmark("neck"), 1)]
    for side in SIDES:
        hip, knee, ankle = form.leg(side)
        straight += [-along(hip, knee, 1), -along(knee, ankle, 1)]
    feet = [along(ankle, toe, 2) for ankle, toe in (form.left_foot, form.right_foot)]
    return min(straight) > STANDS and min(feet) > AHEAD
