"""Quaternion algebra against definitions."""

import numpy as np
import pytest

from utils import quaternion


@pytest.fixture
def rotations() -> np.ndarray:
    return quaternion.normalize(np.random.default_rng(0).normal(size=(200, 4)))


def test_rotate_equals_matrix(rotations: np.ndarray) -> None:
    vectors = np.random.default_rng(1).normal(size=(200, 3))
    by_matrix = np.einsum("nij,nj->ni", quaternion.to_matrix(rotations), vectors)
    np.testing.assert_allclose(quaternion.rotate(rotations, vectors), by_matrix, atol=1e-12)


def test_matrix_round_trip(rotations: np.ndarray) -> None:
    back = quaternion.from_matrix(quaternion.to_matrix(rotations))
    np.testing.assert_allclose(np.abs((back * rotations).sum(-1)), 1, atol=1e-12)


def test_product_composes_rotations(rotations: np.ndarray) -> None:
    vector = np.array([0.3, -1.0, 2.0])
    first, second = rotations[:100], rotations[100:]
    np.testing.assert_allclose(
        quaternion.rotate(quaternion.multiply(first, second), vector),
        quaternion.rotate(first, quaternion.rotate(second, vector)),
        atol=1e-12,
    )


def test_between_turns_start_into_end_also_when_opposite() -> None:
    generator = np.random.default_rng(2)
    start = generator.normal(size=(50, 3))
    end = np.concatenate([generator.normal(size=(25, 3)), -start[25:]])
    turned = quaternion.rotate(quaternion.between(start, end), start / np.linalg.norm(start, axis=-1, keepdims=True))
    np.testing.assert_allclose(turned, end / np.linalg.norm(end, axis=-1, keepdims=True), atol=1e-6)


def test_slerp_ends_and_middle() -> None:
    axis = np.array([0.0, 1.0, 0.0])
    start, end = quaternion.from_axis_angle(axis, np.array(0.2)), quaternion.from_axis_angle(axis, np.array(1.2))
    np.testing.assert_allclose(quaternion.slerp(start, end, 0.0), start, atol=1e-12)
    np.testing.assert_allclose(quaternion.slerp(start, -end, 1.0), end, atol=1e-12)
    np.testing.assert_allclose(
        quaternion.slerp(start, end, 0.5), quaternion.from_axis_angle(axis, np.array(0.7)), atol=1e-12
    )


def test_unroll_leaves_no_sign_jumps(rotations: np.ndarray) -> None:
    angles = np.linspace(0, 20, 300)
    smooth = quaternion.from_axis_angle(np.array([0.0, 1.0, 0.0]), angles)
    flipped = smooth * np.random.default_rng(3).choice([-1, 1], size=(300, 1))
    assert ((quaternion.unroll(flipped)[1:] * quaternion.unroll(flipped)[:-1]).sum(-1) > 0).all()


@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_accumulate_multiplies_from_the_left(rotations: np.ndarray, count: int) -> None:
    expected = [rotations[0]]
    for turn in rotations[1:count]:
        expected.append(quaternion.multiply(turn, expected[-1]))
    np.testing.assert_allclose(quaternion.accumulate(rotations[:count]), expected, atol=1e-12)
