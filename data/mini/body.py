"""The body of the mini dataset: from pose channels (angles, pelvis path, foot placements) to joints, bones rigid.

y is up, the body faces +z at yaw 0 and its left is +x. Angles are degrees in the channels. T frames.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from utils import quaternion
from utils.formats import get_format

SKELETON = get_format("humanml3d")
_LENGTHS = SKELETON.bone_lengths

LEFT, RIGHT = 0, 1
SIDES = (LEFT, RIGHT)
SIGN = (1.0, -1.0)  # the x direction of a side

THIGH = (_LENGTHS[4], _LENGTHS[5])
SHIN = (_LENGTHS[7], _LENGTHS[8])
FOOT = (_LENGTHS[10], _LENGTHS[11])
LEG = min(THIGH[0] + SHIN[0], THIGH[1] + SHIN[1])
ANKLE_HEIGHT = 0.062  # of a flat foot above its toe joint, which then lies on the floor
HEEL_BACK = 0.045  # the heel, about which a landing foot rolls, behind the ankle
HIP_DROP = 0.085
STAND_HEIGHT = HIP_DROP + LEG * 0.992 + ANKLE_HEIGHT  # pelvis height of a relaxed stand

# Unit bone directions of the relaxed upright body; lengths come from the skeleton.
_REST = np.zeros((SKELETON.n_joints, 3))
for _joint, _direction in {
    1: (0.58, -0.80, -0.06),
    3: (0.0, 0.985, -0.17),
    6: (0.0, 0.995, 0.08),
    9: (0.0, 0.99, 0.08),
    12: (0.0, 0.985, -0.10),
    13: (0.60, 0.79, -0.10),
    15: (0.0, 0.83, 0.55),
    16: (0.96, 0.20, -0.14),
}.items():
    _REST[_joint] = np.array(_direction) / np.linalg.norm(_direction)
    _REST[SKELETON.mirror[_joint]] = _REST[_joint] * ((-1, 1, 1) if SKELETON.mirror[_joint] != _joint else (1, 1, 1))
OFFSETS = _REST * _LENGTHS[:, None]

SPINE_SHARES = (0.30, 0.35, 0.35)


@dataclass
class Foot:
    """Where one foot is: the ankle of the flat foot, the way it points and how it is pitched.

    Attributes:
        ankle: (T, 3) metres; y is the height above that of a foot flat on the floor.
        yaw: (T,) radians.
        pitch: (T,) degrees, positive: the heel is up and the foot stands on its toe; negative: the toe is up.
        planted: (T,) bool, on the floor: the leg has to reach it.
        free: (T,) weight of `hip_angles`/`knee_angle` (a leg that swings freely, as in a kick) against the placement.
        flex, abduct, knee: (T,) degrees, the angles of the free leg.
    """

    ankle: np.ndarray
    yaw: np.ndarray
    pitch: np.ndarray
    planted: np.ndarray
    free: np.ndarray
    flex: np.ndarray
    abduct: np.ndarray
    knee: np.ndarray


@dataclass
class Pose:
    """Pose channels over T frames; everything starts as the relaxed stand.

    Attributes:
        path: (T, 2) x and z of the pelvis, metres; yaw (T,) radians is the heading.
        height: (T,) of the pelvis above the floor, metres.
        tilt, roll, twist: (T,) of the pelvis: forward, left side up, to the left.
        bend, lean, turn: (T,) of the trunk against the pelvis: forward, to the right, to the left.
        nod, shake, cock: (T,) of the head against the chest: down, to the left, left side up.
        shrug: (T, 2) of the collars, up.
        arms: (T, 2, 4): flexion forward, abduction, outward twist, elbow flexion, for left and right.
    """

    n_frames: int
    path: np.ndarray = field(init=False)
    yaw: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.path = np.zeros((self.n_frames, 2))
        self.height = np.full(self.n_frames, STAND_HEIGHT)
        for name in ("yaw", "tilt", "roll", "twist", "bend", "lean", "turn", "nod", "shake", "cock"):
            setattr(self, name, np.zeros(self.n_frames))
        self.shrug = np.zeros((self.n_frames, 2))
        self.arms = np.zeros((self.n_frames, 2, 4))


def rotation(axis: int, degrees: np.ndarray) -> np.ndarray:
    """(..., 3, 3) rotations about a coordinate axis by angles (...)."""
    angle = np.radians(degrees)
    cosine, sine = np.cos(angle), np.sin(angle)
    matrix = np.zeros(angle.shape + (3, 3))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix[..., axis, axis] = 1.0
    matrix[..., first, first] = cosine
    matrix[..., second, second] = cosine
    matrix[..., first, second] = -sine
    matrix[..., second, first] = sine
    return matrix


def _turned(frame: np.ndarray, vector: np.ndarray) -> np.ndarray:
    return np.einsum("tij,...j->ti", frame, vector) if vector.ndim == 1 else np.einsum("tij,tj->ti", frame, vector)


def forward_of(yaw: np.ndarray) -> np.ndarray:
    """(..., 2) x and z of the forward direction at a heading (...)."""
    return np.stack([np.sin(yaw), np.cos(yaw)], axis=-1)


def left_of(yaw: np.ndarray) -> np.ndarray:
    """(..., 2) x and z of the left direction at a heading (...)."""
    return np.stack([np.cos(yaw), -np.sin(yaw)], axis=-1)


def foot_points(foot: Foot, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Ankle and toe, each (T, 3): the flat foot rolled about its toe (heel up) or its heel (toe up)."""
    forward = np.zeros((len(foot.yaw), 3))
    forward[:, [0, 2]] = forward_of(foot.yaw)
    up = np.array([0.0, 1.0, 0.0])
    reach = np.sqrt(FOOT[side] ** 2 - ANKLE_HEIGHT**2)

    def pitched(along: np.ndarray | float, above: float) -> np.ndarray:
        # A vector of the foot's plane, rotated so that positive pitch lowers what lies ahead.
        angle = np.radians(foot.pitch)
        ahead = along * np.cos(angle) + above * np.sin(angle)
        return ahead[:, None] * forward + (above * np.cos(angle) - along * np.sin(angle))[:, None] * up

    ground = foot.ankle + 0.0
    on_toe = ground + reach * forward - pitched(reach, -ANKLE_HEIGHT)
    on_heel = ground - HEEL_BACK * forward + pitched(HEEL_BACK, ANKLE_HEIGHT)
    ankle = np.where((foot.pitch > 0)[:, None], on_toe, on_heel)
    return ankle, ankle + pitched(reach, -ANKLE_HEIGHT)


