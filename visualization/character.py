"""A user's own rig as a motion is put onto it: its nodes at rest, and which of them are the skeleton's joints.

Letters: N nodes of the file, J joints, T frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from storage.limits import MOST_NODES
from utils import quaternion
from utils.errors import UserError
from utils.glb import Glb
from utils.hierarchy import Hierarchy

UNEVEN = 0.02  # relative difference between the scales of a node's axes that is put up with


@dataclass(frozen=True)
class Tree:
    """N nodes with their rest pose, in the file's own axes and unit.

    Attributes:
        names, parents: of the nodes; a parent comes before its children, -1 is that of roots (there may be several).
        offsets, turns, sizes: (N, 3), (N, 4), (N,) place, rotation and scale relative to the parent.
        ends: (N, 3) where nodes end that have no children, NaN of the others.
        numbers: (N,) of the nodes in the file.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: np.ndarray
    turns: np.ndarray
    sizes: np.ndarray
    ends: np.ndarray
    numbers: tuple[int, ...]

    @cached_property
    def world_sizes(self) -> np.ndarray:
        """(N,) scale of each node in the world."""
        sizes = self.sizes.copy()
        for node, parent in enumerate(self.parents):
            sizes[node] *= sizes[parent] if parent >= 0 else 1
        return sizes

    @cached_property
    def scaled_offsets(self) -> np.ndarray:
        """(N, 3) the offsets in the file's unit, the scales of the parents reckoned in."""
        above = [self.world_sizes[parent] if parent >= 0 else 1.0 for parent in self.parents]
        return self.offsets * np.array(above)[:, None]

    @cached_property
    def rest(self) -> tuple[np.ndarray, np.ndarray]:
        """Places (N, 3) and rotations (N, 4) in the world at rest."""
        places, turns = np.empty_like(self.offsets), np.empty_like(self.turns)
        for node, parent in enumerate(self.parents):
            if parent < 0:
                places[node], turns[node] = self.offsets[node], self.turns[node]
                continue
            places[node] = places[parent] + quaternion.rotate(turns[parent], self.scaled_offsets[node])
            turns[node] = quaternion.multiply(turns[parent], self.turns[node])
        return places, turns

    def chain(self, node: int) -> list[int]:
        """The node and all above it."""
        chain = [node]
        while self.parents[chain[-1]] >= 0:
            chain.append(self.parents[chain[-1]])
        return chain

    def hierarchy(self) -> Hierarchy:
        """The rest pose as a motion of one frame."""
        return Hierarchy(
            self.names, self.parents, self.scaled_offsets[None], self.turns[None], 1.0, self.scaled_offsets, self.ends
        )


@dataclass(frozen=True)
class Character:
    """A rig that motions are put onto.

    Attributes:
        tree: its nodes.
        nodes: (J,) the node that is each joint, -1 where none is.
        weights: (J, N) what the joints' places are made of.
        joints: (J, 3) the joints at rest in metres, y up, facing +z, on a floor at 0.
        frame: (4,) rotation from the file's axes to these.
        metres: of the file's unit.
        upright: the rest pose is that of somebody who stands, with a back that is bent as it is bent then.
        floor: height of the floor in the file, metres.
        glb: the file, where it is one.
    """

    tree: Tree
    nodes: np.ndarray
    weights: np.ndarray
    joints: np.ndarray
    frame: np.ndarray
    metres: float
    upright: bool
    floor: float
    glb: Glb | None = None


def bvh_tree(motion: Hierarchy, frame: int | None = None) -> Tree:
    """The nodes of a .bvh as its offsets say, or as they are in one of its frames."""
    count = len(motion.names)
    turns = np.tile([1.0, 0.0, 0.0, 0.0], (count, 1)) if frame is None else motion.rotations[frame]
    offsets = motion.offsets.copy()
    if frame is not None:
        offsets[0] = motion.translations[frame, 0]
    numbers = tuple(range(count))
    return Tree(motion.names, motion.parents, offsets, turns, np.ones(count), motion.ends, numbers)


