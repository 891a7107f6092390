"""What is done to motions before they are written holds for every format, and leaves the arrays as they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from options.export import FileOptions
from pipeline.export_settings import blender_hint, export_settings
from tests.visualization.motions import make_walk
from utils.blender import VARIABLE, blender_command
from utils.bvh import read_bvh
from utils.errors import UserError
from utils.formats import HUMANML3D, get_format
from visualization.captioned import CaptionedMotion
from visualization.contacts import contact_segments, detect_contacts
from visualization.edits import in_place, locked, trimmed
from visualization.formats import ExportSettings, export_folder, write_motion


def test_in_place_takes_the_way_and_keeps_heights() -> None:
    walk = make_walk(frames=40, turns=0.3)
    still = in_place(walk)
    np.testing.assert_allclose(still[:, 0, [0, 2]], np.tile(walk[0, 0, [0, 2]], (40, 1)), atol=1e-12)
    np.testing.assert_array_equal(still[..., 1], walk[..., 1])
    np.testing.assert_allclose(np.diff(still, axis=1), np.diff(walk, axis=1), atol=1e-12)  # the pose is the same


@pytest.mark.parametrize(("trim", "frames"), [((0.5, 2.0), (10, 40)), ((0.5, None), (10, 60)), ((0.0, 3.0), (0, 60))])
def test_trim_keeps_these_seconds(trim: tuple[float, float | None], frames: tuple[int, int]) -> None:
    walk = make_walk(frames=60)
    np.testing.assert_array_equal(trimmed(walk, 20, HUMANML3D, trim), walk[slice(*frames)])


@pytest.mark.parametrize("trim", [(3.0, None), (0.0, 3.5), (9.0, 10.0), (1.001, 1.002)])
def test_trim_outside_is_refused(trim: tuple[float, float | None]) -> None:
    with pytest.raises(UserError, match="--trim .*(lasts 3.00 s|leaves no frame)"):
        trimmed(make_walk(frames=60), 20, HUMANML3D, trim)


def test_trim_auto_cuts_the_standing_at_the_ends() -> None:
    walk = make_walk(frames=60)
    noise = np.random.default_rng(0).normal(scale=1e-3, size=(60, 1, 3))
    clip = np.concatenate([np.repeat(walk[:1], 60, 0) + noise, walk, np.repeat(walk[-1:], 60, 0) + noise])
    left = trimmed(clip, 20, HUMANML3D, "auto")
    first = int(np.flatnonzero((clip == left[0]).all(axis=(1, 2)))[0])
    assert 60 - 8 <= first <= 60 and 120 <= first + len(left) <= 120 + 8
    standing = clip[:50]
    np.testing.assert_array_equal(trimmed(standing, 20, HUMANML3D, "auto"), standing)
    np.testing.assert_array_equal(trimmed(walk[:1], 20, HUMANML3D, "auto"), walk[:1])


def test_locked_feet_stand_in_every_format(tmp_path: Path) -> None:
    """The joints that videos and pages show slide as little as the skeleton of the .bvh: they are the same."""
    walk = make_walk(frames=60, speed=1.6)  # faster than the legs: the feet slide
    fixed = locked(walk, 20, HUMANML3D)

    def slide(joints: np.ndarray) -> float:
        contacts = detect_contacts(walk, 20, HUMANML3D)
        return max(
            np.linalg.norm(np.ptp(joints[first : last + 1, foot][:, [0, 2]], axis=0))
            for column, foot in enumerate(HUMANML3D.feet)
            for first, last in contact_segments(contacts[:, column])
        )

    assert slide(fixed) < 0.5 * slide(walk)
    settings = ExportSettings(20, foot_locking=True)
    motion = read_bvh(write_motion(tmp_path / "a", CaptionedMotion(walk), ["bvh"], settings)["bvh"])
    order = [motion.names.index(name) for name in HUMANML3D.joint_names]
    np.testing.assert_allclose(motion.positions()[:, order] / 100, fixed, atol=2e-3)


def test_a_bad_trim_is_found_before_any_file(tmp_path: Path) -> None:
    motions = {"long": CaptionedMotion(make_walk(frames=60)), "short": CaptionedMotion(make_walk(frames=20))}
    with pytest.raises(UserError, match="short: --trim"):
        export_folder(motions, tmp_path, ["bvh"], [], ExportSettings(20, trim=(0.0, 2.0)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"trim": "2,1"}, "ends before it starts"),
        ({"target_map": "a.json"}, "--target_map"),
        ({"rig": "vrm", "target": "a.glb"}, "one of the two"),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        FileOptions(**options)


def test_options_become_settings() -> None:
    options = FileOptions(foot_lock=True, in_place=True, trim=",2.5", rig="unity", frame_rate=24, bvh_units="m")
    settings = export_settings(options, HUMANML3D, ["bvh"])
    assert (settings.foot_locking, settings.in_place, settings.trim) == (True, True, (0.0, 2.5))
    assert settings.names is not None and settings.names[3] == "Spine"
    with pytest.raises(UserError, match="--rig unity"):
        export_settings(options, get_format("kit"), ["bvh"])


def test_what_blender_wants_to_be_told() -> None:
    assert "Scale 0.01, tick Update Scene FPS" in blender_hint(["bvh"], ExportSettings(20))
    assert "Scale" not in blender_hint(["bvh"], ExportSettings(20, unit="m")).split("(")[0]
    right = ExportSettings(20, frame_rate=24, unit="m")
    assert blender_hint(["bvh"], right) == blender_hint(["glb"], ExportSettings(20)) == ""
    assert "tick" not in blender_hint(["bvh"], replace(right, unit="cm")).split("(")[0]


def test_no_blender_is_said_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blender_command.cache_clear()
    monkeypatch.setattr("utils.blender.PLACES", ())
    monkeypatch.setattr("utils.blender.has_bpy", lambda: False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv(VARIABLE, "")
    with pytest.raises(UserError, match=r"--formats fbx needs Blender: run `bash setup_render.sh`"):
        export_settings(FileOptions(), HUMANML3D, ["fbx"])
    blender_command.cache_clear()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none"))
    with pytest.raises(UserError, match="no program"):
        export_settings(FileOptions(), HUMANML3D, ["fbx"])
    blender_command.cache_clear()
