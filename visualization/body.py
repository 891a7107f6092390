"""The mannequin that every renderer shows: which capsules hang on which joints, how thick, and in which colour."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from utils.motion_format import SIDES, MotionFormat
from utils.quaternion import normalize

# Colours (R, G, B), 0-255: the left side is warm, the right side cool, the trunk neutral.
COLOURS: dict[str, tuple[int, int, int]] = {
    "trunk": (222, 220, 216),
    "head": (232, 226, 218),
    "face": (92, 98, 112),
    "left_arm": (245, 143, 84),
    "left_leg": (226, 108, 62),
    "right_arm": (84, 152, 222),
    "right_leg": (58, 118, 192),
}
LEG_LENGTH = 0.82  # metres from hip to ankle of the adult for whom the radii below are written


@dataclass(frozen=True)
class Capsule:
    """A tapered limb between two display points, radii in metres for an adult (scaled by leg length).

    `bone` is the joint whose rotation moves it, `end_bone` the one that moves its far end (-1: the same).
    """

    start: int
    end: int
    start_radius: float
    end_radius: float
    group: str
    bone: int
    end_bone: int = -1


@dataclass(frozen=True)
class Body:
    """Capsules of one skeleton. Display points are its joints followed by derived ones, see `display_points`.

    Attributes:
        form: the joints.
        capsules: the limbs; `start` and `end` index display points.
    """

    form: MotionFormat
    capsules: tuple[Capsule, ...]

    def scale(self, joints: np.ndarray) -> float:
        """Size of the figure in `joints` (T, J, 3) relative to an adult: 1 is a leg of 0.82 m."""
        legs = [self.form.leg(side) for side in SIDES]
        lengths = [
            np.linalg.norm(joints[:, leg[0]] - joints[:, leg[1]], axis=-1)
            + np.linalg.norm(joints[:, leg[1]] - joints[:, leg[2]], axis=-1)
            for leg in legs
        ]
        return float(max(np.median(lengths) / LEG_LENGTH, 1e-3))

    def display_points(self, joints: np.ndarray) -> np.ndarray:
        """Joints (T, J, 3) with the derived points appended: (T, P, 3)."""
        form, scale = self.form, self.scale(joints)
        head, neck = form.landmark("head"), form.landmark("neck")
        right_hip, left_hip, right_shoulder, left_shoulder = form.face_joints
        middle = (joints[:, left_shoulder] + joints[:, right_shoulder]) / 2
        spine = normalize(middle - (joints[:, left_hip] + joints[:, right_hip]) / 2)
        across = normalize(joints[:, left_shoulder] - joints[:, right_shoulder])
        up = normalize(normalize(joints[:, head] - joints[:, neck]) + 0.8 * spine)
        front = normalize(np.cross(across, up))
        skull = joints[:, head] + 0.085 * scale * up + 0.005 * scale * front
        brow = skull + 0.068 * scale * front + 0.008 * scale * up
        ear = 0.032 * scale * normalize(np.cross(up, front))
        chest = joints[:, form.spine[-1]]
        sides = [0.5 * chest + 0.5 * joints[:, shoulder] for shoulder in (left_shoulder, right_shoulder)]
        points = [skull, brow + ear, brow - ear, *sides]
        for side in SIDES:
            _, elbow, wrist = form.arm(side)
            forearm = normalize(joints[:, wrist] - joints[:, elbow])
            points.append(joints[:, wrist] + 0.085 * scale * forearm)
        for ankle, toe in (form.left_foot, form.right_foot):
            along = joints[:, toe] - joints[:, ankle]
            # The toes continue the foot, but flatter than the line from the ankle down to the ball.
            along = normalize(along * np.array([1.0, 0.25, 1.0]))
            points.append(joints[:, toe] + 0.055 * scale * along)
        return np.concatenate([joints, np.stack(points, axis=1)], axis=1)


@functools.cache
def get_body(form: MotionFormat) -> Body:
    """The mannequin of a format's skeleton.

    Raises:
        UserError: the format does not say where the head or a limb is.
    """
    parents, joint_count = form.parents, form.n_joints
    skull, left_brow, right_brow, left_side, right_side, left_hand, right_hand, left_toe, right_toe = range(
        joint_count,
        joint_count + 9,  # in the order of `display_points`
    )
    right_hip, left_hip, right_shoulder, left_shoulder = form.face_joints
    spine, neck, head = form.spine, form.landmark("neck"), form.landmark("head")
    chest = spine[-1]
    capsules = [Capsule(left_hip, right_hip, 0.070, 0.070, "trunk", 0)]
    waist = spine[len(spine) // 2]
    capsules += [Capsule(0, waist, 0.090, 0.094, "trunk", 0), Capsule(waist, chest, 0.094, 0.098, "trunk", waist)]
    capsules += [
        Capsule(chest, neck, 0.096, 0.050, "trunk", chest),
        Capsule(left_side, left_shoulder, 0.088, 0.050, "trunk", chest, parents[left_shoulder]),
        Capsule(right_side, right_shoulder, 0.088, 0.050, "trunk", chest, parents[right_shoulder]),
        Capsule(left_hip, left_side, 0.068, 0.088, "trunk", 0, chest),
        Capsule(right_hip, right_side, 0.068, 0.088, "trunk", 0, chest),
        Capsule(neck, head, 0.046, 0.044, "head", neck),
        Capsule(head, skull, 0.068, 0.092, "head", head),
        Capsule(left_brow, right_brow, 0.042, 0.042, "face", head),
    ]
    for side, hand, toe_tip in (("left", left_hand, left_toe), ("right", right_hand, right_toe)):
        (shoulder, elbow, wrist), (hip, knee, ankle), foot = form.arm(side), form.leg(side), form.foot(side)
        capsules += [
            Capsule(shoulder, elbow, 0.058, 0.039, f"{side}_arm", shoulder),
            Capsule(elbow, wrist, 0.039, 0.028, f"{side}_arm", elbow),
            Capsule(wrist, hand, 0.028, 0.036, f"{side}_arm", wrist),
            Capsule(hip, knee, 0.084, 0.053, f"{side}_leg", hip),
            Capsule(knee, ankle, 0.053, 0.037, f"{side}_leg", knee),
            Capsule(foot[-1], toe_tip, 0.033, 0.026, f"{side}_leg", foot[-1]),
        ]
        radii = np.linspace(0.039, 0.033, len(foot))
        for above, below, r0, r1 in zip(foot, foot[1:], radii, radii[1:], strict=False):
            capsules.append(Capsule(above, below, float(r0), float(r1), f"{side}_leg", above))
    return Body(form, tuple(capsules))
