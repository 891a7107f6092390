"""A made-up moving body as joints and as BVH files of every kind. The arithmetic is SciPy's, not the project's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from data.motions.joint_maps import load_joint_map
from utils.formats import get_format

SKELETON = get_format("humanml3d")
PACK = Path(__file__).resolve().parents[4] / "shared" / "mocap"


@dataclass(frozen=True)
class Body:
    """A skeleton in motion: names and parents of N nodes, (N, 3) offsets in metres, (T, 3) root, T x N rotations."""

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: np.ndarray
    root: np.ndarray
    turns: np.ndarray  # (T, N, 3) rotation vectors

    def joints(self) -> np.ndarray:
        """(T, N, 3) by matrices."""
        places = np.zeros((len(self.root), len(self.names), 3))
        matrices = np.zeros((len(self.root), len(self.names), 3, 3))
        for node, parent in enumerate(self.parents):
            own = Rotation.from_rotvec(self.turns[:, node]).as_matrix()
            if parent < 0:
                places[:, node], matrices[:, node] = self.root, own
                continue
            places[:, node] = places[:, parent] + matrices[:, parent] @ self.offsets[node]
            matrices[:, node] = matrices[:, parent] @ own
        return places


def rest_offsets() -> np.ndarray:
    """(22, 3) T-pose that faces +z, left at +x."""
    x, y, z = np.eye(3)
    offsets = np.zeros((22, 3))
    for joint, name in enumerate(SKELETON.joint_names[1:], start=1):
        side = x if name.startswith("left") else -x
        if name.endswith(("shoulder", "elbow", "wrist")):
            direction = side
        elif name.endswith(("hip", "collar")):
            direction = 0.8 * side + (-0.6 if name.endswith("hip") else 0.6) * y
        elif name.endswith("foot"):
            direction = z
        else:
            direction = -y if name.endswith(("knee", "ankle")) else y
        offsets[joint] = SKELETON.bone_lengths[joint] * direction
    return offsets


def walking_body(seconds: float = 3.0, fps: float = 20.0, seed: int = 0, speed: float = 1.0) -> Body:
    """A body that swings its limbs while it goes along +z; the same function of time at any frame rate."""
    generator = np.random.default_rng(seed)
    time = np.arange(round(seconds * fps) + 1) / fps
    axes = generator.normal(size=(22, 3))
    axes *= (0.25 / np.linalg.norm(axes, axis=-1))[:, None]
    phase = generator.uniform(0, 2 * np.pi, 22)
    turns = axes * np.sin(2 * np.pi * 0.5 * time[:, None] + phase)[..., None]
    turns[:, 0] = 0.1 * np.sin(time)[:, None] * np.array([0, 1, 0])
    root = np.stack([0.1 * np.sin(time), 0.95 + 0.02 * np.sin(4 * time), speed * time], axis=-1)
    return Body(SKELETON.joint_names, SKELETON.parents, rest_offsets(), root, turns)


def named_like(body: Body, joint_map: str, prefix: str = "") -> Body:
    """The body with the joint names of a shipped map in which each joint is one source joint."""
    blends = load_joint_map(joint_map).blends
    assert all(len(blend) == 1 for blend in blends)
    names = tuple(prefix + blend[0][0] for blend in blends)
    return Body(names, body.parents, body.offsets, body.root, body.turns)


def write_bvh(
    path: Path,
    body: Body,
    fps: float,
    order: str = "ZXY",
    metres: float = 0.01,
    all_positions: bool = False,
    positions_last: bool = False,
    wrong_offsets: bool = False,
    frame_time: str | None = None,
) -> Path:
    """Writes a body as .bvh.

    Args:
        order: of the rotation channels.
        metres: of the file's unit.
        all_positions: position channels on every joint; `wrong_offsets` then spoils the OFFSET lines.
        positions_last: rotation channels first.
        frame_time: as written; default eight digits.
    """
    scale = 1 / metres
    offsets = body.offsets * scale
    lines, columns = ["HIERARCHY"], []
    angles = {
        node: Rotation.from_rotvec(body.turns[:, node]).as_euler(order, degrees=True) for node in range(len(body.names))
    }

    def write(node: int, depth: int) -> None:
        pad = "\t" * depth
        shown = offsets[node] + (7.0 if wrong_offsets else 0.0)
        rotation = [f"{axis}rotation" for axis in order]
        position = [f"{axis}position" for axis in "XYZ"] if all_positions or node == 0 else []
        place = body.root * scale if node == 0 else np.tile(offsets[node], (len(body.root), 1))
        parts = [(rotation, angles[node]), (position, place)] if positions_last else [
            (position, place), (rotation, angles[node])
        ]  # fmt: skip
        lines.extend([f"{pad}{'JOINT' if depth else 'ROOT'} {body.names[node]}", pad + "{"])
        lines.append(f"{pad}\tOFFSET {shown[0]:.6f} {shown[1]:.6f} {shown[2]:.6f}")
        channels = [name for names, _ in parts for name in names]
        lines.append(f"{pad}\tCHANNELS {len(channels)} {' '.join(channels)}")
        columns.extend(values for names, values in parts if names)
        children = [child for child, parent in enumerate(body.parents) if parent == node]
        for child in children:
            write(child, depth + 1)
        if not children:
            lines.extend([f"{pad}\tEnd Site", pad + "\t{", f"{pad}\t\tOFFSET 0 0 {0.05 * scale:.4f}", pad + "\t}"])
        lines.append(pad + "}")

    write(0, 0)
    values = np.concatenate(columns, axis=1)
    lines += ["MOTION", f"Frames:\t{len(values)}", f"Frame Time:\t{frame_time or f'{1 / fps:.8f}'}"]
    lines += [" ".join(f"{value:.6f}" for value in row) for row in values]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_amc(
    path: Path, body: Body, metres: float = 0.0254 / 0.45, degrees: bool = True, skeleton: str | None = None
) -> Path:
    """Writes a body as .amc, and its skeleton beside it as `skeleton`.asf, usually the subject's of `01_02.amc`.

    Each joint is a bone of no length, with axes of its own, that begins at the end of a stiff one; one of these has the
    name by which CMU's skeletons are known.
    """
    scale, turn = 1 / metres, 1.0 if degrees else np.pi / 180
    axes = np.random.default_rng(5).uniform(-90, 90, (len(body.names), 3)).round(4)
    bones, tree, columns = [], ["root pelvis"], []
    for node, (name, parent) in enumerate(zip(body.names, body.parents, strict=True)):
        stiff = "lhipjoint" if node == 1 else f"to_{name}"
        if parent >= 0:
            length = np.linalg.norm(body.offsets[node])
            way = " ".join(f"{each:.8f}" for each in body.offsets[node] / length)
            bones += [f"begin\n id {node}\n name {stiff}\n direction {way}\n length {length * scale:.6f}\n end"]
            tree += [f"{body.names[parent]} {stiff}", f"{stiff} {name}"]
        axis = " ".join(f"{each * turn:.8f}" for each in axes[node])
        limits = "limits (-160.0 20.0)\n   (-70.0 70.0)\n   (-60.0 70.0)"
        bones += [f"begin\n name {name}\n direction 0 1 0\n length 0\n axis {axis} XYZ\n dof rx ry rz\n {limits}\n end"]
        own = Rotation.from_euler("xyz", axes[node], degrees=True)
        turns = own.inv() * Rotation.from_rotvec(body.turns[:, node]) * own
        columns.append(turns.as_euler("xyz", degrees=degrees))
    units = f":units\n mass 1.0\n length 0.45\n angle {'deg' if degrees else 'rad'}"
    root = ":root\n order TX TY TZ RX RY RZ\n axis XYZ\n position 0 0 0\n orientation 0 0 0"
    parts = ["# made up", ":version 1.10", ":name VICON", units, ":documentation", " none", root, ":bonedata", *bones]
    path.parent.mkdir(parents=True, exist_ok=True)
    own_asf = path.with_name(f"{skeleton or path.stem.partition('_')[0]}.asf")
    own_asf.write_text("\n".join([*parts, ":hierarchy", " begin", *tree, " end"]) + "\n", encoding="utf-8")
    lines = ["#!OML:ASF somewhere", ":FULLY-SPECIFIED", ":DEGREES" if degrees else ":RADIANS"]
    for frame, place in enumerate(body.root * scale):
        lines += [str(frame + 1), f"root {place[0]:.6f} {place[1]:.6f} {place[2]:.6f} 0 0 0"]
        for name, angles in zip(body.names, columns, strict=True):
            lines.append(f"{name} " + " ".join(f"{angle:.8f}" for angle in angles[frame]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
