"""The oracle accepts what the clips show and refuses what they do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from data.mini.folder import plan
from data.mini.motion import make_clip
from data.oracle.scores import attribute_signature, score_attributes, semantic_accuracy
from utils.formats import get_format
from utils.representation import features_to_joints, joints_to_features

Item = tuple[dict, np.ndarray]


@dataclass(frozen=True)
class Report:
    """Accuracy of many clips, as a whole and by attribute (`"arm=wave"`), with how often each was scored."""

    accuracy: float
    by_attribute: dict[str, tuple[float, int]]


def report(scored: Sequence[tuple[dict, Mapping[str, bool]]]) -> Report:
    """Accuracy by attribute value from pairs of attributes and their scores."""
    collected: dict[str, list[bool]] = {}
    for attributes, scores in scored:
        for name, value in scores.items():
            index, _, key = name.partition(".")
            label = f"{key}={attributes['segments'][int(index)][key]}" if key else name
            collected.setdefault(label, []).append(value)
    table = {label: (float(np.mean(values)), len(values)) for label, values in sorted(collected.items())}
    return Report(semantic_accuracy([scores for _, scores in scored]), table)


@pytest.fixture(scope="module")
def items() -> list[Item]:
    """Attributes and joints (as features tell them) of test clips that cover everything."""
    chosen = [segments for segments, split in plan(1200, seed=11) if split == "test"]
    result = []
    for index, segments in enumerate(chosen):
        joints = make_clip(segments, np.random.default_rng([11, index]))
        result.append(({"segments": segments}, features_to_joints(joints_to_features(joints, "mini"), "mini")))
    return result


def _report(items: list[Item], change: Callable[[np.ndarray], np.ndarray] = lambda joints: joints):
    return report([(attributes, score_attributes(change(joints), attributes)) for attributes, joints in items])


def _mirrored(joints: np.ndarray) -> np.ndarray:
    return (joints * [-1, 1, 1])[:, list(get_format("humanml3d").mirror)]


def test_real_clips_show_their_attributes(items: list[Item]) -> None:
    result = _report(items)
    assert result.accuracy >= 0.99
    assert min(accuracy for accuracy, _ in result.by_attribute.values()) >= 0.9, result.by_attribute


def test_random_pairs_are_mostly_wrong(items: list[Item]) -> None:
    other = np.random.default_rng(0).permutation(len(items))
    result = report([(items[k][0], score_attributes(items[i][1], items[k][0])) for i, k in enumerate(other)])
    assert result.accuracy < 0.2
    assert max(accuracy for accuracy, count in result.by_attribute.values() if count >= 10) < 0.6, result.by_attribute


def test_mirrored_clips_lose_their_sides(items: list[Item]) -> None:
    table = _report(items, _mirrored).by_attribute
    for name in ("side=left", "side=right", "leg_side=left", "leg_side=right", "direction=left", "direction=right",
                 "direction=clockwise", "direction=counterclockwise", "head=look_left", "head=look_right"):  # fmt: skip
        assert table[name][0] < 0.1, name
    assert table["side=both"][0] > 0.9 and table["arm=wave"][0] > 0.9


def test_reversed_clips_lose_direction_and_order(items: list[Item]) -> None:
    table = _report(items, lambda joints: joints[::-1]).by_attribute
    for name in ("order", "direction=backward", "direction=clockwise", "direction=counterclockwise", "arm=throw"):
        assert table[name][0] < 0.15, name
    assert table["direction=forward"][0] < 0.3  # a jump forward, backwards, still travels


def test_noise_and_a_frozen_body_show_nothing(items: list[Item]) -> None:
    rng = np.random.default_rng(0)
    still = items[0][1][:1]
    assert _report(items, lambda joints: rng.normal(0, 0.5, joints.shape)).accuracy < 0.02
    assert (
        _report(items, lambda joints: np.repeat(still, len(joints), axis=0) + rng.normal(0, 0.1, joints.shape)).accuracy
        < 0.02
    )
    assert _report(items, lambda joints: joints + rng.normal(0, 0.1, joints.shape)).accuracy < 0.1
    assert _report(items, lambda joints: np.repeat(still, len(joints), axis=0)).accuracy < 0.05


def test_small_errors_and_another_tempo_are_forgiven(items: list[Item]) -> None:
    rng = np.random.default_rng(0)

    def at_tempo(joints: np.ndarray, factor: float) -> np.ndarray:
        times = np.arange(0, len(joints) - 1, factor)
        frames, share = times.astype(int), (times % 1)[:, None, None]
        return joints[frames] * (1 - share) + joints[frames + 1] * share

    assert _report(items, lambda joints: joints + rng.normal(0, 0.007, joints.shape)).accuracy > 0.97
    assert _report(items, lambda joints: joints[3:-3]).accuracy > 0.97
    assert _report(items, lambda joints: at_tempo(joints, 1.1)).accuracy > 0.97
    assert _report(items, lambda joints: at_tempo(joints, 0.9)).accuracy > 0.97


def test_names_and_averages() -> None:
    attributes = {"segments": [{"locomotion": "walk", "direction": "forward"}, {"arm": "wave", "side": "left"}]}
    joints = make_clip(attributes["segments"], np.random.default_rng(0))
    scores = score_attributes(joints, attributes)
    assert scores == {"0.locomotion": True, "0.direction": True, "1.arm": True, "1.side": True, "order": True}
    assert all(type(value) is bool for value in scores.values())
    assert semantic_accuracy([scores, {"0.arm": False}]) == pytest.approx(5 / 6)
    assert attribute_signature(attributes) == "direction=forward,locomotion=walk | arm=wave,side=left"
    broken = joints.copy()
    broken[5] = np.nan
    assert set(score_attributes(broken, attributes)) == set(scores)
    assert not any(score_attributes(broken, attributes).values())


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        score_attributes(np.zeros((40, 21, 3)), {"segments": []})
    joints = make_clip([{"arm": "wave"}], np.random.default_rng(0))
    with pytest.raises(ValueError, match="no rule"):
        score_attributes(joints, {"segments": [{"arm": "juggle"}]})
    with pytest.raises(ValueError, match="no scored"):
        semantic_accuracy([])
