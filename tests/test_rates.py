"""What is meant in seconds and metres a second is so at every frame rate: contacts, skate, errors, attributes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data.mini.folder import plan
from data.mini.motion import make_clip
from data.oracle.scores import score_attributes
from data.specs import usual_frames
from utils import metrics
from utils.formats import HUMANML3D, get_format
from utils.representation import features_to_joints, joints_to_features
from utils.rig import resample_joints
from visualization.contacts import detect_contacts

RATES = (30, 60, 120)
Item = tuple[dict, np.ndarray]


@pytest.fixture(scope="module")
def clips() -> list[Item]:
    """Attributes and joints of clips that stand, walk, run, jump and wave, at 20 frames a second."""
    chosen = [segments for segments, split in plan(400, seed=5) if split == "test"][:24]
    return [({"segments": each}, make_clip(each, np.random.default_rng([5, n]))) for n, each in enumerate(chosen)]


def at_rate(joints: np.ndarray, fps: float) -> np.ndarray:
    return resample_joints(joints, HUMANML3D.parents, 20, fps)


def measured(clips: list[Item], fps: float) -> tuple[np.ndarray, float, float, np.ndarray]:
    """Share of the time that each foot joint is in contact, skate, root speed, and share by the renderers' rule."""
    form = replace(HUMANML3D, fps=float(fps))
    shares, skates, speeds, drawn = [], [], [], []
    for _, joints in clips:
        joints = at_rate(joints, fps)
        features = joints_to_features(joints, form)
        contacts = features[:, form.contacts] > 0.5
        shares.append(contacts.mean(axis=0))
        skates.append(metrics.foot_skate(features_to_joints(features, form)[:, form.feet], contacts, fps))
        speeds.append(np.linalg.norm(features[:, 1:3], axis=-1).mean() * fps)
        drawn.append(detect_contacts(joints, fps, form).mean(axis=0))
    return np.mean(shares, axis=0), np.nanmean(skates), np.mean(speeds), np.mean(drawn, axis=0)


@pytest.mark.parametrize("fps", RATES)
def test_contacts_and_skate_are_those_at_20_frames(clips: list[Item], fps: float) -> None:
    for found, wanted in zip(measured(clips, fps), measured(clips, 20), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0.1)


@pytest.mark.parametrize("fps", RATES)
def test_each_contact_is_at_its_time(clips: list[Item], fps: float) -> None:
    """Not only as many: the same ones. At an edge a frame of the slower motion may hold both."""
    for _, joints in clips[:8]:
        fast = joints_to_features(at_rate(joints, fps), replace(HUMANML3D, fps=float(fps)))
        slow = joints_to_features(joints, HUMANML3D)
        seconds = (np.arange(len(slow)) + 0.5) / 20
        nearest = np.minimum((seconds * fps).astype(int), len(fast) - 1)
        assert (fast[nearest, -4:] == slow[:, -4:]).mean() > 0.93


@pytest.mark.parametrize("fps", RATES)
def test_the_heading_is_smoothed_over_seconds(clips: list[Item], fps: float) -> None:
    for _, joints in clips[:8]:
        slow = joints_to_features(joints, HUMANML3D)
        fast = joints_to_features(at_rate(joints, fps), replace(HUMANML3D, fps=float(fps)))
        turned = [2 * np.cumsum(each[1:, 0]) for each in (slow, fast)]  # the first step undoes the start's heading
        times = [np.arange(1, len(each)) / rate for each, rate in ((slow, 20), (fast, fps))]
        again = np.interp(times[0], times[1], turned[1])
        offset = np.median(again - turned[0])
        np.testing.assert_allclose(again - offset, turned[0], atol=0.1 * max(np.ptp(turned[0]), 0.2))


@pytest.mark.parametrize("fps", RATES)
def test_the_oracle_sees_the_same(clips: list[Item], fps: float) -> None:
    seen = [score_attributes(at_rate(joints, fps), attributes, fps) for attributes, joints in clips]
    wanted = [score_attributes(joints, attributes) for attributes, joints in clips]
    same = [each[name] == other[name] for each, other in zip(seen, wanted, strict=True) for name in other]
    assert np.mean(same) > 0.97


def test_usual_lengths_are_seconds_where_none_are_published() -> None:
    assert usual_frames(HUMANML3D) == (40, 196) and usual_frames(get_format("kit")) == (24, 196)
    assert usual_frames(replace(HUMANML3D, fps=30.0)) == (60, 292)
    assert usual_frames(replace(HUMANML3D, fps=120.0)) == (240, 1176)
