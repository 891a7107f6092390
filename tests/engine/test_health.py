"""Numbers that leave their healthy range are told in words, once a kind; good numbers are met with silence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from engine.harness import Harness
from engine.health import (
    HealthMonitor,
    HealthyRange,
    codebook_ranges,
    retriever_ranges,
    transformer_ranges,
)
from engine.probes import token_spread
from engine.settings import TrainSettings
from engine.task import Task

LATE = 10_000  # a step at which everything is looked at
CASES = [
    ("perplexity", codebook_ranges(256), {"metric/perplexity/0": 200.0, "metric/perplexity/5": 40.0},
     {"metric/perplexity/0": 200.0, "metric/perplexity/5": 3.0}, ["level 5 is 3", "at least 12.8", "256 codes"]),
    ("revived", codebook_ranges(256), {"metric/revived/0": 0.0, "metric/revived/1": 12.0},
     {"metric/revived/0": 229.0, "metric/revived/1": 40.0}, ["level 0 is 229", "1 more", "at most 12.8", "--mu"]),
    ("token spread", transformer_ranges(True), {"metric/token_spread": 0.4}, {"metric/token_spread": 1e-5},
     ["spread", "1e-05", "at least 0.001", "--n_layers"]),
    ("retrieval", transformer_ranges(True), {"loss": 0.858, "loss_without_retrieval": 0.870},
     {"loss": 0.8580, "loss_without_retrieval": 0.8581}, ["0.8581", "0.8580", "at least 0.005", "unused"]),
    ("attention to retrieval", transformer_ranges(True), {"attention/retrieved": 0.07}, {"attention/retrieved": 0.003},
     ["attention", "0.003", "at least 0.01", "--n_retrieved"]),
    ("similarity", retriever_ranges(), {"metric/positive_similarity": 0.4, "metric/negative_similarity": 0.1},
     {"metric/positive_similarity": 0.3, "metric/negative_similarity": 0.31}, ["0.300", "0.310", "-0.01"]),
]  # fmt: skip


@pytest.mark.parametrize("kind, ranges, good, bad, words", CASES, ids=[case[0] for case in CASES])
def test_each_range_has_words_for_the_bad_and_silence_for_the_good(kind, ranges, good, bad, words) -> None:
    assert HealthMonitor(ranges, every=1).after_step(LATE, good) == []
    monitor = HealthMonitor(ranges, every=1)
    (line,) = monitor.after_step(LATE, bad)
    assert f"step {LATE}" in line and "\n" not in line
    for word in words:
        assert word in line
    assert monitor.after_step(LATE + 1, bad) == [] == monitor.after_validation(LATE + 1, bad), "told twice"
    (healthy,) = (each for each in ranges if each.kind == kind)
    assert HealthMonitor(ranges, every=1).after_step(healthy.from_step - 1, bad) == [], "told of a new model"


def test_kinds_are_told_apart_and_levels_are_not() -> None:
    monitor = HealthMonitor(codebook_ranges(100), every=1)
    assert len(monitor.after_step(LATE, {"metric/perplexity/0": 1.0, "metric/revived/0": 90.0})) == 2
    assert monitor.after_step(LATE, {"metric/perplexity/1": 1.0, "metric/revived/1": 90.0}) == []


def test_steps_are_averaged_without_what_is_not_known() -> None:
    values = [20.0, math.nan, 0.0, math.nan]
    numbers = [{"metric/revived/0": value} for value in values]
    monitor = HealthMonitor(codebook_ranges(100), every=4)
    assert [monitor.after_step(LATE, each) for each in numbers[:3]] == [[], [], []]
    (line,) = monitor.after_step(LATE, numbers[3])
    assert " is 10," in line, "the mean of 20 and 0"
    assert HealthMonitor(codebook_ranges(100), every=1).after_step(LATE, {"metric/revived/0": math.nan}) == []


def test_a_model_without_retrieval_is_not_blamed_for_it() -> None:
    same = {"loss": 1.0, "loss_without_retrieval": 1.0}
    assert HealthMonitor(transformer_ranges(False)).after_validation(LATE, same) == []
    assert len(HealthMonitor(transformer_ranges(True)).after_validation(LATE, same)) == 1


def _of(numbers: Mapping[str, float], name: str) -> dict[str, float]:
    return {name: numbers[name]} if name in numbers else {}


class Sick(Task):
    """Reports one number that is out of its range at every step, and one at every validation."""

    loss_weights = {"error": 1.0}
    healthy = (
        HealthyRange("vigour", lambda numbers: _of(numbers, "metric/vigour"), "feed it", low=1.0),
        HealthyRange("wit", lambda numbers: _of(numbers, "wit"), "teach it", high=2.0),
    )

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Linear(1, 1)

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        loss = self.model(batch).square().mean()
        return {"error": loss, "metric/vigour": torch.tensor(0.5), "metric/vigour/0": torch.tensor(math.nan)}

    def summarise(self, records: list) -> dict[str, float]:
        return {"wit": 3.0}


def test_the_harness_says_it_once_in_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = TrainSettings(batch_size=2, max_epoch=80, warm_up_iter=0)
    Harness(tmp_path, Sick(), [torch.ones(1)] * 4, [torch.ones(1)] * 2, settings, device="cpu").fit()
    log = (tmp_path / "train.log").read_text()
    assert log.count("metric/vigour is 0.5, healthy is at least 1: feed it") == 1
    assert log.count("wit is 3, healthy is at most 2: teach it") == 1
    assert "vigour is" in capsys.readouterr().out
    assert "metric/vigour 0.5000" in log and "metric/vigour/0" not in log, "the epoch's line is for the few"


def test_spread_is_none_for_equal_tokens_and_sees_no_padding() -> None:
    torch.manual_seed(0)
    rows, mask = torch.randn(2, 10, 32), torch.ones(2, 10, dtype=torch.bool)
    assert token_spread(rows, mask) > 0.8
    equal = torch.randn(2, 1, 32).expand(-1, 10, -1).clone()
    assert token_spread(equal, mask) < 1e-6
    mask[:, 6:] = False
    equal[:, 6:] = rows[:, 6:]
    assert token_spread(equal, mask) < 1e-6, "padding counts"
    assert token_spread(3 * rows, mask) == pytest.approx(float(token_spread(rows, mask)), rel=1e-4), "not normalised"
