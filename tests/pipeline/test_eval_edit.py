"""eval_edit.py on a few clips of mini, as the command line asks for it."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data.clips import Caption, Clip
from data.mini.folder import write
from models.configs import SamplingSettings
from pipeline.evaluation import edits
from pipeline.evaluation.run import spread
from pipeline.evaluation.samples import draw_samples
from storage.files import read_json, write_json
from tests.test_own_skeleton import refused, run
from utils.formats import HUMANML3D

PRETRAINED = Path(__file__).parents[2] / "pretrained"
TINY = ("--split", "train", "--clips", "2", "--stories", "1", "--time_steps", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small mini beside the shipped models, whose evaluations go elsewhere."""
    folder = tmp_path_factory.mktemp("edits")
    write(folder / "mini", n_clips=40, workers=1)
    for name in ("tmr", "mtrans", "rtrans", "length", "database", "evaluator"):
        shutil.copytree(PRETRAINED / "mini" / name, folder / "runs" / "mini" / name)
    return folder


def places(folder: Path) -> list[object]:
    return ["--dataset_name", folder / "mini", "--checkpoints_dir", folder / "runs", "--gpu_id", "-1"]


@pytest.mark.filterwarnings("ignore:.*R-precision among:RuntimeWarning", "ignore:.*Fréchet:RuntimeWarning")
def test_every_kind_has_its_rows_and_a_seed_its_numbers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("eval_edit.py", *places(folder), *TINY, "--report") == 0
    out = folder / "runs" / "mini" / "rtrans" / "eval"
    rows = read_json(out / "eval.json")["rows"]
    assert list(rows)[:5] == ["real", "vq", "res", "in-between", "continuation"]
    for name in ("in-between", "continuation"):
        assert rows[name].keys() >= {"r_precision_top3", "foot_skate", "seam", "seam_p95", "unedited_above"}
        assert rows[name]["kept_changed"]["mean"] == 0 and rows[name]["seam"]["mean"] > 0
    assert rows["arms"]["kept_changed"]["mean"] == 0 and "kept_changed" not in rows["lower_body"]
    assert all(0 <= rows[name]["held"]["mean"] <= 1 for name in ("arms", "lower_body"))
    assert rows["story"].keys() - rows["story, each alone"].keys() == {"seam", "seam_p95", "seam_above"}
    assert rows["waypoints"]["waypoint_error"]["mean"] < 0.01 < rows["no waypoints"]["waypoint_error"]["mean"]
    assert "| story, each alone |" in (out / "eval.md").read_text() and "protocol" in capsys.readouterr().out
    assert run("eval_edit.py", *places(folder), *TINY, "--kinds", "waypoints", "in-between", "--ext", "again") == 0
    again = read_json(out / "again.json")["rows"]
    assert len(again) == 6 and again == {name: rows[name] for name in again}


def test_what_cannot_be_measured_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--kinds" in refused(capsys, "eval_edit.py", *places(folder), "--kinds", "story", "story")
    assert "--kinds" in refused(capsys, "eval_edit.py", *places(folder), "--kinds", "style")
    told = read_json(folder / "mini" / "attributes.json")
    twice = {name: {"segments": each["segments"] * 2} for name, each in told.items()}
    write_json(folder / "mini" / "attributes.json", twice)
    assert "--kinds parts" in refused(capsys, "eval_edit.py", *places(folder), "--kinds", "parts")
    assert "--kinds story" in refused(capsys, "eval_edit.py", *places(folder), "--kinds", "story")
    write_json(folder / "mini" / "attributes.json", told)


def test_what_an_edit_leaves_behind_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kept frame that is another by a bit, a jump where what is drawn begins."""
    features = np.zeros((40, 263), np.float32)
    features[:, 3] = 0.9 + 0.01 * np.sin(np.arange(40))
    clip = Clip("0", "0", features, (Caption("a person stands", ()),))
    t2m = SimpleNamespace(spec=SimpleNamespace(format=HUMANML3D))

    def careless(t2m, source, wanted) -> SimpleNamespace:
        assert wanted.sections == ((0.5, 1.5),) and wanted.text == "a person stands"
        joints = source.copy()
        joints[5, 7] = np.nextafter(joints[5, 7], np.float32(9))
        joints[10:30] += 1
        made = SimpleNamespace(joints=joints, features=features)
        return SimpleNamespace(make=lambda seed, sampling: made)

    monkeypatch.setattr(edits, "EditPlan", careless)
    trial = edits.Drawn("in-between", edits.Maker(t2m, SamplingSettings()), [clip], (0.25, 0.75))
    numbers = trial.numbers(draw_samples([clip], 0, 0, 196), 0, lambda motions: {"fid": float(len(motions))})
    assert numbers["kept_changed"] == 1 and numbers["fid"] == 1
    assert numbers["unedited_above"] == 0 and numbers["seam_above"] == 1 and numbers["seam"] > 50


def test_stories_last_as_long_as_they_should() -> None:
    t2m = SimpleNamespace(spec=SimpleNamespace(format=HUMANML3D, max_frames=196, min_frames=40))
    steps = [edits.stretched(each, t2m) for each in ([10] * 10, [1, 60, *[20] * 8])]
    assert sum(steps[0]) == 300 and min(steps[1]) == 10 and max(steps[1]) == 49
    assert spread("abcdef", 3) == ["a", "c", "e"] and spread("ab", 0) == spread("ab", 9) == ["a", "b"]
    assert edits.seams([1, 1, 2]) == {"seam": pytest.approx(4 / 3), "seam_p95": pytest.approx(1.9), "seam_above": 1 / 3}
