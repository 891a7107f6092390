"""The moving average of the weights: what it is, what is validated and kept of it, how a resume goes on with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.validation import validate
from storage.checkpoint import read_checkpoint
from tests.engine.test_harness import SETTINGS, Fit, Points, crashed, same_state, train

EMA = replace(SETTINGS, ema=0.8)


class Watched(Fit):
    """Keeps the weights after each step, and has a part of the model frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.model.layers[3].bias.requires_grad_(False)
        self.history: list[dict[str, Tensor]] = [self._now()]

    def _now(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.model.state_dict().items()}

    def after_step(self) -> None:
        super().after_step()
        self.history.append(self._now())


def test_the_average_is_kept_and_training_does_not_notice(tmp_path: Path) -> None:
    plain, averaged = train(tmp_path / "plain", Watched()), train(tmp_path / "average", Watched(), EMA)
    assert averaged.losses == plain.losses and same_state(averaged.model.state_dict(), plain.model.state_dict())
    expected = dict(averaged.history[0])
    for step, weights in enumerate(averaged.history[1:], start=1):
        decay = min(0.8, (1 + step) / (10 + step))
        for name in expected:
            floating = expected[name].is_floating_point()
            expected[name] = torch.lerp(expected[name], weights[name], 1 - decay) if floating else weights[name]
    latest = read_checkpoint(tmp_path / "average" / "model" / "latest.tar")
    for name, value in latest["model"].items():
        torch.testing.assert_close(value, expected[name], msg=name)
    last = averaged.history[-1]
    assert torch.equal(latest["model"]["layers.3.bias"], averaged.history[0]["layers.3.bias"])
    assert torch.equal(latest["model"]["seen"], last["seen"]), "buffers are copied, not averaged"
    assert "layers.3.bias" not in latest["trained"]
    assert all(torch.equal(value, last[name]) for name, value in latest["trained"].items())
    assert not torch.equal(latest["model"]["layers.0.weight"], last["layers.0.weight"])
    assert read_checkpoint(tmp_path / "plain" / "model" / "latest.tar")["trained"] == {}


def test_the_average_is_validated_and_becomes_the_best(tmp_path: Path) -> None:
    train(tmp_path, settings=EMA)
    best = read_checkpoint(tmp_path / "model" / "net_best_mse.tar")
    task = Fit()
    task.model.load_state_dict(best["model"])
    data = Points(9)
    batches = [{"x": data[i]["x"][None], "y": data[i]["y"][None]} for i in range(9)]
    assert validate(task, batches)["mse"] == pytest.approx(best["metrics"]["mse"], rel=1e-5)


def test_a_killed_run_goes_on_with_its_average(tmp_path: Path) -> None:
    train(tmp_path / "whole", settings=EMA)
    crashed(tmp_path / "parts", EMA, 7)
    train(tmp_path / "parts", settings=EMA)
    for name in ("latest.tar", "net_best_mse.tar"):
        ours, theirs = (read_checkpoint(tmp_path / run / "model" / name) for run in ("parts", "whole"))
        assert same_state(ours["model"], theirs["model"]) and ours["step"] == theirs["step"]
        assert same_state(ours.get("trained", {}), theirs.get("trained", {}))


def test_an_average_may_end_or_begin_with_a_resume(tmp_path: Path) -> None:
    without = replace(SETTINGS, schedule="constant", warm_up_iter=1)
    averaged = replace(without, ema=0.8)
    losses = train(tmp_path / "never", settings=without).losses
    for folder, first, then in (("ends", averaged, without), ("begins", without, averaged)):
        begun = train(tmp_path / folder, settings=replace(first, max_epoch=1))
        assert begun.losses + train(tmp_path / folder, settings=then).losses == losses
    latest = read_checkpoint(tmp_path / "begins" / "model" / "latest.tar")
    assert not torch.equal(latest["model"]["layers.0.weight"], latest["trained"]["layers.0.weight"])
