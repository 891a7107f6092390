"""How long a training is: small sets are gone through often enough, and a training ends in its time on a full
schedule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine import harness
from engine.plan import Plan
from engine.schedule import learning_rate_factor, warm_up_steps
from engine.settings import TrainSettings
from options.command_line import parse
from options.presets import PRESETS
from storage.checkpoint import read_checkpoint
from tests.engine.test_harness import SETTINGS, Crash, Fit, crashed, train
from tests.options.test_stages import STAGES

LONG = replace(SETTINGS, max_epoch=200, schedule="cosine", gamma=0.01, eval_every_e=1000, save_every=1)


WINDOWS = {"vq": 3}  # of a clip at least, where samples are not clips


def settings_of(stage: str, preset: str) -> TrainSettings:
    flags = ["--preset", preset] + (["--init_from", "pretrained/open"] if preset == "finetune" else [])
    return parse(STAGES[stage], flags, PRESETS[stage]).train


@pytest.mark.parametrize("steps", [12, 30])
def test_a_training_of_a_dozen_steps_reaches_its_rate(steps: int) -> None:
    for schedule in ("constant", "step", "cosine"):
        settings = TrainSettings(warm_up_iter=200, schedule=schedule, gamma=0.02)
        rates = [learning_rate_factor(settings, step, steps) for step in range(steps)]
        assert max(rates) == 1.0 and rates.index(1.0) <= steps // 5
        assert (rates[-1] < 0.1) == (schedule == "cosine")


@pytest.mark.parametrize("preset", ["small", "mini", "open"])
@pytest.mark.parametrize("stage", PRESETS)
def test_sets_that_the_presets_are_for_are_trained_as_they_were(stage: str, preset: str) -> None:
    """Some 1,900 clips, for which the presets are made."""
    settings, samples = settings_of(stage, preset), 1900 * WINDOWS.get(stage, 1)
    steps = samples // settings.batch_size
    plan = Plan(settings, samples, steps)
    assert (plan.rounds, plan.total) == (1, steps * settings.max_epoch) and not plan.remarks()
    assert warm_up_steps(settings, plan.total) == settings.warm_up_iter


@pytest.mark.parametrize("preset", ["small", "finetune"])
@pytest.mark.parametrize("stage", PRESETS)
def test_nine_clips_get_steps_enough(stage: str, preset: str) -> None:
    plan = Plan(settings_of(stage, preset), 9, 1)
    assert plan.total >= 100 and plan.total % plan.rounds == 0


def test_an_epoch_of_a_small_set_goes_through_it_several_times(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """22 samples are 5 steps of 4: three epochs of three rounds are the first number over 40."""
    settings = replace(SETTINGS, min_steps=40, keep_every=2, eval_every_e=2, save_every=11)
    whole = train(tmp_path / "whole", settings=settings)
    lines = [line for line in capsys.readouterr().out.splitlines() if "curves.png" not in line]
    assert len(whole.losses) == 45 and lines[0].startswith("22 samples are 5 steps: an epoch goes through them 3 times")
    assert [line.split(" | ")[:2] for line in lines[1:-1]] == [
        [f"epoch {n}/3", f"step {15 * n}"] for n in (1, 2, 3)
    ] and ["val mse" in line for line in lines[1:-1]] == [False, True, True]
    kept = read_checkpoint(tmp_path / "whole" / "model" / "net_epoch_2.tar")
    assert (kept["epoch"], kept["step"]) == (2, 30)
    task = crashed(tmp_path / "killed", settings, 22)
    assert task.losses[:22] + train(tmp_path / "killed", settings=settings).losses == whole.losses


def test_max_steps_wins_over_min_steps(tmp_path: Path) -> None:
    assert len(train(tmp_path, settings=replace(SETTINGS, min_steps=40, max_steps=7)).losses) == 7


class Clock:
    """Time passes in steps alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pace: float) -> None:
        self.now, self.pace = 1000.0, pace
        monkeypatch.setattr(harness, "time", type("Time", (), {"perf_counter": lambda: self.now}))

    def task(self, crash_at: int = -1) -> Fit:
        task = Fit()

        def step(number: int) -> None:
            self.now += self.pace if number else 7 * self.pace  # the first one takes longer
            if number == crash_at:
                raise Crash

        task.in_step = step
        return task


def rates(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Takes down the factors that a training asks for."""
    found: list[float] = []

    def asked(*arguments: object) -> float:
        found.append(learning_rate_factor(*arguments))
        return found[-1]

    monkeypatch.setattr(harness, "learning_rate_factor", asked)
    return found


def test_a_training_ends_in_its_time_on_a_full_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    settings, clock = replace(LONG, max_minutes=1), Clock(monkeypatch, 0.5)
    asked = rates(tmp_path, monkeypatch)
    whole = train(tmp_path, clock.task(), settings)
    assert 100 < len(whole.losses) <= 120 and 50 < clock.now - 1000 <= 60
    assert max(asked) > 0.99 and asked[-1] < 0.02 and "of 1,000 fit" in capsys.readouterr().out
    again = clock.task()
    train(tmp_path, again, settings)
    assert not again.losses, "it has ended"
    train(tmp_path, again, replace(settings, max_minutes=2))
    assert len(again.losses) > 90, "more time is more steps"


@pytest.mark.parametrize("crash_at", [1, 3, 40])
def test_time_of_a_run_that_was_stopped_counts(crash_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, clock = replace(LONG, max_minutes=1), Clock(monkeypatch, 0.5)
    with pytest.raises(Crash):
        train(tmp_path, clock.task(crash_at), settings)
    saved = read_checkpoint(tmp_path / "model" / "latest.tar")
    assert saved["times"]["seconds"] == pytest.approx(3.0 + 0.5 * crash_at)
    clock.now += 10_000  # nobody trained
    started = clock.now
    train(tmp_path, clock.task(), settings)
    assert 45 < clock.now - started + saved["times"]["seconds"] <= 60


def test_without_a_limit_of_time_nothing_depends_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = train(tmp_path / "plain")
    clock = Clock(monkeypatch, 1e6)
    assert train(tmp_path / "slow", clock.task()).losses == plain.losses
    assert train(tmp_path / "wide", clock.task(), replace(SETTINGS, max_minutes=1e6)).losses == plain.losses


def test_a_time_that_is_over_at_once_is_a_step(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert len(train(tmp_path, settings=replace(LONG, max_minutes=0.0001)).losses) <= 3
    assert "of 1,000 steps: little was learned; give it more time" in capsys.readouterr().out
