"""prepare_dataset.py as users type it: exit codes, worker processes, the picture, mistakes in flags."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from options.command_line import parse
from options.prepare import PrepareOptions
from pipeline.preparation import prepare_dataset
from tests.data.prepare.bodies import walking_body, write_bvh
from tests.data.prepare.test_motions import smpl_arrays
from tests.test_fit import body_arrays
from utils.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "prepare_dataset.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


def test_command_in_two_processes(tmp_path: Path) -> None:
    """AMASS parameters (z up), BVH and joints in one folder; a bad file: code 1, and 0 once it is gone."""
    motions = tmp_path / "motions"
    for number in range(3):
        write_bvh(motions / f"{number}.bvh", walking_body(2.5, seed=number), 20)
    np.save(motions / "joints.npy", walking_body(2.5, seed=7).joints())
    np.savez(motions / "amass.npz", **smpl_arrays(frames=61))
    np.savez(tmp_path / "SMPL_NEUTRAL.npz", **body_arrays())
    (motions / "bad.bvh").write_text("HIERARCHY")
    rows = {path.stem: "someone walks" for path in motions.iterdir()}
    (tmp_path / "captions.json").write_text(json.dumps(rows))
    arguments = ["--motion_dir", motions, "--captions", tmp_path / "captions.json", "--out", tmp_path / "mine"]
    arguments += ["--body_model", tmp_path, "--workers", "2", "--contact_sheet", "3"]
    result = run(*arguments)
    assert result.returncode == 1, result.stderr
    assert "found: joint map smpl, unit cm, m, up y, z" in result.stdout and "1 refused" in result.stdout
    assert "tagged OTHER" in result.stderr or "tagged OTHER" in result.stdout
    assert np.load(tmp_path / "mine" / "new_joints" / "amass.npy")[-1, 0, 2] > 2, "a walk goes forward"
    with Image.open(tmp_path / "mine" / "contact_sheet.png") as picture:
        assert picture.size == (1440, 300) and len(picture.getcolors(1 << 24)) > 1000
    (motions / "bad.bvh").unlink()
    del rows["bad"]
    (tmp_path / "captions.json").write_text(json.dumps(rows))
    again = run(*arguments)
    assert again.returncode == 0 and "0 made now" in again.stdout, again.stdout + again.stderr


@pytest.mark.parametrize(
    "line, words",
    [
        ("", "--motion_dir is required"),
        ("--motion_dir a --out b", "--text_dir, --captions or both"),
        ("--motion_dir a --out b --text_dir c --split 0.5,0.5", "--split must be three numbers"),
        ("--motion_dir a --out b --text_dir c --split 0.5,0.4,0.3", "add up to 1"),
        ("--motion_dir a --out b --text_dir c --take_pattern (", "no regular expression"),
        ("--motion_dir a --out b --text_dir c --max_frames 50", "multiple of 4"),
        ("--motion_dir a --out dataset/mini --text_dir c", "name of a dataset that the project knows"),
        ("--motion_dir a --out b --text_dir c --units mile", "--units"),
    ],
)
def test_mistakes_in_flags(line: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        parse(PrepareOptions, shlex.split(line))
    assert exit_info.value.code == 2 and words in capsys.readouterr().err


@pytest.mark.parametrize(
    "line, words",
    [
        ("--motion_dir options --text_dir lost", "lost is missing"),
        ("--motion_dir options --captions lost.csv", "lost.csv does not exist"),
        ("--motion_dir lost --text_dir tests", "lost is missing"),
        ("--motion_dir options --text_dir tests", "options holds no motion"),
        ("--motion_dir lost --text_dir tests --joint_map kinect", "no joint map kinect: give a JSON file, or"),
        ("--motion_dir lost --text_dir tests --body_model lost", "no SMPL body model"),
        ("--motion_dir lost --text_dir tests --split_dir lost", "train.txt is missing"),
    ],
)
def test_missing_inputs(line: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named before anything is written."""
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError, match=words):
        prepare_dataset(parse(PrepareOptions, [*shlex.split(line), "--out", str(tmp_path / "out")]))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "line, words", [("", "usage: bash reproduce_dataset.sh NAME"), ("nowhere", "nowhere is no prepared dataset")]
)
def test_reproduction_of_nothing(line: str, words: str) -> None:
    command = ["bash", "reproduce_dataset.sh", *line.split()]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2 and result.stderr.startswith("error: ") and words in result.stderr


@pytest.mark.slow
def test_own_clips_to_a_motion_and_a_table(tmp_path: Path) -> None:
    """Every stage takes a dataset outside of dataset/, given by its path."""
    for number in range(8):
        write_bvh(tmp_path / "motions" / f"{number}.bvh", walking_body(2.5, seed=number), 20)
    (tmp_path / "captions.csv").write_text("".join(f"{number},someone walks {number}\n" for number in range(8)))
    data = tmp_path / "mine"
    arguments = ["--motion_dir", tmp_path / "motions", "--captions", tmp_path / "captions.csv", "--out", data]
    assert run(*arguments, "--split", "0.4,0.3,0.3").returncode == 0
    places = {"LOGS": tmp_path / "logs", "DATABASE": tmp_path / "database", "OUTPUTS": tmp_path / "outputs"}
    settings = {"GPU": "-1", "LIMIT": "1", "BATCH": "2", "VIRTUAL_ENV": sys.prefix}
    environment = os.environ | {key: str(value) for key, value in places.items()} | settings
    evaluate = [sys.executable, "eval_res.py", "--dataset_name", data, "--checkpoints_dir", tmp_path / "logs"]
    evaluate += ["--gpu_id", "-1", "--repeat_times", "1", "--time_steps", "2"]
    for command in (["bash", "reproduce_dataset.sh", data, "mini"], evaluate):
        result = subprocess.run(
            [str(word) for word in command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
        )
        assert result.returncode == 0, result.stdout + result.stderr
    assert "protocol res" in result.stdout and list((tmp_path / "outputs").rglob("motion.mp4"))


def test_an_error_is_one_line_and_code_2(tmp_path: Path) -> None:
    result = run("--motion_dir", tmp_path, "--text_dir", tmp_path, "--out", tmp_path / "out")
    assert result.returncode == 2 and result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
