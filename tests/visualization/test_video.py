"""Videos and pictures: they play everywhere, hold the whole figure, and refuse bad input."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image, ImageFont

from tests.visualization.motions import make_walk
from utils.errors import UserError
from utils.formats import HUMANML3D, get_format
from visualization import lettering, video
from visualization.body import COLOURS, get_body
from visualization.camera import choose_azimuth, plan_camera
from visualization.lettering import legible, wrap
from visualization.sequence import render_sequence
from visualization.video import Stage, render_video


def probe(path: Path) -> str:
    """What ffmpeg says about a file."""
    return subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path)], capture_output=True, text=True).stderr


def frames_of(path: Path) -> np.ndarray:
    """(T, H, W, 3) decoded pictures."""
    reader = imageio_ffmpeg.read_frames(str(path))
    width, height = next(reader)["size"]
    return np.stack([np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader])


def near(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Pixels whose hue is that of a body part: each channel's share of the sum within a few per cent."""
    share = picture / np.maximum(picture.sum(-1, keepdims=True, dtype=float), 1)
    return np.abs(share - np.array(colour) / sum(colour)).max(-1) < 0.04


def seen_from_the_front(joints: np.ndarray) -> Stage:
    """A stage of 320 x 240 pixels with one figure in it."""
    body, size = get_body(HUMANML3D), (320, 240)
    camera = plan_camera(body.display_points(joints), body, size, (0, 0, *size), 20, azimuth=0.0)
    return Stage(joints, 20, HUMANML3D, size, camera)


@pytest.mark.parametrize("dataset", ["humanml3d", "kit"])
def test_video_plays_and_moves(tmp_path: Path, dataset: str) -> None:
    path = render_video(
        tmp_path / "a" / "walk.mp4", [make_walk(dataset, frames=12)], 12.5, "a person walks", get_format(dataset)
    )
    about = probe(path)
    assert "h264" in about and "yuv420p" in about and "854x480" in about and "12.5" in about
    pictures = frames_of(path)
    assert len(pictures) == 12
    assert np.abs(pictures[0].astype(int) - pictures[-1]).mean() > 0.3
    for part in ("left_leg", "right_leg"):
        assert near(pictures[5], COLOURS[part]).sum() > 300
    assert [entry.name for entry in path.parent.iterdir()] == ["walk.mp4"]


def test_left_is_warm_and_on_the_right_of_the_picture() -> None:
    """Seen from the front, the figure's left leg is on the picture's right side."""
    stage = seen_from_the_front(make_walk(frames=1))
    picture = stage.picture(0)
    left = np.nonzero(near(picture, COLOURS["left_leg"]))[1].mean()
    right = np.nonzero(near(picture, COLOURS["right_leg"]))[1].mean()
    assert left > right + 5


@pytest.mark.parametrize("turns", [0.0, 2.0])
@pytest.mark.parametrize("speed", [0.0, 1.5, 6.0])
def test_figure_stays_inside_the_picture(turns: float, speed: float) -> None:
    body = get_body(HUMANML3D)
    points = body.display_points(make_walk(frames=100, turns=turns, speed=speed))
    size, safe = (854, 480), (30.0, 60.0, 824.0, 450.0)
    camera = plan_camera(points, body, size, safe, 20, choose_azimuth(points, body))
    heights = []
    for frame in range(100):
        pixels, depth = camera.project(points[frame], frame)
        assert depth.min() > 0.5
        assert (pixels.min(axis=0) >= [safe[0], safe[1]]).all() and (pixels.max(axis=0) <= [safe[2], safe[3]]).all()
        heights.append(np.ptp(pixels[:, 1]))
    assert np.median(heights) > 100  # and it is not lost in the distance
    # The camera glides: its speed changes little from frame to frame.
    assert np.abs(np.diff(camera.positions, 2, axis=0)).max() < 0.03


def test_feet_stand_on_the_ground() -> None:
    joints = make_walk(frames=40)
    stage = seen_from_the_front(joints)
    lowest = joints[..., 1].min(axis=1)
    assert np.abs(lowest - stage.floor - 0.034 * stage.scale).max() < 0.02


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("suffix", ["mp4", "gif"])
def test_shortest_motions(tmp_path: Path, frames: int, suffix: str) -> None:
    path = render_video(tmp_path / f"short.{suffix}", [make_walk(frames=frames)], 20, size=(160, 120))
    assert len(frames_of(path)) >= 1
    if suffix == "gif":
        with Image.open(path) as image:
            assert image.size == (160, 120) and getattr(image, "n_frames", 1) == frames


