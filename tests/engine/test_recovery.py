"""What a crash, a full disk or a user's hand leaves of a run: training goes on, and no better checkpoint is lost."""

from __future__ import annotations

import itertools
import os
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from engine import progress
from engine.events import EventLog, read_records
from storage import faults
from storage.checkpoint import read_checkpoint, save_checkpoint
from tests.engine.test_harness import SETTINGS, Fit, crashed, train
from utils.errors import UserError

STATES = ("latest.tar", "previous.tar")
BEST = "net_best_mse.tar"
AVERAGED = replace(SETTINGS, ema=0.9, keep_every=2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to."""
    run_dir = tmp_path_factory.mktemp("whole")
    train(run_dir, settings=AVERAGED)
    return run_dir


def saved(run_dir: Path) -> dict[str, dict]:
    """All checkpoints, but for how long something took."""
    contents = {path.name: read_checkpoint(path) for path in (run_dir / "model").iterdir() if path.suffix == ".tar"}
    for content in contents.values():
        content.get("progress", {}).pop("seconds", None)
        content.pop("times", None)
    return contents


def points(run_dir: Path) -> Counter:
    """How often each point stands in the event files."""
    records = (each for path in (run_dir / "events").iterdir() for _, each in read_records(path.read_bytes()))
    return Counter((value.tag, event.step, value.simple_value) for event in records for value in event.summary.value)


def epochs(run_dir: Path) -> dict[str, str]:
    lines = (run_dir / "train.log").read_text().splitlines()
    return {line.split(" | ")[0]: line.split(" | lr ")[0] for line in lines if line.startswith("epoch")}


def assert_same(run_dir: Path, whole: Path) -> None:
    """Bitwise: weights, moments, best and kept files, points; and the epochs' means."""
    torch.testing.assert_close(saved(run_dir), saved(whole), rtol=0, atol=0, equal_nan=True)
    assert points(run_dir) == points(whole) and set(points(run_dir).values()) == {1}
    assert epochs(run_dir) == epochs(whole)


@pytest.mark.parametrize("damage", ["truncated", "empty", "missing", "of something else"])
def test_the_state_before_is_gone_on_with(
    damage: str, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crashed(tmp_path, AVERAGED, 8)
    latest, aside = tmp_path / "model" / "latest.tar", tmp_path / "model" / "latest.tar.damaged"
    content = latest.read_bytes()
    if damage == "missing":
        latest.unlink()
    elif damage == "of something else":
        save_checkpoint(latest, read_checkpoint(latest) | {"optimizer": {"state": {}}})
    else:
        latest.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"")
    train(tmp_path, settings=AVERAGED)
    output = capsys.readouterr().out
    assert "previous.tar is gone on with" in output and "at step 7 of 15" in output
    assert aside.exists() == (damage != "missing") == ("set aside as latest.tar.damaged" in output)
    assert_same(tmp_path, whole)


def test_without_any_usable_state_the_remedy_is_told_and_nothing_is_touched(whole: Path, tmp_path: Path) -> None:
    crashed(tmp_path, AVERAGED, 8)
    for name in STATES:
        (tmp_path / "model" / name).write_bytes(b"no state")
    before = sorted(os.listdir(tmp_path / "model"))
    with pytest.raises(UserError, match="remove latest.tar and previous.tar and repeat the command") as error:
        train(tmp_path, settings=AVERAGED)
    assert "\n" not in str(error.value) and sorted(os.listdir(tmp_path / "model")) == before
    for name in STATES:
        (tmp_path / "model" / name).unlink()
    train(tmp_path, settings=AVERAGED)
    assert_same(tmp_path, whole)


def test_a_state_that_cannot_be_read_now_is_not_taken_for_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashed(tmp_path, AVERAGED, 8)

    def refuse(path: Path) -> None:
        raise UserError(f"{path} cannot be read") from PermissionError(13, "no")

    monkeypatch.setattr("engine.run_state.read_checkpoint", refuse)
    with pytest.raises(UserError, match="latest.tar cannot be read"):
        train(tmp_path)
    assert (tmp_path / "model" / "latest.tar").exists()


def scored(run_dir: Path, *scores: float) -> float:
    """Trains with these validation scores; the score of the best checkpoint that is there then."""
    task = Fit()
    task.scores = list(scores)
    train(run_dir, task)
    return read_checkpoint(run_dir / "model" / "net_best_score.tar")["metrics"]["score"]


def test_a_better_checkpoint_outlives_the_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model"
    assert scored(tmp_path, 1.0, 5.0, 2.0) == 5.0
    content = (model / "net_best_score.tar").read_bytes()

    def forget() -> None:
        for name in STATES:
            (model / name).unlink()

    forget()
    assert scored(tmp_path, 4.0, 4.5, 5.0) == 5.0 and (model / "net_best_score.tar").read_bytes() == content
    assert "the best checkpoints stay until they are beaten (mse" in capsys.readouterr().out
    forget()
    assert scored(tmp_path, 4.0, 6.0, 5.0) == 6.0
    forget()
    (model / "net_best_score.tar").write_bytes(content[:-100])
    assert scored(tmp_path, 3.0, 2.0, 1.0) == 3.0, "a damaged one is none"
    assert "net_best_score.tar is truncated" in capsys.readouterr().out
    forget()
    torch.save({"metrics": {}}, model / "net_best_score.tar")
    with pytest.raises(UserError, match="does not tell its score: move it away"):
        scored(tmp_path, 1.0, 1.0, 1.0)


@pytest.mark.parametrize("place", faults.PLACES)
def test_a_full_disk_stops_in_one_line_and_costs_nothing(
    place: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (2, 6, 9):
        monkeypatch.setattr(faults, "_numbers", itertools.count(1))
        monkeypatch.setenv(faults.VARIABLE, f"full@{number}/{place}")
        with pytest.raises(
            UserError, match=r"cannot write .*\.tar: No space left on device; .* the same command"
        ) as it:
            train(tmp_path, settings=AVERAGED)
        assert "\n" not in str(it.value)
        assert not list((tmp_path / "model").glob(".*")), "nothing half-written"
        monkeypatch.delenv(faults.VARIABLE)
        crashed(tmp_path, AVERAGED, 1)
    train(tmp_path, settings=AVERAGED)
    assert_same(tmp_path, whole)


def test_points_are_neither_lost_nor_doubled(whole: Path, tmp_path: Path) -> None:
    for step in (3, 4, 2, 0):
        crashed(tmp_path, AVERAGED, step)
    (last,) = [path for path in (tmp_path / "events").iterdir() if b"train/lr" in path.read_bytes()][-1:]
    with open(last, "ab") as file:
        file.write(last.read_bytes()[-30:-7])  # as a kill within a write leaves it
    train(tmp_path, settings=AVERAGED)
    assert_same(tmp_path, whole)
    shown = EventAccumulator(str(tmp_path / "events")).Reload()
    assert [event.step for event in shown.Scalars("train/loss")] == list(range(1, 16))
    assert [event.step for event in shown.Scalars("val/mse")] == [5, 10, 15]
    log = (tmp_path / "train.log").read_text()
    assert log.count("resumed") == 4 and "at step 9 of 15" in log


def test_logs_that_cannot_be_written_do_not_stop_a_training(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "train.log").mkdir()
    monkeypatch.setattr(EventLog, "add", full)
    train(tmp_path, settings=AVERAGED)
    output = capsys.readouterr().out
    assert output.count("warning: TensorBoard's points cannot be written (No space left on device)") == 1
    assert output.count("warning: the log cannot be written (Is a directory)") == 1 and "finished" in output
    monkeypatch.setattr(progress.tqdm, "write", full)
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # it is replaced
    train(tmp_path / "mute", settings=AVERAGED)
    for run_dir in (tmp_path, tmp_path / "mute"):
        torch.testing.assert_close(saved(run_dir), saved(whole), rtol=0, atol=0, equal_nan=True)
    assert "warning: the output cannot be written" in (tmp_path / "mute" / "train.log").read_text()
