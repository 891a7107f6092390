"""Features: against a published pair, and invariants that hold for any motion."""

from pathlib import Path

import numpy as np
import pytest
import torch

from utils import quaternion
from utils.errors import UserError
from utils.facing import facing, yaw_quaternion
from utils.formats import get_format
from utils.normalizer import Normalizer
from utils.representation import (
    at_tempo,
    bone_directions,
    canonicalize,
    features_to_grid,
    features_to_joints,
    foot_steps,
    grid_to_features,
    joints_to_features,
    planted,
    with_bones,
)

REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference"
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the published reference files are not here")


def moving_body(dataset: str, frames: int = 60, turn: float = 0.0, seed: int = 0) -> np.ndarray:
    """A canonical body that wobbles, walks and turns by `turn` radians in all."""
    skeleton = get_format(dataset)
    generator = np.random.default_rng(seed)
    time = np.linspace(0, 1, frames)[:, None, None]
    bones = skeleton.directions * skeleton.bone_lengths[:, None]
    rest = np.zeros((skeleton.n_joints, 3))
    # A rest pose that faces +z: hips and shoulders are put on their sides by name.
    for joint in range(1, skeleton.n_joints):
        name = skeleton.joint_names[joint]
        offset = bones[joint].copy()
        if "hip" in name or "shoulder" in name or "collar" in name:
            offset[0] = np.sign(1.0 if name.startswith("left") else -1.0) * max(abs(offset[0]), 0.05)
        rest[joint] = rest[skeleton.parents[joint]] + offset
    wobble = 0.03 * np.sin(2 * np.pi * time * generator.uniform(1, 3, (1, skeleton.n_joints, 3)))
    path = np.stack([0.3 * np.sin(3 * time[:, 0, 0]), 0.9 + 0 * time[:, 0, 0], 2 * time[:, 0, 0]], axis=-1)
    body = quaternion.rotate(yaw_quaternion(turn * time[:, 0]), rest[None] + wobble)
    return canonicalize(body + path[:, None], dataset)


@needs_reference
def test_features_of_the_published_pair() -> None:
    joints, features = (np.load(REFERENCE / f"012314_{kind}.npy") for kind in ("joints", "features"))
    np.testing.assert_allclose(features_to_joints(features), joints, atol=1e-6)
    # Later rows feel the lost last frame through the smoothing of the heading.
    np.testing.assert_allclose(joints_to_features(joints)[:90], features[:90], atol=1e-5)


@needs_reference
def test_canonical_joints_stay_as_they_are() -> None:
    joints = np.load(REFERENCE / "012314_joints.npy")
    np.testing.assert_allclose(canonicalize(joints), joints, atol=1e-4)


@pytest.mark.parametrize("dataset", ["humanml3d", "kit"])
@pytest.mark.parametrize("turn", [0.0, 1.0, -7.0, 13.0])
def test_joints_features_joints(dataset: str, turn: float) -> None:
    joints = moving_body(dataset, turn=turn)
    features = joints_to_features(joints, dataset)
    assert features.shape == (59, get_format(dataset).n_features) and features.dtype == np.float32
    np.testing.assert_allclose(features_to_joints(features, dataset), joints[:-1], atol=2e-5)


@pytest.mark.parametrize("turn", [7.0, 20.0])
def test_yaw_is_continuous_through_full_turns(turn: float) -> None:
    yaw = joints_to_features(moving_body("humanml3d", frames=120, turn=turn))[1:, 0]
    assert np.abs(np.diff(yaw)).max() < 0.02, "the yaw jumps where the heading crosses 180 degrees"


def test_canonicalize_undoes_place_heading_and_size() -> None:
    joints = moving_body("humanml3d")
    moved = quaternion.rotate(yaw_quaternion(np.array(2.0)), joints) * 1.7 + np.array([5.0, 1.0, -3.0])
    again = canonicalize(moved)
    np.testing.assert_allclose(again, joints, atol=1e-4)
    assert again[..., 1].min() == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(facing(again[:1], get_format("humanml3d"))[0], [0, 0, 1], atol=1e-4)


