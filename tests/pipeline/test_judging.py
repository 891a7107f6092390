"""The judge of a training: the validation motions are embedded once for an evaluator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data.clips import Clip, load_split
from data.specs import DatasetSpec, get_spec
from engine.judge import FrechetJudge
from models.evaluator.base import Evaluator
from pipeline import stages
from storage import row_store

CPU = torch.device("cpu")


class MeanEvaluator(Evaluator):
    """A motion's embedding is what its mean becomes."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__("mean", torch.nn.Linear(263, 3), 263, 3)
        self.embedded: list[int] = []
        self.dies_after = 100

    def embed_text(self, captions: Sequence[object]) -> np.ndarray:
        raise NotImplementedError

    def embed_motion(self, motions: Sequence[np.ndarray]) -> np.ndarray:
        if len(self.embedded) >= self.dies_after:
            raise KeyboardInterrupt
        self.embedded += [len(motion) for motion in motions]
        return self.network(torch.stack([motion.mean(dim=0) for motion in self._checked(motions)])).numpy()


@pytest.fixture
def spec(tmp_path: Path) -> DatasetSpec:
    """Eight validation clips of different lengths."""
    spec = replace(get_spec("humanml3d"), root=tmp_path / "set")
    spec.features_dir.mkdir(parents=True)
    for number in range(8):
        write(spec, number, seed=number)
    spec.split_path("val").write_text("\n".join(map(str, range(8))))
    return spec


def write(spec: DatasetSpec, number: int, seed: int) -> None:
    motion = np.random.default_rng(seed).normal(size=(40 + 4 * number, 263))
    np.save(spec.features_dir / f"{number}.npy", motion.astype(np.float32))


@pytest.fixture
def evaluator(monkeypatch: pytest.MonkeyPatch) -> MeanEvaluator:
    evaluator = MeanEvaluator()
    monkeypatch.setattr(stages, "load_evaluator", lambda *_: evaluator)
    monkeypatch.setattr("models.evaluator.base.MOTIONS_AT_ONCE", 2)
    return evaluator


def clips_of(spec: DatasetSpec) -> list[Clip]:
    return load_split(spec, "val", captions=False)


def judge_of(spec: DatasetSpec) -> FrechetJudge:
    clips = clips_of(spec)
    judge = stages.find_judge(spec, "logs", CPU, clips)
    expected = judge.evaluator.embed_motion([clip.features for clip in clips])
    del judge.evaluator.embedded[-len(clips) :]
    np.testing.assert_allclose(judge.real, expected, atol=1e-6)
    return judge


def test_motions_are_embedded_once(spec: DatasetSpec, evaluator: MeanEvaluator) -> None:
    first, again = judge_of(spec), judge_of(spec)
    assert sorted(evaluator.embedded) == [40 + 4 * number for number in range(8)]
    np.testing.assert_array_equal(first.real, again.real)
    assert first.distance([again.real[:4], again.real[4:]]) == pytest.approx(0, abs=1e-5)

    write(spec, 5, seed=99)
    judge_of(spec)
    assert evaluator.embedded[8:] == [60], "the motion that changed"
    with torch.no_grad():
        evaluator.network.weight.mul_(2)
    evaluator.fingerprint = "another"
    judge_of(spec)
    assert len(evaluator.embedded) == 17, "another evaluator's are not taken"


def test_a_kill_keeps_what_was_embedded(
    spec: DatasetSpec, evaluator: MeanEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_store, "CHUNK_BYTES", 1)
    evaluator.dies_after = 4
    with pytest.raises(KeyboardInterrupt):
        stages.find_judge(spec, "logs", CPU, clips_of(spec))
    evaluator.dies_after = 100
    judge_of(spec)
    assert sorted(evaluator.embedded) == [40 + 4 * number for number in range(8)]
