"""A user's own skeleton, as its JSON file says it: 24 joints with toes and hands' roots, named as a studio would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from storage.files import write_json
from tests.data.prepare.bodies import Body, write_bvh
from utils.formats import format_of
from utils.motion_format import MotionFormat

TRUNK = [
    ("Hips", None, (0.0, 0.0, 0.0)),
    ("Spine", "Hips", (0.0, 0.1, 0.0)),
    ("Chest", "Spine", (0.0, 0.2, 0.0)),
    ("Neck", "Chest", (0.0, 0.25, 0.0)),
    ("Head", "Neck", (0.0, 0.1, 0.02)),
    ("Crown", "Head", (0.0, 0.15, 0.0)),
]
LIMBS = [("Shoulder", "Chest", (0.05, 0.18, 0.0)), ("Arm", "Shoulder", (0.13, 0.0, 0.0)),
         ("ForeArm", "Arm", (0.28, 0.0, 0.0)), ("Hand", "ForeArm", (0.26, 0.0, 0.0)),
         ("HandRoot", "Hand", (0.08, 0.0, 0.0)), ("UpLeg", "Hips", (0.1, -0.05, 0.0)),
         ("Leg", "UpLeg", (0.0, -0.42, 0.0)), ("Foot", "Leg", (0.0, -0.42, 0.0)),
         ("ToeBase", "Foot", (0.0, -0.07, 0.14))]  # fmt: skip
ARM, LEG = ("Shoulder", "Arm", "ForeArm", "Hand", "HandRoot"), ("UpLeg", "Leg", "Foot", "ToeBase")


def content(fps: float = 30) -> dict[str, Any]:
    """What the JSON file holds."""
    joints = [{"name": name, "parent": parent, "offset": list(offset)} for name, parent, offset in TRUNK]
    for side, sign in (("Left", 1.0), ("Right", -1.0)):
        for name, parent, (x, y, z) in LIMBS:
            above = parent if parent in ("Chest", "Hips") else side + parent
            joints.append({"name": side + name, "parent": above, "offset": [sign * x, y, z]})
    parts = {"trunk": ["Hips", "Spine", "Chest"], "head": ["Neck", "Head", "Crown"]}
    for side in ("Left", "Right"):
        parts |= {f"{side}_arm": [side + name for name in ARM], f"{side}_leg": [side + name for name in LEG]}
    return {
        "name": "studio",
        "fps": fps,
        "joints": joints,
        "parts": parts,
        "facing": {
            f"{side.lower()}_{role}": side + name for side in ("Left", "Right")
            for role, name in (("hip", "UpLeg"), ("shoulder", "Arm"))
        },
        "feet": {side.lower(): [f"{side}Foot", f"{side}ToeBase"] for side in ("Left", "Right")},
    }  # fmt: skip


STUDIO = format_of(content(), "studio")


def detailed() -> dict[str, Any]:
    """The same with a root above the hips, roll joints in forearms and thighs, fingers and heels."""
    form = content()
    joints = form["joints"]
    joints[0]["parent"], joints[0]["offset"] = "Root", [0.0, 0.05, 0.0]
    joints.insert(0, {"name": "Root", "parent": None, "offset": [0.0, 0.0, 0.0]})
    form["parts"]["trunk"].append("Root")
    for side, sign in (("Left", 1.0), ("Right", -1.0)):
        for below, limb in (("Leg", "leg"), ("Hand", "arm")):
            place = next(place for place, joint in enumerate(joints) if joint["name"] == side + below)
            half = [value / 2 for value in joints[place]["offset"]]
            roll = {"name": f"{side}{below}Roll", "parent": joints[place]["parent"], "offset": half}
            joints[place] |= {"parent": roll["name"], "offset": half}
            joints.insert(place, roll)
            form["parts"][f"{side}_{limb}"].append(roll["name"])
        for finger, z in (("Thumb", 0.04), ("Index", 0.02), ("Ring", -0.03)):
            joints.append({"name": side + finger, "parent": f"{side}Hand", "offset": [sign * 0.05, 0.0, z]})
        form["parts"][f"{side}_fingers"] = [side + finger for finger in ("Thumb", "Index", "Ring")]
        joints.append({"name": f"{side}Heel", "parent": f"{side}Foot", "offset": [0.0, -0.07, -0.05]})
        form["parts"][f"{side}_leg"].append(f"{side}Heel")
    roles = {"knee": "Leg", "ankle": "Foot", "elbow": "ForeArm", "wrist": "Hand"}
    form["landmarks"] = {f"{s.lower()}_{role}": s + name for s in ("Left", "Right") for role, name in roles.items()}
    return form | {"name": "detailed"}


def body(seconds: float = 3.0, fps: float = 30.0, seed: int = 0, form: MotionFormat = STUDIO) -> Body:
    """It walks along +z with swinging arms and legs; the same function of time at any frame rate."""
    generator = np.random.default_rng(seed)
    time = np.arange(round(seconds * fps) + 1) / fps
    axes = generator.normal(size=(form.n_joints, 3))
    axes *= (0.2 / np.linalg.norm(axes, axis=-1))[:, None]
    phase = generator.uniform(0, 2 * np.pi, form.n_joints)
    turns = axes * np.sin(np.pi * time[:, None] + phase)[..., None]
    # Rolls only twist, and thighs do it here.
    turns[:, [number for number, name in enumerate(form.joint_names) if name.endswith("Roll")]] = 0
    turns[:, 0] = 0.1 * np.sin(time)[:, None] * np.array([0, 1, 0])
    root = np.stack([0.1 * np.sin(time), 0.96 + 0.02 * np.sin(4 * time), 0.9 * time], axis=-1)
    return Body(form.joint_names, form.parents, np.array(form.offsets), root, turns)


def write_studio(folder: Path, clips: int = 6) -> Path:
    """`studio.json`, and motions (BVH in centimetres, joints in metres) with captions; returns the format's file."""
    for seed in range(clips):
        moving = body(2.5 + 0.1 * seed, seed=seed)
        if seed % 2:
            (folder / "motions").mkdir(parents=True, exist_ok=True)
            np.save(folder / "motions" / f"clip{seed}.npy", moving.joints().astype(np.float32))
        else:
            write_bvh(folder / "motions" / f"clip{seed}.bvh", moving, 30)
        (folder / "texts").mkdir(exist_ok=True)
        (folder / "texts" / f"clip{seed}.txt").write_text(f"a man raises his left hand {seed} times\nhe walks\n")
    write_json(folder / "studio.json", content())
    return folder / "studio.json"
