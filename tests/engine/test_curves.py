"""Curves of a run: the picture shows its whole history whatever happened to it, the words say what they do."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from engine import curves, verdict
from engine.curves import points_of
from tests.engine.test_harness import SETTINGS, Fit, crashed, train


def course(*values: float, every: int = 100) -> dict[int, float]:
    return {every * number: value for number, value in enumerate(values, start=1)}


FALLING = course(3.0, 2.0, 1.5, 1.2, 1.1, 1.0, 0.9, 0.8)
STILL = course(*[3.0] * 8)


@pytest.mark.parametrize(
    ("metric", "values", "losses", "words"),
    [
        ("loss", (2.39, 2.0, 1.6, 1.4, 1.3, 1.2, 1.1, 1.0), FALLING,
         "validation loss fell from 2.39 to 1.00, best at step 800 of 800, still falling: more epochs would help"),
        ("loss", (2.0, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6), FALLING,
         "validation loss fell from 2.00 to 1.00, best at step 200 of 800, rising since: it overfits"),
        ("loss", (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7), FALLING,
         "validation loss was 1.00 and never better, best at step 100 of 800, rising since: it overfits"),
        ("loss", (2.0, 1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 5.0), course(3.0, 1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 5.0),
         "as the training loss got worse too: it diverges, lower --lr"),
        ("loss", (2.0, 1.2, 1.01, 1.0, 1.005, 1.01, 1.0, 1.005), FALLING,
         "best at step 400 of 800, hardly changed since step 300: more epochs would change little"),
        ("loss", (2.39, 2.39, 2.38, 2.39, 2.385, 2.39, 2.39, 2.38), STILL,
         "did not learn: validation loss stayed at 2.39 (at best 2.38, step 300 of 800), and the training loss went"
         " from 3.00 to 3.00; look at --lr and at the data"),
        ("loss", (2.39, 2.39, 2.38, 2.39, 2.385, 2.39, 2.39, 2.38), FALLING,
         "validation loss stayed at 2.39 (at best 2.38, step 300 of 800), though the training loss went from 3.00"),
        ("r1", (10, 40, 60, 70, 75, 80, 85, 90), FALLING,
         "validation r1 rose from 10.0 to 90.0, best at step 800 of 800, still rising: more epochs would help"),
        ("r1", (10, 90, 80, 70, 60, 50, 40, 30), FALLING, "best at step 200 of 800, falling since: it overfits"),
        ("r1", (0, 0, 0, 0, 0, 0, 0, 0), STILL, "did not learn: validation r1 stayed at 0.00"),
        ("loss", (1.0,), FALLING, "validation loss is 1.00 at step 100 of 800: a single validation shows no course"),
        ("loss", (2.0, 1.0), FALLING, "fell from 2.00 to 1.00, best at step 200 of 800, still falling"),
        ("loss", (), FALLING, "training loss went from 3.00 to 0.800 in 800 steps, unvalidated"),
        ("loss", (), {}, "800 steps are too few to tell how it went"),
    ],
)  # fmt: skip
def test_what_is_said_of_a_training(
    metric: str, values: tuple[float, ...], losses: dict[int, float], words: str
) -> None:
    points = {f"val/{metric}": course(*values), "train/loss": losses}
    said = verdict.verdict(points, {"fid": "min", metric: "max" if metric == "r1" else "min"}, 800)
    assert words in said and "\n" not in said


def test_fid_speaks_where_nothing_else_does() -> None:
    points = {"val/fid": course(9, 8, 7), "val/loss": course(3, 2, 1)}
    best = {"fid": "min", "loss": "min"}
    assert "validation loss" in verdict.verdict(points, best, 300)
    del points["val/loss"]
    assert "validation fid" in verdict.verdict(points, best, 300)


def test_a_warm_up_without_an_end_is_told() -> None:
    rising = {"train/lr": course(1e-5, 2e-5, 3e-5), "val/loss": course(3.0, 2.9, 2.8)}
    assert "the learning rate was still rising at the end" in verdict.verdict(rising, {"loss": "min"}, 300)
    for other in (course(1e-5, 3e-5, 2e-5), course(1e-5, 1e-5, 1e-5)):
        assert "learning rate" not in verdict.verdict(rising | {"train/lr": other}, {"loss": "min"}, 300)


def test_the_picture_is_drawn_at_the_end(
    tmp_path: Path, pictures: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    pictures()
    train(tmp_path)
    with Image.open(tmp_path / "curves.png") as image:
        assert image.format == "PNG" and min(image.size) >= 300
        assert len(image.convert("RGB").getcolors(1 << 20)) > 10, "something is drawn"
    *_, said, finished = capsys.readouterr().out.splitlines()
    assert said.startswith(f"{tmp_path}/curves.png: validation mse ") and "of 15" in said
    assert finished.startswith("finished")


def same_points(run_dir: Path, whole: Path) -> bool:
    return points_of(run_dir, 10**6) == points_of(whole, 10**6)


@pytest.mark.parametrize("tracker", ["tensorboard", "none"])
def test_a_resume_has_the_whole_history(tracker: str, tmp_path: Path) -> None:
    settings = replace(SETTINGS, save_every=4, tracker=tracker)
    train(tmp_path / "whole", settings=settings)
    assert (tmp_path / "whole" / "events").exists() == (tracker == "tensorboard")
    for at in (6, 3, 5):
        crashed(tmp_path / "killed", settings, at)
    train(tmp_path / "killed", settings=settings)
    assert same_points(tmp_path / "killed", tmp_path / "whole")
    points = points_of(tmp_path / "whole", 10**6)
    assert list(points["val/mse"]) == [5, 10, 15] and max(points["train/lr"]) == 15
    assert len(points["train/loss"]) == (15 if tracker == "tensorboard" else 3)
    assert "train/metric/odd" not in points, "it is no number"


def test_another_tracker_half_way_leaves_no_gap(tmp_path: Path) -> None:
    train(tmp_path, settings=replace(SETTINGS, max_epoch=2, tracker="none"))
    train(tmp_path)
    points = points_of(tmp_path, 10**6)
    assert list(points["train/loss"]) == [5, 10, 11, 12, 13, 14, 15] and list(points["val/mse"]) == [5, 10, 15]


def test_what_starts_anew_leaves_the_former_behind(tmp_path: Path) -> None:
    train(tmp_path, settings=replace(SETTINGS, max_epoch=2))
    for state in (tmp_path / "model").glob("*.tar"):
        state.unlink()
    train(tmp_path, settings=replace(SETTINGS, seed=2, tracker="none"))
    train(tmp_path / "alone", settings=replace(SETTINGS, seed=2, tracker="none"))
    assert same_points(tmp_path, tmp_path / "alone")


def test_lines_of_what_was_trained_anew_count_no_more(tmp_path: Path) -> None:
    lines = ["epoch 1/9 | step 5 | loss 3.0 | val mse 2.0 (best) | lr 1.00e-03 | 0.1 s | peak 0.30 GB"]
    lines += [
        "epoch 2/9 | step 10 | loss nan | val mse 1.0 | lr 9.00e-04 | 0.1 s | peak 0.30 GB",
        "finished at step 10",
    ]
    lines += ["epoch 1/9 | step 4 | loss -1e-05 | lr 1.00e-03", "epoch 2/9 | st", "epoch 3/9 | step 99 | loss 7"]
    (tmp_path / "train.log").write_text("\n".join(lines))
    assert points_of(tmp_path, 50) == {"train/loss": {4: -1e-05}, "train/lr": {4: 1e-3}}


@pytest.mark.parametrize("error", [ImportError("no\nmatplotlib"), MemoryError("full"), OSError(28, "No space left")])
def test_a_picture_that_fails_stops_nothing(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(curves, "draw", fail)
    monkeypatch.setattr(curves, "FIRST_COST", 0.0)
    train(tmp_path)
    *_, said, warning, finished = capsys.readouterr().out.splitlines()
    assert "validation mse" in said and warning.startswith("warning: curves.png cannot be drawn (")
    assert finished.startswith("finished")


def test_pictures_on_the_way_are_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []

    def draw(path: Path, points: curves.Points, *_: object) -> None:
        drawn.append(max(points["val/mse"]))
        time.sleep(0.05)

    monkeypatch.setattr(curves, "draw", draw)
    monkeypatch.setattr(curves, "FIRST_COST", 0.0)
    train(tmp_path)
    assert drawn == [5, 15], "the next one at the end: none may take more than its share of the time"
    other = curves.Curves(tmp_path, Fit.best, active=False)
    assert other.after_validation(15) == other.at_end(15) == [] and len(drawn) == 2, "not the first process"


def test_a_long_history_is_drawn_at_once(tmp_path: Path, pictures: Callable[[], None]) -> None:
    pictures()
    steps = range(50, 2_000_001, 50)
    points = {f"train/{name}": {step: 1 + math.sin(step) / step for step in steps} for name in ("loss", "a", "b", "lr")}
    points |= {"val/loss": {step: 1 / step for step in steps[::20]}}
    curves.draw(tmp_path / "first.png", points | {"val/loss": {50: 1.0}}, {"loss": "min"}, "words")  # imports
    start = time.process_time()
    curves.draw(tmp_path / "curves.png", points, {"loss": "min"}, "words " * 100)
    assert time.process_time() - start < 1.5, "40,000 points a curve"