def test_gifs_are_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default half the size of a video, and the camera stands still, so that little of the picture changes."""
    joints = make_walk(frames=40, speed=4)
    path = render_video(tmp_path / "a.gif", [joints], 20, "a person walks")
    monkeypatch.setattr(video, "plan_camera", lambda *given: plan_camera(*given[:6], True, *given[7:]))
    moving = render_video(tmp_path / "b.gif", [joints], 20, "a person walks")
    with Image.open(path) as image:
        assert image.size == (426, 240)
    assert path.stat().st_size < 0.6 * moving.stat().st_size


def test_comparison_shows_every_motion(tmp_path: Path) -> None:
    motions = [make_walk(frames=4), make_walk(frames=6, turns=0.3), make_walk(frames=3, speed=0)]
    path = render_video(tmp_path / "c.mp4", motions, 20, "a title", size=(720, 240), labels=["one", "two", "three"])
    pictures = frames_of(path)
    assert pictures.shape == (6, 240, 720, 3)
    for column in range(3):
        assert near(pictures[-1][:, 240 * column : 240 * (column + 1)], COLOURS["left_leg"]).sum() > 40


def test_figures_of_a_comparison_are_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal poses look equal side by side, whatever the motions do later, at what height, and under which labels."""
    stand = np.repeat(make_walk(frames=1), 6, axis=0)
    leap, upstairs = stand.copy(), stand + [0, 3.0, 0]
    leap[2:4, :, 1] += 0.8
    labels = ["stands", "leaps " * 20, "upstairs"]
    monkeypatch.setattr(video.Decals, "draw", lambda *given: None)  # footprints have the colours of legs
    path = render_video(tmp_path / "c.gif", [stand, leap, upstairs], 20, size=(720, 240), labels=labels)
    first = frames_of(path)[0]
    boxes = []
    for column in range(3):
        rows, columns = np.nonzero(near(first[:230, 240 * column : 240 * (column + 1)], COLOURS["left_leg"]))
        boxes.append([rows.min(), rows.max(), np.ptp(columns)])
    assert np.ptp(boxes, axis=0).max() <= 3


def test_titles_of_every_kind(tmp_path: Path) -> None:
    long = "a person " + "walks and walks " * 60
    for index, title in enumerate(["", "   ", long, "x" * 400, "une élève s'assoit – 一个人 走路 🙂", "a\nb\tc"]):
        render_video(tmp_path / f"{index}.mp4", [make_walk(frames=1)], 20, title, size=(200, 150))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("человек машет рукой, ein Mädchen geht", None),  # matplotlib's font has it
        ("一个人向前走", "Yi Ge Ren Xiang Qian Zou"),
        ("человек 走 🙂", "человек Zou :slight_smile:"),
    ],
)
def test_what_no_font_has_is_spelled(text: str, shown: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = lettering.font_files()[:1]
    monkeypatch.setattr(lettering, "font_files", lambda: ours)  # a machine without fonts of its own
    result, font = legible(text, 20)
    assert result == (shown or text)
    missing = bytes(font.getmask(lettering.UNASSIGNED))
    assert all(bytes(font.getmask(each)) != missing for each in result if not each.isspace())


def test_wrapping_loses_no_word() -> None:
    text = "someone walks in a circle, sits down and gets up again"
    shown, font = legible(text, 20)
    assert shown == text
    lines = wrap(text, font, 200, 9)
    assert " ".join(lines) == text
    assert max(font.getlength(line) for line in lines) <= 200
    cut = wrap(text, font, 200, 2)
    assert len(cut) == 2 and cut[-1].endswith("…") and font.getlength(cut[-1]) <= 200
    assert isinstance(font, ImageFont.FreeTypeFont)


def test_sequence_picture(tmp_path: Path) -> None:
    for index, joints in enumerate([make_walk(frames=60), make_walk(frames=60, speed=0), make_walk(frames=1)]):
        path = render_sequence(tmp_path / f"{index}.png", joints, 20, "a person walks", size=(800, 300))
        with Image.open(path) as image:
            assert image.size == (800, 300)
            assert near(np.asarray(image), COLOURS["right_leg"]).sum() > 200


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("a.avi", {}, r"\.mp4 or \.gif"),
        ("a.mp4", {"fps": -1}, "fps"),
        ("a.mp4", {"size": (20, 20)}, "20x20"),
        ("a.mp4", {"motions": [np.zeros((5, 21, 3))]}, "shape"),
        ("a.mp4", {"motions": [np.full((5, 22, 3), np.nan)]}, "NaN"),
        ("a.mp4", {"form": get_format("kit")}, "kit needs"),
    ],
)
def test_bad_input_is_refused(tmp_path: Path, walk: np.ndarray, name: str, options: dict, match: str) -> None:
    with pytest.raises(UserError, match=match):
        render_video(tmp_path / name, **{"motions": [walk], "fps": 20, **options})
    assert not list(tmp_path.iterdir())


def test_unwritable_places_are_refused(tmp_path: Path, walk: np.ndarray) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        render_video(tmp_path / "file" / "a.mp4", [walk], 20)
    with pytest.raises(UserError, match="cannot write"):
        render_sequence(tmp_path / "file" / "a.png", walk, 20)
    if os.geteuid() != 0:
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
        with pytest.raises(UserError, match="cannot write"):
            render_video(locked / "a.mp4", [walk], 20)


def test_comparison_refuses_wrong_counts(tmp_path: Path, walk: np.ndarray) -> None:
    with pytest.raises(UserError, match="at least one"):
        render_video(tmp_path / "a.mp4", [], 20)
    with pytest.raises(UserError, match="1 labels for 2 motions"):
        render_video(tmp_path / "a.mp4", [walk, walk], 20, labels=["one"])


def test_rendering_is_quick(tmp_path: Path) -> None:
    """120 frames at 480p: at most 3 s on two idle cores; counted here as processor time of the painter."""
    joints = make_walk(frames=120)
    render_video(tmp_path / "warm.mp4", [joints[:2]], 20)
    start = time.process_time()
    path = render_video(tmp_path / "walk.mp4", [joints], 20, "a person walks")
    assert time.process_time() - start < 5
    assert re.search(r"Duration: 00:00:06\.00", probe(path))
