"""The command edit.py: what it writes, and what it refuses when files have been read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from storage.files import read_json
from tests.visualization.motions import make_walk
from visualization.bvh import write_bvh

ROOT = Path(__file__).parents[1]
QUICK = ["--time_steps", "2", "--formats", "npy", "--gpu_id", "-1", "--dataset_name", "mini"]


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "walk.npy"
    np.save(path, make_walk(frames=80).astype(np.float32))
    return path


def edit(folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "edit.py"), *map(str, words), *QUICK, "--output_dir", str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_an_edit_keeps_the_file_s_frames_and_is_found_again(walk: Path, tmp_path: Path) -> None:
    words = ["--source_motion", walk, "--text_prompt", "a person jumps", "--mask_edit_section", "0.25,0.5"]
    result = edit(tmp_path, *words)
    assert result.returncode == 0, result.stderr
    made, source = np.load(tmp_path / "edit/00_a_person_jumps/joints.npy"), np.load(walk)
    kept = np.r_[0:20, 40:80]
    np.testing.assert_array_equal(made[kept], source[kept])
    assert not np.allclose(made[20:40], source[20:40])
    assert "1 of 1 motions are in" in edit(tmp_path, *words).stdout
    assert edit(tmp_path, *words, "--strength", "0.5").returncode == 0
    samples = read_json(tmp_path / "edit/result.json")["samples"]
    assert [sample["prompt"] for sample in samples] == ["a person jumps"] * 2


def test_a_story_from_a_pose_along_a_way(walk: Path, tmp_path: Path) -> None:
    story = tmp_path / "story.txt"
    story.write_text("0-3 a person walks forward\n1-3 [right_arm] waves\n3-5.2 a person jumps\n", encoding="utf-8")
    result = edit(tmp_path, "--story", story, "--start_pose", walk, "--path", "0,0@0", "1,1@5", "--ext", "s")
    assert result.returncode == 0, result.stderr
    (made,) = (np.load(path) for path in tmp_path.glob("s/*/joints.npy"))
    assert len(made) == 104
    np.testing.assert_allclose(made[100, 0, [0, 2]], 1, atol=1e-4)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--story", "nowhere.txt"], "nowhere.txt does not exist"),
        (["--story", "{bad}"], "line 2"),
        (["--source_motion", "nowhere.bvh", "--text_prompt", "a"], "nowhere.bvh"),
        (["--source_motion", "{walk}", "--text_prompt", "a", "--parts", "tail"], "no body part is called 'tail'"),
        (["--source_motion", "{walk}", "--text_prompt", "a", "--mask_edit_section", "9s,10s"], "section 9,10 s"),
        (["--text_prompt", "a", "--motion_length", "80", "--path", "1,1@9"], "a waypoint at 9 s"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_and_nothing_is_written(
    words: list[str], match: str, walk: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_text("0-3 a person walks\n2-4 he jumps\n", encoding="utf-8")
    out = tmp_path / "out"
    result = edit(out, *(word.format(walk=walk, bad=bad) for word in words))
    assert result.returncode == 2 and match in result.stderr, result.stderr
    assert result.stderr.count("\n") == 1 and not out.exists()


def test_a_bvh_of_another_rate_is_taken(tmp_path: Path) -> None:
    write_bvh(tmp_path / "walk.bvh", make_walk(frames=120), 30)
    result = edit(
        tmp_path, "--source_motion", tmp_path / "walk.bvh", "--text_prompt", "a person waves", "--parts", "arms"
    )
    assert result.returncode == 0, result.stderr
    (made,) = (np.load(path) for path in tmp_path.glob("edit/*/joints.npy"))
    assert abs(len(made) - 80) <= 1