def glb_tree(glb: Glb, where: str) -> Tree:
    """The nodes of a .glb.

    Raises:
        UserError: there is none, or they contradict themselves; names the file.
    """
    nodes = glb.document.get("nodes", [])
    if not nodes:
        raise UserError(f"{where} holds no skeleton: export the character with its armature")
    if len(nodes) > MOST_NODES:
        raise UserError(f"{where} holds {len(nodes)} nodes, at most {MOST_NODES} are read")
    above = [-1] * len(nodes)
    for number, node in enumerate(nodes):
        for child in _children(node, len(nodes), where):
            if above[child] >= 0:
                raise UserError(f"{where}: node {child} hangs on two others")
            above[child] = number
    order = [number for number, parent in enumerate(above) if parent < 0]
    for number in order:  # grows
        order += _children(nodes[number], len(nodes), where)
    if len(order) != len(nodes):
        raise UserError(f"{where}: its nodes hang on one another in a circle")
    place = {number: index for index, number in enumerate(order)}
    placed = [_placed(nodes[number], f"{where}: node {number}") for number in order]
    offsets, turns, sizes = (np.array(values, dtype=np.float64) for values in zip(*placed, strict=True))
    names = tuple(str(nodes[number].get("name", f"node {number}")) for number in order)
    parents = tuple(place[above[number]] if above[number] >= 0 else -1 for number in order)
    return Tree(names, parents, offsets, turns, sizes, np.full((len(order), 3), np.nan), tuple(order))


def with_plain_node(node: dict[str, Any]) -> None:
    """Gives a node place, rotation and scale instead of its matrix: only such a node can be moved."""
    if "matrix" in node:
        offset, turn, size = _placed(node, "a node")
        del node["matrix"]
        node |= {"translation": list(offset), "rotation": [*turn[1:], turn[0]], "scale": [size] * 3}


def renamed(tree: Tree, names: Sequence[str]) -> Tree:
    """The same with other names."""
    return replace(tree, names=tuple(names))


def _children(node: dict[str, Any], count: int, where: str) -> list[int]:
    children = node.get("children", [])
    if not isinstance(children, list) or not all(type(child) is int and 0 <= child < count for child in children):
        raise UserError(f"{where}: a node has children that are none of its {count} nodes")
    return children


def _placed(node: dict[str, Any], where: str) -> tuple[list[float], list[float], float]:
    """Offset, rotation with the real part first, and scale of a node."""

    def numbers(key: str, usual: Sequence[float]) -> np.ndarray:
        value = node.get(key, list(usual))
        if not isinstance(value, list) or len(value) != len(usual) or not all(type(x) in (int, float) for x in value):
            raise UserError(f"{where}: {key} is not {len(usual)} numbers")
        return np.array(value, dtype=np.float64)

    if "matrix" in node:
        matrix = numbers("matrix", [0.0] * 16).reshape(4, 4).T  # glTF writes columns
        offset, scales = matrix[:3, 3], np.linalg.norm(matrix[:3, :3], axis=0)
        upright = np.linalg.det(matrix[:3, :3]) > 0 and scales.min() > 0
        turn = quaternion.from_matrix(matrix[:3, :3] / scales) if upright else np.zeros(4)
    else:
        offset, scales = numbers("translation", [0.0] * 3), numbers("scale", [1.0] * 3)
        turn = numbers("rotation", [0.0, 0.0, 0.0, 1.0])[[3, 0, 1, 2]]
    length = np.linalg.norm(turn)
    if scales.min() <= 0 or scales.max() > (1 + UNEVEN) * scales.min() or not 0.5 < length < 2:
        raise UserError(f"{where} is mirrored or scaled unevenly: apply its scale and export the character again")
    return offset.tolist(), (turn / length).tolist(), float(scales.mean())
