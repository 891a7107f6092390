"""Finding runs, checkpoints and databases; what is missing is named with what there is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from data.specs import get_spec
from pipeline.runs import Runs, report_folder
from storage.checkpoint_names import list_checkpoints, matching_checkpoints, resolve_checkpoint
from storage.shipped import locate
from utils.errors import UserError
from utils.run import Run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    for name in ("vq", "vq_small"):
        (tmp_path / "mini" / name / "model").mkdir(parents=True)
        (tmp_path / "mini" / name / "config.json").write_text('{"stage": "vq"}')
    (tmp_path / "mini" / "broken").mkdir()
    return tmp_path


def put(run_dir: Path, *names: str) -> Path:
    for name in names:
        (run_dir / "model" / name).write_bytes(b"")
    return run_dir


def test_run_folder(logs: Path) -> None:
    runs = Runs(logs, get_spec("mini"))
    assert runs.find("vq") == runs.path("vq") == logs / "mini" / "vq"
    assert runs.open("vq", "vq").config == {"stage": "vq"} and runs.open("vq") is runs.open("vq")
    with pytest.raises(UserError, match="vq is a run of stage 'vq', not of 'tmr'"):
        runs.open("vq", "tmr")
    with pytest.raises(UserError, match="run mtrans does not exist.*the runs there are: vq, vq_small"):
        runs.open("mtrans")
    with pytest.raises(UserError, match="there is no run at all"):
        Runs(logs, get_spec("kit")).open("vq")
    with pytest.raises(UserError, match="broken is no run: config.json is missing"):
        runs.open("broken")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b/c", "../vq", "a/..", "a/", "/tmp"])
def test_a_run_name_cannot_leave_the_folder(name: str) -> None:
    with pytest.raises(UserError, match="not a plain folder name"):
        Runs("logs", get_spec("mini")).path(name)


def test_a_run_of_another_dataset_is_taken_from_the_same_folder_or_from_the_shipped_ones(
    logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs(logs, get_spec("kit"))
    assert runs.find("mini/vq") == logs / "mini" / "vq"
    shipped = tmp_path / "shipped"
    (shipped / "open" / "vq").mkdir(parents=True)
    (shipped / "open" / "vq" / "config.json").write_text('{"stage": "vq"}')
    monkeypatch.setattr("pipeline.runs.SHIPPED", shipped)
    assert Runs(logs, get_spec("mini")).open("open/vq", "vq").folder == shipped / "open" / "vq"
    with pytest.raises(UserError, match="run open/tmr does not exist"):
        runs.find("open/tmr")


def test_shipped_runs_are_found_from_anywhere_and_nothing_is_written_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = ROOT / "pretrained"
    monkeypatch.chdir(ROOT)
    runs = Runs("pretrained", get_spec("open"))
    assert runs.find("vq") == Path("pretrained/open/vq"), "in the checkout all stays as it is typed"
    assert report_folder(runs.find("vq")) == Path("pretrained/open/vq/eval")
    monkeypatch.chdir(tmp_path)
    runs = Runs("pretrained", get_spec("open"))
    assert runs.find("vq") == ours / "open" / "vq" and runs.database(None) == ours / "open" / "database"
    assert runs.database("pretrained/open/database") == ours / "open" / "database"
    assert report_folder(runs.find("vq")) == Path("outputs/eval/open/vq")
    assert runs.path("vq") == Path("pretrained/open/vq"), "a training is where the user stands"
    assert Runs("logs", get_spec("mini")).find("open/vq") == ours / "open" / "vq"
    with pytest.raises(UserError, match="the runs there are: .*vq"):
        runs.find("none")
    own = tmp_path / "pretrained" / "open" / "vq"
    own.mkdir(parents=True)
    (own / "config.json").write_text('{"stage": "vq"}')
    assert runs.find("vq") == Path("pretrained/open/vq") and runs.find("tmr") == ours / "open" / "tmr"
    for other in ("../pretrained/open", "open", "storage", "/nowhere/pretrained", "pretrained/../storage"):
        assert locate(other) == Path(other)


def test_which_is_a_name_a_stem_or_a_unique_part(logs: Path) -> None:
    run = put(
        logs / "mini" / "vq",
        "latest.tar",
        "net_best_fid.tar",
        "net_best_mpjpe.tar",
        ".latest.7.tar",
        "notes.txt",
        "previous.tar",
    )
    assert list_checkpoints(run) == ["latest.tar", "net_best_fid.tar", "net_best_mpjpe.tar"]
    for which in ("net_best_fid.tar", "net_best_fid", "fid"):
        assert resolve_checkpoint(run, which).name == "net_best_fid.tar"
    with pytest.raises(UserError, match="'best' means several checkpoints.*net_best_fid.tar, net_best_mpjpe.tar"):
        resolve_checkpoint(run, "best")
    for which in ("acc", ""):
        with pytest.raises(UserError, match="no checkpoint.*it has latest.tar, net_best_fid.tar"):
            resolve_checkpoint(run, which)
    assert len(matching_checkpoints(run, "all")) == 3 and len(matching_checkpoints(run, "best")) == 2


def test_an_exact_name_wins_over_parts(logs: Path) -> None:
    run = put(logs / "mini" / "vq", "net_best_top1.tar", "net_best_top1_mean.tar")
    assert resolve_checkpoint(run, "net_best_top1").name == "net_best_top1.tar"


def test_an_export_answers_to_the_names_of_its_training(logs: Path) -> None:
    run = put(logs / "mini" / "vq", "net_best_fid.safetensors")
    for which in ("fid", "net_best_fid", "net_best_fid.tar", "net_best_fid.safetensors"):
        assert resolve_checkpoint(run, which).name == "net_best_fid.safetensors"
    with pytest.raises(UserError, match="has no checkpoint 'latest.tar'"):
        resolve_checkpoint(run, "latest.tar")


def test_default_checkpoint(logs: Path) -> None:
    run = logs / "mini" / "vq"
    with pytest.raises(UserError, match="has no checkpoint: train the run first"):
        resolve_checkpoint(run)
    with pytest.raises(UserError, match="has no checkpoint 'fid': it has none at all"):
        resolve_checkpoint(run, "fid")
    steps = [("net_best_a.tar", "net_best_a.tar"), ("latest.tar", "net_best_a.tar"), ("net_best_b.tar", "latest.tar")]
    steps += [("net_best_fid.tar", "net_best_fid.tar"), ("net_best_b.safetensors", "net_best_b.safetensors")]
    for name, expected in steps:
        assert resolve_checkpoint(put(run, name)).name == expected
    for name in ("net_best_b.safetensors", "net_best_fid.tar", "latest.tar"):
        (run / "model" / name).unlink()
    with pytest.raises(UserError, match="several checkpoints: net_best_a.tar, net_best_b.tar; say which"):
        resolve_checkpoint(run)


def test_kept_epochs_are_ordered_by_number_and_never_the_default(logs: Path) -> None:
    run = put(logs / "mini" / "vq", "net_epoch_100.tar", "net_epoch_20.tar", "net_epoch_5.tar")
    with pytest.raises(UserError, match=r"has only net_epoch_5.tar, net_epoch_20.tar, net_epoch_100.tar; say which"):
        resolve_checkpoint(run)
    put(run, "latest.tar")
    assert resolve_checkpoint(run).name == "latest.tar"
    put(run, "net_best_fid.tar")
    assert resolve_checkpoint(run).name == "net_best_fid.tar" and resolve_checkpoint(run, "best").stem == "net_best_fid"
    kept = ["net_epoch_5.tar", "net_epoch_20.tar", "net_epoch_100.tar"]
    for which in ("net_epoch", "epoch", "net_epoch_"):
        assert [path.name for path in matching_checkpoints(run, which)] == kept
    assert resolve_checkpoint(run, "net_epoch_5").name == resolve_checkpoint(run, "epoch_5").name == kept[0]
    with pytest.raises(UserError, match="'net_epoch' means several checkpoints"):
        resolve_checkpoint(run, "net_epoch")


@pytest.mark.parametrize(("text", "message"), [("{", "not valid JSON"), ("[]", "must hold an object, not list")])
def test_a_broken_config_is_named(text: str, message: str, logs: Path) -> None:
    (logs / "mini" / "vq" / "config.json").write_text(text)
    with pytest.raises(UserError, match=message):
        Run(logs / "mini" / "vq")


def test_a_config_that_cannot_be_read_is_named(logs: Path) -> None:
    (logs / "mini" / "vq" / "config.json").unlink()
    (logs / "mini" / "vq" / "config.json").mkdir()
    with pytest.raises(UserError, match="config.json cannot be read: Is a directory"):
        Run(logs / "mini" / "vq")


def test_databases_are_found_nearest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec, logs, usual = get_spec("mini"), tmp_path / "logs", tmp_path / "db"
    with pytest.raises(UserError, match=f"belongs at {usual / 'mini'}; make it by python build_rag_database.py"):
        Runs(logs, spec).database(None, usual)
    for place in (usual, usual / "mini", logs / "mini" / "database"):
        place.mkdir(parents=True)
        (place / "manifest.json").write_text('{"format_version": 1}')
        assert Runs(logs, spec).database(None, usual) == place
    assert Runs(tmp_path / "nowhere", spec).database(None, "db") == Path("db/mini")
    with pytest.raises(UserError, match="belongs at database/mini"):
        Runs(tmp_path / "nowhere", spec).database(None)


def test_a_given_database_comes_before_the_one_beside_the_runs(tmp_path: Path) -> None:
    spec, beside, given = get_spec("mini"), tmp_path / "logs" / "mini" / "database", tmp_path / "mine" / "mini"
    for place in (beside, given):
        place.mkdir(parents=True)
        (place / "manifest.json").write_text('{"format_version": 1}')
    runs = Runs(tmp_path / "logs", spec)
    assert runs.database(None) == beside
    assert runs.database(given) == runs.database(given.parent) == given
    with pytest.raises(UserError, match="nowhere is no RAG database of mini: make it by"):
        runs.database("nowhere")


def test_no_torch_is_needed() -> None:
    code = "import sys, pipeline.runs; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