def test_bone_lengths_after_retargeting() -> None:
    generator = np.random.default_rng(0)
    skeleton = get_format("humanml3d")
    stretched = moving_body("humanml3d") * generator.uniform(0.8, 1.3)
    stretched = canonicalize(stretched + generator.normal(scale=0.01, size=stretched.shape))
    lengths = np.linalg.norm(stretched[:, 1:] - stretched[:, list(skeleton.parents[1:])], axis=-1)
    np.testing.assert_allclose(lengths, np.broadcast_to(skeleton.bone_lengths[1:], lengths.shape), atol=1e-5)


@pytest.mark.parametrize("dataset, n_features, slots", [("humanml3d", 263, 24), ("kit", 251, 36)])
def test_grid_is_exact_and_complete(dataset: str, n_features: int, slots: int) -> None:
    layout = get_format(dataset)
    features = torch.randn(3, 8, n_features)
    grid = features_to_grid(features, layout)
    assert grid.shape == (3, 8, slots, 12)
    assert torch.equal(grid_to_features(grid, layout), features)
    assert sorted(layout.grid_columns[layout.grid_columns < n_features]) == list(range(n_features))


def test_the_grid_copies_nothing_to_the_device_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    layout, features = get_format("humanml3d"), torch.randn(1, 4, 263, requires_grad=True)
    with torch.inference_mode():
        grid_to_features(features_to_grid(features, layout), layout)
    monkeypatch.setattr(torch, "as_tensor", lambda *_, **__: pytest.fail("an index was made again"))
    grid_to_features(features_to_grid(features, layout), layout).sum().backward()
    assert torch.equal(features.grad, torch.ones_like(features))


@pytest.mark.parametrize("dataset, widths", [("humanml3d", [7, 50, 50, 60, 60, 60]), ("kit", [7, 62, 62, 48, 48, 48])])
def test_retriever_parts_have_the_published_widths(dataset: str, widths: list[int]) -> None:
    columns = get_format(dataset).part_columns
    assert [len(columns[part]) for part in columns] == widths
    assert set(np.concatenate(list(columns.values()))) == set(range(get_format(dataset).n_features))


@pytest.mark.parametrize("dataset", ["humanml3d", "kit"])
def test_every_joint_has_one_slot(dataset: str) -> None:
    skeleton = get_format(dataset)
    assert sorted(joint for joint in skeleton.slots if joint >= 0) == list(range(skeleton.n_joints))
    assert len({skeleton.slots_per_part}) == 1
    assert [skeleton.mirror[skeleton.mirror[joint]] for joint in range(skeleton.n_joints)] == list(
        range(skeleton.n_joints)
    )


@pytest.mark.parametrize(
    "joints, words",
    [
        (np.zeros((10, 21, 3)), "shape"),
        (np.full((10, 22, 3), np.nan), "NaN"),
        (np.zeros((1, 22, 3)), "1 frames"),
    ],
)
def test_bad_joints_are_refused(joints: np.ndarray, words: str) -> None:
    with pytest.raises(UserError, match=words):
        joints_to_features(joints)


def test_normalizer_round_trip_and_bias() -> None:
    layout = get_format("humanml3d")
    generator = np.random.default_rng(0)
    mean, std = generator.normal(size=263), generator.uniform(0.5, 2, 263)
    normalizer = Normalizer.from_statistics(mean, std, layout, feat_bias=5.0)
    features = torch.randn(2, 7, 263)
    torch.testing.assert_close(normalizer.denormalize(normalizer.normalize(features)), features, atol=1e-5, rtol=0)
    plain = Normalizer.from_statistics(mean, std, layout)
    ratio = normalizer.normalize(features) / plain.normalize(features)
    torch.testing.assert_close(ratio[..., :4], torch.full_like(ratio[..., :4], 5.0))
    torch.testing.assert_close(ratio[..., 4:259], torch.ones_like(ratio[..., 4:259]))
    with pytest.raises(UserError, match="not positive"):
        Normalizer.from_statistics(mean, np.zeros(263), layout)


def test_steps_of_feet_are_those_of_the_joints() -> None:
    form = get_format("humanml3d")
    joints = moving_body("humanml3d", turn=1.0)
    features = joints_to_features(joints)
    feet = features_to_joints(features)[:, form.feet][..., [0, 2]]
    expected = np.linalg.norm(np.diff(feet, axis=0), axis=-1)
    steps = foot_steps(torch.from_numpy(features)[None], form)[0]
    np.testing.assert_allclose(steps.norm(dim=-1).numpy(), expected, atol=1e-5)
    assert expected.max() > 0.01


