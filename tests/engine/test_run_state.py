"""A run's folder belongs to one config."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.run_state import best_name, prepare_run
from utils.errors import UserError
from utils.files import read_json

CONFIG = {
    "stage": "vq",
    "command": "a",
    "run": {"name": "vq", "gpu_id": "0"},
    "model": {"width": 8, "depth": 2},
    "train": {"lr": 0.1, "max_epoch": 2, "betas": [0.9, 0.99]},
}


def changed(**groups: dict) -> dict:
    return {key: value | groups.get(key, {}) if isinstance(value, dict) else value for key, value in CONFIG.items()}


@pytest.fixture
def started(tmp_path: Path) -> Path:
    prepare_run(tmp_path / "run", CONFIG)
    (tmp_path / "run" / "model" / "latest.tar").write_bytes(b"")
    return tmp_path / "run"


def test_config_is_written(started: Path) -> None:
    assert read_json(started / "config.json") == CONFIG


def test_the_same_config_and_other_limits_go_on(started: Path) -> None:
    later = changed(train={"max_epoch": 9}, run={"gpu_id": "-1"}) | {"command": "b"}
    prepare_run(started, later)
    assert read_json(started / "config.json") == later


def test_a_run_from_before_these_options_goes_on(started: Path) -> None:
    new = {"ema": 0.0, "accumulate": 1, "keep_every": 0, "init_from": None, "init_partial": False}
    prepare_run(started, changed(train=new))
    assert read_json(started / "config.json")["train"]["keep_every"] == 0


def test_another_config_is_refused_by_name_and_nothing_changes(started: Path) -> None:
    with pytest.raises(
        UserError, match=r"model.width was 8 and is 9; model.heads was '\(not set\)' and is 4;"
    ) as error:
        prepare_run(started, changed(model={"width": 9, "heads": 4}, train={"lr": 0.2, "betas": [0.9, 0.9]}))
    assert "and 1 more" in str(error.value) and str(started) in str(error.value)
    assert read_json(started / "config.json") == CONFIG


def test_without_checkpoints_a_new_config_replaces_the_old(tmp_path: Path) -> None:
    prepare_run(tmp_path, CONFIG)
    prepare_run(tmp_path, changed(model={"width": 9}))
    assert read_json(tmp_path / "config.json")["model"]["width"] == 9


def test_checkpoints_without_config_are_refused(started: Path) -> None:
    (started / "config.json").unlink()
    with pytest.raises(UserError, match="config.json is missing"):
        prepare_run(started, CONFIG)


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="cannot make the run's folder"):
        prepare_run(tmp_path / "run", CONFIG)


def test_only_the_first_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    prepare_run(tmp_path / "run", CONFIG)
    assert not (tmp_path / "run").exists()


def test_best_names_are_file_names() -> None:
    assert best_name("r1/t2m") == "net_best_r1_t2m.tar"
