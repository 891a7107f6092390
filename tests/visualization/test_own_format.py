"""Skeletons of users' own leave as they are: with roll joints, fingers, heels, and a root above the hips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.own_skeleton import STUDIO, body, detailed
from utils.bvh import read_bvh
from utils.errors import UserError
from utils.formats import format_of
from utils.motion_format import MotionFormat
from visualization.body import get_body
from visualization.bvh import write_bvh
from visualization.captioned import CaptionedMotion
from visualization.formats import FORMATS, ExportSettings, write_motion

DETAILED = format_of(detailed(), "detailed")


def exported(path: Path, joints: np.ndarray, form: MotionFormat, **options: bool) -> np.ndarray:
    motion = read_bvh(write_bvh(path, joints, 30, form, **options))
    return motion.positions()[:, [motion.names.index(name) for name in form.joint_names]] / 100


@pytest.mark.parametrize("form", [STUDIO, DETAILED])
def test_rotations_return_the_joints(form: MotionFormat, tmp_path: Path) -> None:
    joints = body(form=form).joints()
    np.testing.assert_allclose(exported(tmp_path / "a.bvh", joints, form), joints, atol=1e-5)


@pytest.mark.parametrize("form", [STUDIO, DETAILED])
def test_locked_feet_keep_the_bones_and_everything_that_hangs_on_them(form: MotionFormat, tmp_path: Path) -> None:
    """A body that glides over the floor: its feet stand now and then, its trunk and arms stay where they were."""
    joints = body(form=form).joints()
    joints[..., 1] -= joints[:, form.feet, 1].min()
    locked = exported(tmp_path / "a.bvh", joints, form, foot_locking=True)
    bones, own = (np.linalg.norm(each[:, 1:] - each[:, list(form.parents[1:])], axis=-1) for each in (locked, joints))
    np.testing.assert_allclose(bones, own, atol=1e-4)
    above = [number for number in range(form.n_joints) if not form.way(form.leg("left")[0], number)]
    above = [number for number in above if not form.way(form.leg("right")[0], number)]
    moved = locked - joints
    np.testing.assert_allclose(moved[:, above], np.broadcast_to(moved[:, :1], moved[:, above].shape), atol=0.02)
    assert np.abs(moved).max() > 0.02, "nothing was locked"


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind != "fbx"])
def test_every_kind_of_file_is_written(kind: str, tmp_path: Path) -> None:
    joints = body(0.2, form=DETAILED).joints()
    settings = ExportSettings(30, DETAILED, size=(128, 96))
    assert write_motion(tmp_path / "a", CaptionedMotion(joints, "walks"), [kind], settings)[kind].stat().st_size > 500


def test_what_draws_refuses_a_format_without_hands() -> None:
    without = tuple(landmark for landmark in STUDIO.landmarks if landmark[0] != "left_wrist")
    with pytest.raises(UserError, match="does not say which joint is the left_wrist"):
        get_body(replace(STUDIO, landmarks=without))
