"""A run's folder belongs to one config."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.run_state import best_name, prepare_run
from options.command_line import parse
from options.presets import PRESETS
from options.stages import MaskedOptions, ResidualOptions, RetrieverOptions
from storage.checkpoint import save_checkpoint
from storage.files import read_json, write_json
from utils.errors import UserError
from utils.formats import get_format
from utils.run import SINCE
from utils.schema import to_dict

CONFIG = {
    "stage": "length",
    "command": "a",
    "run": {"name": "length", "gpu_id": "0"},
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


@pytest.mark.parametrize("stage", ["mtrans", "rtrans", "tmr"])
def test_a_run_of_a_former_version_goes_on_with_the_same_command(stage: str, tmp_path: Path) -> None:
    """Before `--retrieval_pool`, `--motion_lr_factor`, what later made a transformer, and the library's record."""
    schema = {"mtrans": MaskedOptions, "rtrans": ResidualOptions, "tmr": RetrieverOptions}[stage]
    flags = ["--name", stage, "--preset", "mini", "--database", "elsewhere"][: 4 if stage == "tmr" else 6]
    config = to_dict(parse(schema, flags, PRESETS[stage]))
    shipped = read_json(f"pretrained/open/{stage}/config.json")
    extra = {name: shipped[name] for name in ("dims", "tokens") if name in shipped}
    library = {} if stage == "tmr" else {"library": {"retriever": "0" * 16}}
    if library:
        extra["tokens"] |= {"code_dim": 0}
    form = {"format": get_format("humanml3d").to_json()}
    config = {"stage": stage, "command": "b", **config, **extra, **library, **form}
    new = ("training_retrieval", "library", "format")
    former = {name: group for name, group in config.items() if name not in new}
    later = SINCE.get(stage, {"rates": {"motion_lr_factor": 1.0}})
    former |= {name: {key: former[name][key] for key in former[name].keys() - later[name].keys()} for name in later}
    write_json(tmp_path / "config.json", former)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "latest.tar").write_bytes(b"")
    prepare_run(tmp_path, config)
    with pytest.raises(UserError, match="was 3 and is 1|was 1.0 and is 2.0"):
        changes = (
            {"rates": {"motion_lr_factor": 2.0}} if stage == "tmr" else {"training_retrieval": {"retrieval_pool": 1}}
        )
        prepare_run(tmp_path, config | {group: config[group] | values for group, values in changes.items()})
    if library:
        with pytest.raises(UserError, match="library"):
            prepare_run(tmp_path, config | {"library": {"retriever": "1" * 16}})


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


@pytest.mark.parametrize("damage", [None, "{", "[]"])
def test_a_config_that_is_gone_is_taken_from_a_checkpoint(
    damage: str | None, started: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_checkpoint(started / "model" / "net_best_fid.tar", {"model": {}, "config": CONFIG})
    (started / "config.json").unlink() if damage is None else (started / "config.json").write_text(damage)
    with pytest.raises(UserError, match="model.width was 8 and is 9"):
        prepare_run(started, changed(model={"width": 9}))
    prepare_run(started, CONFIG)
    assert read_json(started / "config.json") == CONFIG
    assert "config.json" in (said := capsys.readouterr().out) and "written anew from" in said


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


def test_a_start_from_other_weights_is_not_lost_with_the_state(started: Path) -> None:
    record = {"init_from": "logs/other", "partial": False, "weights": "w", "hash": "h"}
    write_json(started / "config.json", CONFIG | {"initialised_from": record})
    prepare_run(started, CONFIG)
    (started / "model" / "latest.tar").rename(started / "model" / best_name("loss"))
    (started / "model" / "previous.tar").write_bytes(b"")
    prepare_run(started, CONFIG)
    (started / "model" / "previous.tar").unlink()
    with pytest.raises(UserError, match="logs/other: give --init_from again"):
        prepare_run(started, CONFIG)
