"""Files of strangers at the readers of data: small ones stay small, and what cannot be meant is refused by name."""

from __future__ import annotations

import json
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.captions import parse_caption, read_captions
from data.clips import Clip, read_split
from data.motions.joint_maps import load_joint_map
from data.motions.reader import MotionReader
from data.motions.smpl import BodyShape
from data.oracle.scores import read_attributes
from data.specs import get_spec
from storage.limits import LONGEST_LINE, MOST_CAPTIONS
from tests.data.prepare.bodies import named_like, walking_body, write_bvh
from utils.errors import UserError

BODY = BodyShape(np.cumsum(np.ones((22, 3)), axis=0) / 10, np.ones((22, 3, 4)) / 50)


@pytest.mark.parametrize("field", ["1e308", "1e999", "9" * 5000, "1000001", "-1"])
def test_times_that_nothing_has(field: str) -> None:
    for line in (f"a man walks#a/DET#0#{field}", f"a man walks#a/DET#{field}#0"):
        with pytest.raises(ValueError, match="is no time in seconds|characters, at most"):
            parse_caption(line)
    assert parse_caption("a man walks#a/DET#0#1000000").end == 1e6


@pytest.mark.parametrize(
    "line", ["#" * LONGEST_LINE, "x#" + "1" * (LONGEST_LINE - 3) + "y", "x/Y " * (LONGEST_LINE // 4)]
)
def test_the_longest_line_takes_no_time(line: str) -> None:
    start = time.process_time()
    for plain in (True, False):
        try:
            parse_caption(line, plain)
        except ValueError as error:
            assert len(str(error)) < LONGEST_LINE * 2
    assert time.process_time() - start < 1
    with pytest.raises(ValueError, match=f"at most {LONGEST_LINE} are read"):
        parse_caption(line + "x" * LONGEST_LINE)


def test_more_captions_than_a_clip_can_have(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a man walks#a/DET#0#0\n" * (MOST_CAPTIONS + 1))
    with pytest.raises(UserError, match=r"a.txt has 1001 captions, at most 1000 are read of a clip"):
        read_captions(tmp_path / "a.txt")


@pytest.mark.parametrize("line", ["../../etc/passwd", "..", "a/b", "x" * 201, "a\x1bb", "a\u202eb", "/dev/zero"])
def test_ids_that_are_no_names_of_files(line: str, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text(f"000001\n{line}\n")
    with pytest.raises(UserError, match="train.txt: .* is no clip's id"):
        read_split(tmp_path / "train.txt")


def test_names_that_no_file_can_have() -> None:
    for name in ("x" * 5000, "a\0b", "\ud800"):
        with pytest.raises(UserError, match="no joint map"):
            load_joint_map(name)
        with pytest.raises(UserError, match="unknown dataset"):
            get_spec(name)


def bvh(folder: Path, frames: int, frame_time: float, leaves: int, claimed: int | None = None) -> Path:
    """A root with one channel and joints without any."""
    joints = "".join(f"JOINT j{number}\n{{\nOFFSET 0 1 0\n}}\n" for number in range(leaves))
    head = f"HIERARCHY\nROOT r\n{{\nOFFSET 0 0 0\nCHANNELS 1 Xrotation\n{joints}}}\n"
    numbers = "0\n" * frames
    (folder / "a.bvh").write_text(f"{head}MOTION\nFrames: {claimed or frames}\nFrame Time: {frame_time}\n{numbers}")
    return folder / "a.bvh"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((4, 0.05, 1, 10**9), "'1000000000' is no number of frames"),
        ((4, 0.0, 1), "a frame time of 0.0 seconds"),
        ((4, float("nan"), 1), "'nan' is no usable number"),
        ((4, 0.05, 2000), "more than 2000 joints"),
        ((5000, 0.05, 1500), "1501 joints in 5000 frames of 1 numbers"),
    ],
)
def test_skeletons_far_larger_than_their_files(arguments: tuple[Any, ...], message: str, tmp_path: Path) -> None:
    path = bvh(tmp_path, *arguments)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=message):
            MotionReader(fps=20).read(path)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_rates_that_make_far_more_of_a_motion(tmp_path: Path) -> None:
    body = named_like(walking_body(250), "mixamo")
    path = write_bvh(tmp_path / "a.bvh", body, 20, frame_time="10")
    with pytest.raises(UserError, match=r"too long: 5001 frames at 0.1 fps become 1000200 at 20"):
        MotionReader(fps=20).read(path)
    np.savez(tmp_path / "a.npz", joints=np.zeros((6000, 22, 3), np.float32), fps=np.array(0.1))
    with pytest.raises(UserError, match="too long: 6000 frames at 0.1 fps"):
        MotionReader(fps=240).read(tmp_path / "a.npz")


SMPL = {"poses": np.zeros((9, 72)), "trans": np.zeros((9, 3)), "fps": np.array(20.0)}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"poses": np.zeros((0, 66)), "trans": np.zeros((0, 3))}, r"poses \(0, 66\) and trans \(0, 3\) are no SMPL"),
        ({"poses": np.full((9, 72), 1e300)}, "an absurd number or no numbers in poses"),
        ({"trans": np.full((9, 3), np.iinfo(np.int64).min)}, "an absurd number or no numbers in trans"),
        ({"betas": np.array("x")}, "no numbers in betas"),
        ({"fps": np.array([20, 30])}, "fps is no frame rate"),
        ({"poses": np.array("x")}, "no numbers in poses"),
    ],
)
def test_poses_that_are_none(changed: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **SMPL | changed)
    with pytest.raises(UserError, match=f"a.npz.*{message}"):
        MotionReader(bodies={"neutral": BODY}).read(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"max_frames": 10**9}, '"max_frames" must be a positive whole number of at most 10000'),
        ({"min_frames": 40.5}, '"min_frames" must be a positive whole number'),
        ({"fps": 1e300}, '"fps" must be a positive number of at most 240'),
        ({"fps": 10**18}, '"fps" must be a positive number of at most 240'),
        ({"joints": "x" * 5000 + ".json"}, "File name too long"),
        ({"joints": "a\0.json"}, "cannot be read: embedded null byte"),
        ({"joints": "../../../../../../dev/zero.json"}, "does not exist"),
    ],
)
def test_descriptions_of_datasets(entries: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps({"fps": 20} | entries))
    with pytest.raises(UserError, match=message):
        get_spec(str(tmp_path))


def test_attributes_of_every_clip_are_there_and_known(tmp_path: Path) -> None:
    path, clips = tmp_path / "attributes.json", [Clip("a", "a", np.zeros((40, 263)))]
    good = {"a": {"segments": [{"locomotion": "walk", "direction": "forward"}]}}
    path.write_text(json.dumps(good))
    assert read_attributes(path, clips) == good
    with pytest.raises(UserError, match="does not say what b shows"):
        read_attributes(path, [*clips, replace(clips[0], id="b")])
    strange = [[], {}, {"segments": []}, {"segments": {}}, {"segments": [[]]}, {"segments": [{"locomotion": "fly"}]}, 1]
    for told in (*strange, {"segments": [{"locomotion": ["walk"]}]}, {"segments": [{"direction": "forward"}]}):
        path.write_text(json.dumps({"a": told}))
        with pytest.raises(UserError, match="attributes.json does not say what a shows"):
            read_attributes(path, clips)