def test_directions_of_bones_are_those_of_the_joints() -> None:
    form = get_format("humanml3d")
    features = joints_to_features(moving_body("humanml3d", turn=1.0))
    joints = features_to_joints(features)
    bones = joints[:, 1:] - joints[:, list(form.parents[1:])]
    lengths = np.linalg.norm(bones, axis=-1, keepdims=True)
    # Features have the heading removed: all bones of a frame are turned alike.
    made = bone_directions(torch.from_numpy(features)[None], form)[0].double().numpy()
    np.testing.assert_allclose(np.linalg.norm(made, axis=-1), 1.0, atol=1e-5)
    np.testing.assert_allclose(made @ made.swapaxes(1, 2), (u := bones / lengths) @ u.swapaxes(1, 2), atol=1e-4)
    np.testing.assert_allclose(made[..., 1], u[..., 1], atol=1e-5)


def test_bones_are_as_long_as_the_skeleton_allows() -> None:
    form = get_format("humanml3d")
    features = torch.from_numpy(joints_to_features(moving_body("humanml3d", turn=1.0)))[None]

    def lengths(moved: torch.Tensor) -> np.ndarray:
        joints = features_to_joints(moved[0].numpy())
        return np.linalg.norm(joints[:, 1:] - joints[:, form.parents[1:]], axis=-1) / form.bone_lengths[1:]

    exact = with_bones(features, form, 0.0)
    np.testing.assert_allclose(lengths(exact), 1.0, atol=1e-4)
    torch.testing.assert_close(with_bones(exact, form, 0.1), exact, atol=1e-5, rtol=0)
    far = exact.clone()
    wrist = form.positions.start + 3 * (form.joint_names.index("left_wrist") - 1)
    far[..., wrist : wrist + 3] += 2.0
    near = with_bones(far, form, 0.1)
    expected = torch.ones(21)
    expected[form.joint_names.index("left_wrist") - 1] = 1.1
    np.testing.assert_allclose(lengths(near), expected.expand(features.shape[1], -1), atol=1e-4)
    others = np.delete(np.arange(263), range(wrist, wrist + 3))
    torch.testing.assert_close(near[..., others], exact[..., others], atol=1e-5, rtol=0)


def test_a_path_follows_the_foot_that_stands_best() -> None:
    form = get_format("humanml3d")
    features = torch.from_numpy(joints_to_features(moving_body("humanml3d", turn=1.0)))[None].clone()
    features[..., form.contacts] = 0.0
    assert torch.equal(planted(features, form, 0.0), features)
    features[:, 5:20, form.contacts.start : form.contacts.start + 2] = 1.0
    slid = foot_steps(features, form)[0, :, :2].norm(dim=-1)
    limit = float(slid[5:20].min(dim=-1).values.median())
    made = foot_steps(planted(features, form, limit), form)[0, :, :2].norm(dim=-1)
    best = slid.argmin(dim=-1, keepdim=True)
    torch.testing.assert_close(made.gather(1, best)[5:20], slid.gather(1, best)[5:20].clamp(max=limit))
    others = torch.tensor([row for row in range(len(slid)) if not 5 <= row < 20])
    torch.testing.assert_close(made[others], slid[others])
    mask = torch.arange(features.shape[1])[None] < 10
    masked = planted(features, form, 0.0, mask)
    assert torch.equal(masked[:, 9:], features[:, 9:]) and not torch.equal(masked[:, 5:9], features[:, 5:9])


def test_another_tempo_is_the_same_way_in_other_time() -> None:
    form = get_format("humanml3d")
    features = joints_to_features(moving_body("humanml3d", turn=1.0))[1:]  # the first one jumps, as published
    for frames in (40, 80):
        played = at_tempo(features, frames, form)
        assert played.shape == (frames, form.n_features) and played.dtype == np.float32
        ways = [features_to_joints(each)[:, 0] for each in (features, played)]
        np.testing.assert_allclose(ways[1][-1], ways[0][-1], atol=0.03)
        assert set(np.unique(played[:, form.contacts])) <= {0.0, 1.0}
