"""Motion.save: every format of the export by its suffix, its options by their names, mistakes in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import Motion
from tests.visualization.motions import make_walk
from utils.bvh import read_bvh
from utils.errors import UserError
from utils.formats import get_format
from visualization.formats import FORMATS


def walk(frames: int = 24) -> Motion:
    return Motion("a walk", 20.0, np.zeros((frames, 263), np.float32), make_walk(frames=frames), (), 3)


@pytest.mark.parametrize("kind", [*(kind for kind in FORMATS if kind != "fbx"), "npy"])  # .fbx needs Blender
def test_the_suffix_says_the_format(kind: str, tmp_path: Path) -> None:
    path = walk().save(str(tmp_path / "new folder" / f"a.walk.{kind}"), width=96, height=64)
    assert path == tmp_path / "new folder" / f"a.walk.{kind}" and path.stat().st_size > 100
    assert list(path.parent.iterdir()) == [path]


def test_options_are_those_of_the_export_and_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "walk.bvh"
    path.write_text("an older file")
    assert walk().save(path, frame_rate=60, bvh_units="m", foot_lock=True) == path
    motion = read_bvh(path)
    assert motion.fps == pytest.approx(60) and len(motion.translations) == 70
    assert np.array_equal(np.load(walk().save(tmp_path / "walk.npy", foot_lock=True)), walk().joints)


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("walk.doc", {}, r"walk.doc has no suffix that says a format: there are .*\.bvh.*\.npy"),
        ("walk", {}, "no suffix"),
        ("walk.", {}, "no suffix"),
        (".bvh", {}, "no suffix"),
        ("walk.bvh", {"footlock": True}, "no option footlock: there are foot_lock.*frame_rate"),
        ("walk.bvh", {"dir": "x"}, "no option dir"),
        ("walk.bvh", {"frame_rate": 1e9}, "frame_rate must be"),
        ("walk.bvh", {"foot_lock": "yes"}, "foot_lock must be"),
        ("walk.png", {"width": 640}, "width and --height"),
        ("walk.npy", {"bvh_units": "mm"}, "bvh_units must be one of cm, m"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    name: str, options: dict[str, Any], told: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=told):
        walk().save(tmp_path / name, **options)
    assert not list(tmp_path.iterdir())


def test_another_skeleton_is_told_by_the_motion(tmp_path: Path) -> None:
    form = get_format("kit")
    motion = Motion("x", form.fps, np.zeros((4, form.n_features), np.float32), np.ones((4, 21, 3)), (), 0, form=form)
    with pytest.raises(UserError, match="22, 3"):
        Motion("x", form.fps, motion.features, motion.joints, (), 0).save(tmp_path / "walk.npz.html")
    assert motion.save(tmp_path / "joints.npy").exists()


def test_a_notebook_shows_the_page_of_a_motion() -> None:
    shown = walk()._repr_html_()
    assert shown.startswith("<iframe srcdoc=") and "<script" not in shown and "a walk" in shown
