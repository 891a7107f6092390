"""All formats at once: any length, any words, any place; what cannot be written leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing
from pathlib import Path

import numpy as np
import pytest

from data.motions.reader import MotionReader
from options.command_line import parse
from options.export import Comparison, MotionExportOptions
from pipeline.motions import read_motion_folder
from tests.visualization.motions import make_walk
from utils.bvh import read_bvh
from utils.errors import UserError
from visualization.captioned import CaptionedMotion
from visualization.formats import (
    COMPARED,
    FORMATS,
    ExportSettings,
    export_folder,
    resample,
    write_comparison,
    write_motion,
)

ROOT = Path(__file__).resolve().parents[2]
SMALL = ExportSettings(20, size=(96, 64))
OWN = [kind for kind in FORMATS if kind != "fbx"]  # what is written without Blender
PROMPTS = ["🙂 somebody 走路 🏃🏽‍♀️", "\"quotes\" 'and' `ticks`", "../../etc/passwd", "a/b\\c\0d\n", "word " * 1000, ""]


def test_options_offer_what_can_be_written() -> None:
    kinds = typing.get_args(typing.get_args(typing.get_type_hints(MotionExportOptions)["formats"])[0])
    assert sorted(kinds) == sorted(FORMATS)
    assert sorted(typing.get_args(Comparison)) == sorted(COMPARED)


@pytest.mark.parametrize("frames", [1, 2, 196])
def test_every_format_takes_every_length(tmp_path: Path, frames: int) -> None:
    kinds = OWN
    files = write_motion(tmp_path / "a.b", CaptionedMotion(make_walk(frames=frames), "walks"), kinds, SMALL)
    assert {kind: path.name for kind, path in files.items()} == {kind: f"a.b.{kind}" for kind in kinds}
    assert all(path.stat().st_size > 500 for path in files.values())
    assert len(list(tmp_path.iterdir())) == len(kinds)


@pytest.mark.parametrize("prompt", PROMPTS, ids=range(len(PROMPTS)))
def test_every_format_takes_any_words(tmp_path: Path, prompt: str) -> None:
    joints = make_walk(frames=2)
    panel = CaptionedMotion(joints, prompt, prompt, [(prompt, prompt, 0.5)])
    write_motion(tmp_path / "a", panel, ["mp4", "png", "html"], SMALL)
    write_comparison(tmp_path / "b", [panel, panel], ["html"], SMALL)
    write_comparison(tmp_path / "b", [panel, CaptionedMotion(joints)], ["mp4"], ExportSettings(20, size=(192, 64)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "a.mp4", "a.png", "b.html", "b.mp4"]


@pytest.mark.parametrize("kind", OWN)
def test_bad_motions_and_places_leave_nothing(tmp_path: Path, kind: str) -> None:
    joints = make_walk(frames=3)
    joints[1, 4, 2] = np.nan
    with pytest.raises(UserError, match="frame 1"):
        write_motion(tmp_path / "a", CaptionedMotion(joints), [kind], SMALL)
    with pytest.raises(UserError, match="no frames"):
        write_motion(tmp_path / "a", CaptionedMotion(joints[:0]), [kind], SMALL)
    with pytest.raises(UserError, match="avi"):
        write_motion(tmp_path / "a", CaptionedMotion(joints), [kind, "avi"], SMALL)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        write_motion(tmp_path / "file" / "a", CaptionedMotion(make_walk(frames=1)), [kind], SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_comparison_needs_two_and_takes_sixteen(tmp_path: Path) -> None:
    panel = CaptionedMotion(make_walk(frames=1), "walks")
    for count in (0, 1, 17):
        with pytest.raises(UserError, match="2 to 16"):
            write_comparison(tmp_path / "a", [panel] * count, ["html"], SMALL)
    with pytest.raises(UserError, match="bvh"):
        write_comparison(tmp_path / "a", [panel] * 2, ["bvh"], SMALL)
    write_comparison(tmp_path / "a", [panel] * 16, ["html"], SMALL)


@pytest.mark.parametrize(("fps", "rate"), [(20, 60), (20, 10), (12.5, 30), (20, 20)])
def test_resampling_keeps_time_and_bones(fps: float, rate: float) -> None:
    joints = make_walk(frames=50, fps=fps, turns=1)
    other = resample(joints, fps, rate)
    assert len(other) == int(49 / fps * rate) + 1
    at = round(30 / fps * rate)  # the frame at the time of frame 30, where there is one
    if at / rate == 30 / fps:
        np.testing.assert_allclose(other[at], joints[30], atol=1e-9)
    bone = np.linalg.norm(other[:, 18] - other[:, 20], axis=-1)
    assert np.abs(bone - np.linalg.norm(joints[0, 18] - joints[0, 20])).max() < 2e-3


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_resampling_of_the_shortest(frames: int) -> None:
    other = resample(make_walk(frames=frames), 20, 30)
    assert len(other) == [1, 2, 4][frames - 1] and np.isfinite(other).all()


def test_folder_with_captions_of_every_kind(tmp_path: Path) -> None:
    """Captions come from a text file beside, from the demo's index, or from the file's name."""
    source = tmp_path / "in"
    (source / "00_demo").mkdir(parents=True)
    joints = make_walk(frames=3)
    for name in ("a.npy", "b_c.npy", "00_demo/joints.npy"):
        np.save(source / name, joints)
    (source / "a.txt").write_text("someone walks#someone/NOUN walk/VERB#0.0#0.0\nanother\n")
    sample = {"prompt": "a person walks", "seed": 3, "files": {"joints": "00_demo/joints.npy"}}
    sample["retrieved"] = [{"motion_id": "000001", "caption": "walking", "score": 0.5}]
    (source / "result.json").write_text(json.dumps({"samples": [sample]}))
    motions = read_motion_folder(source, MotionReader())
    assert {name: panel.prompt for name, panel in motions.items()} == {
        "a": "someone walks",
        "b_c": "b_c",
        "00_demo": "a person walks",
    }
    assert list(motions["00_demo"].retrieved) == [("000001", "walking", 0.5)]
    settings = ExportSettings(20, frame_rate=60, unit="m", foot_locking=True)
    files = export_folder(motions, tmp_path / "out", ["bvh", "glb"], ["html"], settings)
    assert sorted(path.name for path in files) == sorted(os.listdir(tmp_path / "out"))
    assert len(files) == 7
    motion = read_bvh(tmp_path / "out" / "a.bvh")
    assert motion.fps == pytest.approx(60) and len(motion.rotations) == 7 and motion.positions()[..., 1].max() < 2
    (source / "result.json").write_text("[]")
    with pytest.raises(UserError, match="result.json"):
        read_motion_folder(source, MotionReader())


def test_a_comparison_that_cannot_be_is_found_before_any_file(tmp_path: Path) -> None:
    motions = {str(number): CaptionedMotion(make_walk(frames=3), "a") for number in range(5)}
    out = tmp_path / "out"
    out.mkdir()
    for chosen, compare in ((motions, ["html", "mp4"]), ({"0": motions["0"]}, ["html"])):
        with pytest.raises(UserError, match="size 96x64 leaves 24x32 pixels|1 motions cannot stand"):
            export_folder(chosen, out, ["bvh"], compare, SMALL)
    assert not list(out.iterdir())


def test_a_refused_export_leaves_no_folder(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", make_walk(frames=2))
    result = run_export("--dir", tmp_path, "--out", tmp_path / "out" / "deep", "--compare", "html")
    assert result.returncode == 2 and "side by side" in result.stderr and not (tmp_path / "out").exists()


def run_export(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "visualization.export", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_the_command(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    np.save(source / "walk.npy", make_walk(frames=5))
    result = run_export("--dir", source, "--out", out, "--formats", "bvh", "glb", "html", "--foot_lock")
    assert result.returncode == 0, result.stderr
    assert "3 files of 1 motions" in result.stdout and "exporting" in result.stderr
    assert sorted(os.listdir(out)) == ["walk.bvh", "walk.glb", "walk.html"]


def test_bad_folders_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Missing, empty, with a bad file among good ones: refused before anything is written."""
    with pytest.raises(UserError, match="missing"):
        read_motion_folder(tmp_path / "none", MotionReader())
    with pytest.raises(UserError, match="no motion"):
        read_motion_folder(tmp_path, MotionReader())
    np.save(tmp_path / "a.npy", make_walk(frames=2))
    np.save(tmp_path / "b.npy", np.full((2, 22, 3), np.nan))
    result = run_export("--dir", tmp_path, "--out", tmp_path / "out")
    assert result.returncode == 2 and "b.npy" in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit):
        parse(MotionExportOptions, ["--dir", "a", "--out", "b", "--compare", "bvh"])
    assert "--compare" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parse(MotionExportOptions, ["--dir", "a", "--out", "b", "--width", "64", "--height", "5"])
    assert "--height must be 0 or at least 64, not 5" in capsys.readouterr().err
