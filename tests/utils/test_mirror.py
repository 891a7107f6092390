"""Left and right exchanged: joints, features and captions agree, and twice is nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from utils import quaternion
from utils.errors import UserError
from utils.facing import yaw_quaternion
from utils.formats import get_format
from utils.mirror import mirror_caption, mirror_features, mirror_joints
from utils.representation import canonicalize, features_to_joints, joints_to_features


def asymmetric_body(dataset: str, frames: int = 50) -> np.ndarray:
    """A canonical body that wobbles differently on both sides, turns and walks sideways."""
    skeleton = get_format(dataset)
    generator = np.random.default_rng(1)
    time = np.linspace(0, 1, frames)[:, None, None]
    rest = np.zeros((skeleton.n_joints, 3))
    for joint in range(1, skeleton.n_joints):
        name = skeleton.joint_names[joint]
        offset = skeleton.directions[joint] * skeleton.bone_lengths[joint]
        if any(word in name for word in ("hip", "shoulder", "collar")):
            offset[0] = (1.0 if name.startswith("left") else -1.0) * max(abs(offset[0]), 0.05)
        rest[joint] = rest[skeleton.parents[joint]] + offset
    wobble = 0.04 * np.sin(2 * np.pi * time * generator.uniform(1, 3, (1, skeleton.n_joints, 3)))
    path = np.stack([0.7 * time[:, 0, 0], 0.9 + 0 * time[:, 0, 0], np.sin(time[:, 0, 0])], axis=-1)
    body = quaternion.rotate(yaw_quaternion(1.5 * time[:, 0]), rest[None] + wobble)
    return canonicalize(body + path[:, None], dataset)


@pytest.mark.parametrize("dataset", ["humanml3d", "kit"])
def test_features_of_mirrored_joints_are_the_mirrored_features(dataset: str) -> None:
    joints = asymmetric_body(dataset)
    features = joints_to_features(joints, dataset)
    mirrored = mirror_features(features, dataset)
    expected = joints_to_features(mirror_joints(joints, dataset), dataset)
    scale = get_format(dataset).units_per_metre
    np.testing.assert_allclose(mirrored, expected, atol=1e-5 * scale)
    np.testing.assert_allclose(
        features_to_joints(mirrored, dataset), mirror_joints(features_to_joints(features, dataset), dataset), atol=1e-5
    )
    assert np.abs(mirrored - features).max() > 0.1  # the body is not symmetric


@pytest.mark.parametrize("dataset", ["humanml3d", "kit"])
def test_twice_is_nothing_in_numpy_and_torch(dataset: str) -> None:
    rows = np.random.default_rng(0).normal(size=(2, 7, get_format(dataset).n_features)).astype(np.float32)
    once = mirror_features(rows, dataset)
    assert once.dtype == np.float32 and not np.array_equal(once, rows)
    np.testing.assert_array_equal(mirror_features(once, dataset), rows)
    np.testing.assert_array_equal(mirror_features(torch.from_numpy(rows), dataset).numpy(), once)
    joints = np.random.default_rng(0).normal(size=(5, get_format(dataset).n_joints, 3))
    np.testing.assert_array_equal(mirror_joints(mirror_joints(joints, dataset), dataset), joints)


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A person waves the left hand and turns right.", "A person waves the right hand and turns left."),
        ("Left foot first, then leftwards", "Right foot first, then rightwards"),
        ("walks counter clockwise", "walks clockwise"),
        ("walks clockwise", "walks counterclockwise"),
        ("a right-handed throw right after an upright bow", "a left-handed throw right after an upright bow"),
        ("a person jumps", "a person jumps"),
        ("steps to the right before turning left", "steps to the left before turning right"),
        ("steps right after a left-footed kick", "steps left after a right-footed kick"),
        ("claps with his right behind the back", "claps with his left behind the back"),
        ("claps right behind the table, right in front", "claps right behind the table, right in front"),
        ("turns right away from the wall right now", "turns right away from the wall right now"),
        ("the right angle of a right-angled elbow", "the right angle of a right-angled elbow"),
        ("He left the room. She has left.", "He left the room. She has left."),
        ("she has left hand up, who left kicks; he left", "she has right hand up, who right kicks; he left"),
        ("the leftmost lefthand kick, RIGHT foot", "the rightmost righthand kick, LEFT foot"),
        ("anti-clock-wise, then clock-wise", "clockwise, then counterclockwise"),
    ],
)
def test_captions(caption: str, expected: str) -> None:
    assert mirror_caption(caption) == expected


def test_wrong_widths_are_refused() -> None:
    with pytest.raises(UserError, match="263 columns, not 251"):
        mirror_features(np.zeros((3, 251)))
    with pytest.raises(UserError, match="22, 3"):
        mirror_joints(np.zeros((3, 21, 3)))
