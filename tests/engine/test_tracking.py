"""Trackers through accelerate, each a module that stands in for it: points, resume, and everything that goes wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from accelerate import tracking

from engine.run_state import prepare_run
from engine.settings import TRACKERS, TrainSettings, require_tracker
from tests.engine.test_harness import SETTINGS, crashed, train
from utils.errors import UserError

ROOT = Path(__file__).parents[2]


class Service:
    """What a tracker's package would do with its server: it keeps what it is told."""

    def __init__(self) -> None:
        self.started: list[dict[str, Any]] = []
        self.config: dict[str, Any] = {}
        self.points: list[tuple[str, int, float]] = []
        self.finished = 0
        self.refuses_from = 1000  # steps

    def log(self, values: dict[str, float], step: int) -> None:
        if step >= self.refuses_from:
            raise ConnectionError("nobody\nis there")
        self.points += [(tag, step, value) for tag, value in values.items()]

    def finish(self) -> None:
        self.finished += 1

    def wandb(self) -> SimpleNamespace:
        def init(**arguments: Any) -> SimpleNamespace:
            self.started.append(arguments)
            return SimpleNamespace(id=arguments["id"] or "first", log=self.log, finish=self.finish)

        update = SimpleNamespace(update=lambda values, **_: self.config.update(values))
        return SimpleNamespace(init=init, config=update)

    def mlflow(self) -> SimpleNamespace:
        def start_run(**arguments: Any) -> SimpleNamespace:
            self.started.append(arguments | {"id": arguments["run_id"]})
            return SimpleNamespace(info=SimpleNamespace(run_id=arguments["run_id"] or "first"))

        limits = SimpleNamespace(MAX_PARAM_VAL_LENGTH=6000, MAX_PARAMS_TAGS_PER_BATCH=100)
        return SimpleNamespace(
            search_experiments=lambda **_: [],
            create_experiment=lambda **_: "1",
            start_run=start_run,
            log_params=self.config.update,
            log_metrics=self.log,
            end_run=self.finish,
            utils=SimpleNamespace(validation=limits),
        )


@pytest.fixture(params=list(TRACKERS))
def tracker(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def service(tracker: str, monkeypatch: pytest.MonkeyPatch) -> Service:
    service = Service()
    monkeypatch.setitem(sys.modules, tracker, getattr(service, tracker)())
    monkeypatch.setattr(tracking, "_available_trackers", [tracking.LoggerType(tracker)])
    for name in ("WANDB_PROJECT", "WANDB_DIR", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    return service


def test_points_go_to_the_tracker_and_a_resume_goes_on_there(tracker: str, service: Service, tmp_path: Path) -> None:
    run_dir, settings = tmp_path / "mini" / "vq", replace(SETTINGS, tracker=tracker, save_every=4)
    prepare_run(run_dir, {"stage": "test", "train": {"lr": 0.1, "betas": [0.9, 0.99]}})
    crashed(run_dir, settings, 7)
    assert service.config == {"stage": "test", "train.lr": 0.1, "train.betas": "[0.9, 0.99]"} and service.finished == 1
    assert json.loads((run_dir / "tracker.json").read_text()) == {tracker: "first"}
    service.config.clear()
    train(run_dir, settings=settings)
    assert [run["id"] for run in service.started] == [None, "first"] and not service.config, "no second run"
    assert {run["name" if tracker == "wandb" else "run_name"] for run in service.started} == {"mini/vq"}
    told = Counter(service.points)
    losses, counts = Counter(), set()
    for (tag, step, _), count in told.items():
        if tag == "train/loss":
            losses[step] += 1
            counts.add(count)
    assert losses == Counter(range(1, 16)), "every step, and one value of each"
    assert counts == ({1, 2} if tracker == "wandb" else {1}), "W&B drops what it has"
    assert {step for tag, step, _ in told if tag == "val/mse"} == {5, 10, 15}
    assert list((run_dir / "events").iterdir()), "TensorBoard's files are there all the same"
    for state in (run_dir / "model").glob("*.tar"):
        state.unlink()
    train(run_dir, settings=replace(settings, max_epoch=1))
    assert service.started[-1]["id"] is None and service.config, "what starts anew is another run"


def test_what_a_tracker_refuses_later_is_told_once(
    tracker: str, service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.refuses_from = 6
    assert train(tmp_path, settings=replace(SETTINGS, tracker=tracker)).losses == train(tmp_path / "b").losses
    output = capsys.readouterr().out
    assert output.count(f"warning: {tracker}'s points cannot be written (nobody is there): the training goes on") == 1
    assert output.count("warning") == 1 and {step for _, step, _ in service.points} == set(range(1, 6))


def test_a_tracker_that_cannot_start_is_one_line(
    tracker: str, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:
        raise RuntimeError("api_key not\nconfigured")

    monkeypatch.setattr(sys.modules[tracker], "init" if tracker == "wandb" else "start_run", refuse)
    with pytest.raises(UserError, match=rf"--tracker {tracker} cannot start \(api_key not configured\): ") as error:
        train(tmp_path, settings=replace(SETTINGS, tracker=tracker))
    assert "\n" not in str(error.value) and not (tmp_path / "tracker.json").exists()


def test_another_tracker_may_go_on(tmp_path: Path) -> None:
    config = {"stage": "test", "train": {"tracker": "tensorboard"}}
    prepare_run(tmp_path, config)
    train(tmp_path, settings=replace(SETTINGS, max_epoch=1))
    prepare_run(tmp_path, {"stage": "test", "train": {"tracker": "none"}})


@pytest.mark.parametrize("name", list(TRACKERS))
def test_what_is_not_installed_is_told_before_anything_is_written(name: str, tmp_path: Path) -> None:
    """The fake packages of other tests are no installed ones."""
    try:
        require_tracker(name)
    except UserError as error:
        told = str(error)
    else:
        pytest.skip(f"{name} is installed")
    assert told == f"--tracker {name} needs a package that is not installed: pip install {name}"
    command = [sys.executable, "train_vq.py", "--tracker", name, "--checkpoints_dir", str(tmp_path / "logs")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (2, f"error: {told}\n") and not list(tmp_path.iterdir())


def test_others_need_nothing() -> None:
    for name in ("tensorboard", "none"):
        require_tracker(name)
    assert TrainSettings().tracker == "tensorboard"