def _lower_for_reach(pose: Pose, hips: np.ndarray, ankles: list[np.ndarray], feet: tuple[Foot, Foot]) -> np.ndarray:
    """(T,) how far the pelvis has to come down so that planted feet stay in reach, smooth in time."""
    excess = np.zeros(pose.n_frames)
    for side in SIDES:
        gap = hips[:, side] - ankles[side]
        longest = 0.992 * (THIGH[side] + SHIN[side])
        allowed = np.sqrt(np.maximum(longest**2 - gap[:, 0] ** 2 - gap[:, 2] ** 2, 0.05))
        over = np.maximum(gap[:, 1] - allowed, 0.0) * (1.0 - feet[side].free)
        excess = np.maximum(excess, np.where(feet[side].planted, over, 0.0))
    if not excess.any():
        return excess
    padded = np.pad(excess, 4, mode="edge")
    widest = np.max([padded[shift : shift + pose.n_frames + 4] for shift in range(5)], axis=0)
    kernel = np.array([1.0, 2.0, 3.0, 2.0, 1.0]) / 9.0
    return np.convolve(widest, kernel, mode="valid")


def _leg(hip: np.ndarray, ankle: np.ndarray, hinge: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Knee and reached ankle (T, 3): two bones in the plane normal to `hinge` (T, 3), knee ahead."""
    axis = ankle - hip
    distance = np.linalg.norm(axis, axis=-1, keepdims=True)
    axis = axis / distance
    longest = 0.9985 * (THIGH[side] + SHIN[side])
    # Soft limit: approaches the full length without a kink.
    slack = 0.02 * longest
    knee_point = longest - slack
    distance = np.where(
        distance > knee_point, knee_point + slack * np.tanh((distance - knee_point) / slack), np.maximum(distance, 0.12)
    )
    along = (THIGH[side] ** 2 - SHIN[side] ** 2 + distance**2) / (2 * distance)
    outward = quaternion.normalize(np.cross(axis, hinge))
    knee = hip + along * axis + np.sqrt(np.maximum(THIGH[side] ** 2 - along**2, 0.0)) * outward
    return knee, hip + distance * axis


def pose_joints(pose: Pose, feet: tuple[Foot, Foot]) -> np.ndarray:
    """Joints (T, 22, 3) of the pose: spine, head and arms by forward kinematics, legs by inverse kinematics."""
    joints = np.zeros((pose.n_frames, SKELETON.n_joints, 3))
    pelvis = np.stack([pose.path[:, 0], pose.height, pose.path[:, 1]], axis=-1)
    hip_frame = rotation(1, np.degrees(pose.yaw)) @ rotation(1, pose.twist)
    hip_frame = hip_frame @ rotation(0, pose.tilt) @ rotation(2, pose.roll)
    points = [foot_points(foot, side) for side, foot in zip(SIDES, feet, strict=True)]
    ankles = [ankle for ankle, _ in points]
    hips = np.stack([_turned(hip_frame, OFFSETS[1 + side]) for side in SIDES], axis=1) + pelvis[:, None]
    for _ in range(2):
        lower = _lower_for_reach(pose, hips, ankles, feet)
        pelvis[:, 1] -= lower
        hips[..., 1] -= lower[:, None]
    joints[:, 0] = pelvis

    for side in SIDES:
        foot, (ankle, toe) = feet[side], points[side]
        hip = hips[:, side]
        free = foot.free[:, None]
        if free.any():
            thigh_frame = hip_frame @ rotation(0, -foot.flex) @ rotation(2, SIGN[side] * foot.abduct)
            shin_frame = thigh_frame @ rotation(0, foot.knee)
            down = np.array([0.0, -1.0, 0.0])
            swung = hip + THIGH[side] * _turned(thigh_frame, down) + SHIN[side] * _turned(shin_frame, down)
            pointed = _turned(shin_frame @ rotation(0, np.full(len(toe), 25.0)), np.array([0.0, -0.35, 0.94]))
            ankle, toe_way = ankle * (1 - free) + swung * free, (toe - ankle) * (1 - free) + pointed * free * FOOT[side]
            # The swinging foot bends the knee rather than touch the floor.
            low = (
                np.minimum(ankle[:, 1] - ANKLE_HEIGHT, ankle[:, 1] + FOOT[side] * quaternion.normalize(toe_way)[:, 1])
                - 0.03
            )
            ankle[:, 1] += np.minimum(foot.free * 4.0, 1.0) * 0.015 * np.logaddexp(0.0, -low / 0.015)
        else:
            toe_way = toe - ankle
        spread = np.cross(np.array([0.0, 1.0, 0.0]), np.stack([np.sin(foot.yaw), 0 * foot.yaw, np.cos(foot.yaw)], -1))
        hinge = 0.6 * hip_frame[:, :, 0] + 0.4 * spread
        knee, reached = _leg(hip, ankle, hinge, side)
        joints[:, 1 + side], joints[:, 4 + side] = hip, knee
        joints[:, 7 + side] = reached
        joints[:, 10 + side] = reached + FOOT[side] * quaternion.normalize(toe_way)

    frame = hip_frame
    parent = 0
    for joint, share in zip((3, 6, 9), SPINE_SHARES, strict=True):
        joints[:, joint] = joints[:, parent] + _turned(frame, OFFSETS[joint])
        frame = frame @ rotation(1, pose.turn * share) @ rotation(0, pose.bend * share)
        frame = frame @ rotation(2, -pose.lean * share)
        parent = joint
    head_frame = frame @ rotation(1, 0.4 * pose.shake) @ rotation(0, 0.4 * pose.nod) @ rotation(2, 0.4 * pose.cock)
    joints[:, 12] = joints[:, 9] + _turned(head_frame, OFFSETS[12])
    head_frame = head_frame @ rotation(1, 0.6 * pose.shake) @ rotation(0, 0.6 * pose.nod) @ rotation(2, 0.6 * pose.cock)
    joints[:, 15] = joints[:, 12] + _turned(head_frame, OFFSETS[15])

    down = np.array([0.0, -1.0, 0.0])
    for side in SIDES:
        joints[:, 13 + side] = joints[:, 9] + _turned(frame, OFFSETS[13 + side])
        flexion, abduction, twist, elbow = pose.arms[:, side].T
        collar_frame = frame @ rotation(2, SIGN[side] * pose.shrug[:, side])
        joints[:, 16 + side] = joints[:, 13 + side] + _turned(collar_frame, OFFSETS[16 + side])
        arm_frame = frame @ rotation(0, -flexion) @ rotation(2, SIGN[side] * abduction)
        arm_frame = arm_frame @ rotation(1, SIGN[side] * twist)
        joints[:, 18 + side] = joints[:, 16 + side] + _LENGTHS[18 + side] * _turned(arm_frame, down)
        forearm = _turned(arm_frame @ rotation(0, -elbow), down)
        joints[:, 20 + side] = joints[:, 18 + side] + _LENGTHS[20 + side] * forearm
    return joints
