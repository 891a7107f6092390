"""render.py: options, meshes, cameras, what is refused; and real pictures where `bpy` is installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from options.render import RenderOptions, parse_render_options, script_arguments
from pipeline.render_output import what_it_costs
from tests.visualization.motions import make_walk
from utils.blender import VARIABLE, blender_command
from utils.errors import UserError
from utils.formats import HUMANML3D, get_format
from visualization.body_mesh import capsule_rings, figure_of_joints, frame_times, read_mesh
from visualization.shot import FIELD_OF_VIEW, MARGIN, choose_azimuth, frame_points, sequence_offsets, sequence_times

ROOT = Path(__file__).resolve().parents[1]
CFG = ROOT / "configs" / "render_mld.yaml"
# bpy wants an environment of its own (see tests/render_check.sh): this variable names its interpreter.
BPY_PYTHON = os.environ.get("BPY_PYTHON") or (sys.executable if importlib.util.find_spec("bpy") else "")
needs_bpy = pytest.mark.skipif(not BPY_PYTHON, reason="bpy is not installed (requirements-render.txt)")


def run_render(*arguments: str | Path, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    command = [python, str(ROOT / "render.py"), "--", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=550)


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 2, result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), result.stderr
    return lines[0]


def write_mesh(folder: Path, frames: int = 3) -> Path:
    """What fit.py leaves behind, of a tetrahedron."""
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 1]], dtype=np.float32)
    np.save(folder / "a_mesh.npy", np.stack([vertices + [0.1 * frame, 0, 0] for frame in range(frames)]))
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    poses = np.zeros((frames, 72))
    poses[:, 1] = np.pi / 2
    np.savez(folder / "a_smpl.npz", faces=faces, poses=poses, betas=np.zeros(10), trans=np.zeros((frames, 3)), fps=20)
    return folder / "a_mesh.npy"


def test_arguments_of_blender_and_of_python() -> None:
    """Blender hands over its own arguments too; ours follow the bare `--`."""
    blender = ["blender", "--background", "--python", "render.py", "--", "--mode=video"]
    assert script_arguments(blender) == ["--mode=video"]
    assert script_arguments(["render.py", "--", "--mode=video"]) == ["--mode=video"]
    assert script_arguments(["render.py", "--mode=video"]) == ["--mode=video"]


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("---\n# a comment\nsamples: 4  # few\nmode: 'sequence'\ndenoise: false\nout: null\ndir: there\n")
    options = parse_render_options([f"--cfg={path}", "--samples=9", "--dir=here"])
    assert (options.samples, options.mode, options.denoise, options.out, options.dir) == (
        9,
        "sequence",
        False,
        None,
        "here",
    )
    assert parse_render_options(["--cfg", str(path), "--npy=a.npy"]).dir is None


def test_shipped_file_holds_the_defaults() -> None:
    """It documents every setting, so it must say what leaving it out would give."""
    assert parse_render_options([f"--cfg={CFG}", "--npy=a"]) == RenderOptions(cfg=str(CFG), npy="a")


@pytest.mark.parametrize("line", ["size: 3", "samples 3", "  - a", "denoise: perhaps", "cfg: other.yaml"])
def test_bad_lines_are_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.yaml").write_text(f"mode: video\n{line}\n")
    with pytest.raises(UserError, match="line 2"):
        parse_render_options([f"--cfg={tmp_path / 'a.yaml'}", "--npy=a"])


def test_options_need_nothing_but_the_standard_library() -> None:
    """Blender's Python has NumPy and no more; reading options and motions must not import torch, SciPy or PyYAML."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'scipy', 'yaml', 'tqdm', 'PIL', 'imageio_ffmpeg']));"
        "import options.render, pipeline.render_output, visualization.shot"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "missing" in one_line(run_render(f"--cfg={CFG}", f"--dir={tmp_path / 'none'}"))
    assert "no motion" in one_line(run_render(f"--cfg={CFG}", f"--dir={empty}"))
    assert "nowhere.yaml" in one_line(run_render("--cfg=nowhere.yaml", f"--dir={empty}"))
    assert "--mode" in one_line(run_render(f"--cfg={CFG}", f"--dir={empty}", "--mode=film"))
    assert "--dir" in one_line(run_render(f"--cfg={CFG}"))
    np.save(tmp_path / "a.npy", np.full((3, 22, 3), np.nan))
    assert "a.npy" in one_line(run_render(f"--npy={tmp_path / 'a.npy'}"))
    np.save(tmp_path / "a.npy", np.zeros((3, 22, 3)))
    assert "21" in one_line(run_render(f"--npy={tmp_path / 'a.npy'}", "--joint_type=kit"))
    (tmp_path / "a.npy").write_bytes(b"no array")
    assert "a.npy" in one_line(run_render(f"--npy={tmp_path / 'a.npy'}"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npy", "empty"]


@pytest.mark.skipif(blender_command() is not None, reason="Blender is here")
def test_missing_bpy_names_the_remedy(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", make_walk(frames=3))
    assert "setup_render.sh" in one_line(run_render(f"--dir={tmp_path}"))


@pytest.mark.skipif(importlib.util.find_spec("bpy") is not None, reason="bpy is installed")
def test_a_python_without_bpy_is_not_blender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, sys.executable)
    assert "no Python that has its module bpy" in one_line(run_render(f"--dir={tmp_path}"))


def test_preview_is_quick_unless_flags_say_otherwise(tmp_path: Path) -> None:
    """Its settings win over the file's, flags over them."""
    quick = parse_render_options([f"--cfg={CFG}", "--npy=a", "--preview"])
    assert (quick.width, quick.height, quick.samples, quick.frame_rate) == (480, 270, 4, 10)
    assert quick == parse_render_options(["--preview", f"--cfg={CFG}", "--npy=a"])
    assert parse_render_options(["--npy=a", "--samples=9", "--preview"]).samples == 9
    assert parse_render_options(["--npy=a", "--preview", "--no-preview"]).samples == 32
    (tmp_path / "a.yaml").write_text("preview: true\n")
    assert parse_render_options([f"--cfg={tmp_path / 'a.yaml'}", "--npy=a"]).samples == 4


def test_what_it_costs_is_told_in_words() -> None:
    options = RenderOptions(npy="a")
    assert (
        "about 12.0 s a frame (960 x 540, 32 light paths a pixel), 120 frames: 24 minutes; --preview"
        in what_it_costs(12, 120, options)
    )
    assert what_it_costs(2, 10, options).split(": ")[1].startswith("20 s")
    assert what_it_costs(60, 120, RenderOptions(npy="a", preview=True)).endswith("120 frames: 2.0 hours")


def test_mesh_files(tmp_path: Path) -> None:
    """Faces and heading come from the file beside; without it the error says which is missing."""
    figure, fps = read_mesh(write_mesh(tmp_path))
    assert figure.vertices.shape == (3, 4, 3) and figure.faces.shape == (4, 3) and fps == 20
    assert figure.front == pytest.approx(np.pi / 2)
    (tmp_path / "a_smpl.npz").unlink()
    with pytest.raises(UserError, match="a_smpl.npz is missing"):
        read_mesh(tmp_path / "a_mesh.npy")


def test_capsule_touches_both_spheres() -> None:
    """No vertex inside either sphere or outside their hull, and normals point outwards."""
    start, end = np.zeros((1, 3)), np.array([[0.3, 0.4, 0.0]])
    vertices = capsule_rings(start, end, 0.2, 0.1)[0]
    to_start, to_end = np.linalg.norm(vertices - start, axis=-1), np.linalg.norm(vertices - end, axis=-1)
    assert np.minimum(to_start - 0.2, to_end - 0.1).max() < 1e-9
    assert (to_start > 0.2 - 1e-9).all() and (to_end > 0.1 - 1e-9).all()


@pytest.mark.parametrize("dataset", ["humanml3d", "kit"])
def test_mannequin_is_closed_outwards_and_stands(dataset: str) -> None:
    from tests.visualization.motions import t_pose

    figure = figure_of_joints(t_pose(dataset)[None], get_format(dataset))
    corners = figure.vertices[0][figure.faces]
    normals = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    volume = (corners.mean(axis=1) * normals).sum() / 6
    assert 0.03 < volume < 0.3  # cubic metres; limbs overlap
    assert figure.vertices[0, :, 1].min() == pytest.approx(0, abs=1e-9)
    assert figure.front == pytest.approx(0, abs=1e-6) and len(figure.groups) == len(figure.faces)


@pytest.mark.parametrize("size", [(960, 540), (320, 640)])
def test_camera_sees_everything_and_no_more(size: tuple[int, int]) -> None:
    points = np.random.default_rng(0).normal(size=(200, 3)) * [3, 1, 0.5]
    shot = frame_points(points, 0.7, *size)
    right, up, near = shot.basis @ (points - shot.position).T
    slopes = np.abs(np.stack([right, up])) / -near
    limits = MARGIN * np.tan(FIELD_OF_VIEW / 2) * np.array(size) / max(size)
    assert (near < 0).all() and (slopes <= limits[:, None] + 1e-9).all()
    assert (slopes.max(axis=1) / limits).max() == pytest.approx(1)
    np.testing.assert_allclose(shot.basis @ shot.basis.T, np.eye(3), atol=1e-12)


def test_travel_crosses_the_picture() -> None:
    """A body that walks the way it faces is not filmed along its path."""
    path = np.linspace([0, 0, 0], [0, 0, 4], 20)
    assert abs(np.sin(choose_azimuth(path, front=0.0))) > 0.7


def test_sequence_spreads_a_body_that_stays() -> None:
    assert sequence_times(100, 5).tolist() == [0, 25, 50, 74, 99] and sequence_times(2, 7).tolist() == [0, 1]
    standing = np.zeros((4, 3))
    assert np.diff(sequence_offsets(standing, 1.0, 0.0)[:, 0]).min() > 1
    assert not sequence_offsets(np.linspace([0, 0, 0], [9, 0, 0], 4), 1.0, 0.0).any()


def test_frame_times() -> None:
    """Two seconds at 10 a second are 20 pictures, whatever the motion's own rate; one frame stays one."""
    assert len(frame_times(60, 20, 10, 2)) == 20 and frame_times(1, 20, 10, 0).tolist() == [0]
    assert len(frame_times(60, 20, 20, 0)) == 60
    walk = figure_of_joints(make_walk(frames=10), HUMANML3D)
    middle = walk.at(np.array([2.5]))
    np.testing.assert_allclose(middle.vertices[0], (walk.vertices[2] + walk.vertices[3]) / 2)


@needs_bpy
@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "name"), [("video", "walk"), ("sequence", "walk"), ("sequence", "a_mesh")], ids=lambda value: value
)
def test_pictures(tmp_path: Path, mode: str, name: str) -> None:
    """A tiny render of joints or of a mesh shows a figure on a pale floor."""
    if name == "walk":
        np.save(tmp_path / "walk.npy", make_walk(frames=3))
    else:
        write_mesh(tmp_path)
    small = ["--width=96", "--height=64", "--samples=2", "--poses=2", "--device=cpu"]
    places = [f"--dir={tmp_path}", f"--out={tmp_path / 'out'}"]
    result = run_render(f"--cfg={CFG}", *places, f"--mode={mode}", *small, python=BPY_PYTHON)
    assert result.returncode == 0, result.stderr
    target = tmp_path / "out" / (f"{name}.mp4" if mode == "video" else f"{name}_sequence.png")
    assert str(target) in result.stdout.splitlines()
    assert os.listdir(tmp_path / "out") == [target.name] and target.stat().st_size > 1000
    if mode == "sequence":
        with Image.open(target) as image:
            picture = np.asarray(image.convert("RGB"), dtype=float)
        assert picture.shape == (64, 96, 3)
        assert picture[:4].mean() > 150 and np.ptp(picture.mean(-1)) > 60
