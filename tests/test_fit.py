"""fit.py: a body model file made here, motions made from it, and what is refused."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from utils.errors import UserError
from utils.formats import get_format
from visualization.smpl_model import find_body_model, read_body_model

ROOT = Path(__file__).resolve().parents[1]
N_JOINTS, N_SHAPES = 24, 10
CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * 0.03
CUBE_FACES = np.array(
    [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4]]
    + [[1, 5, 7], [1, 7, 3]]
)
needs_smplx = pytest.mark.skipif(
    subprocess.run([sys.executable, "-c", "import smplx"], capture_output=True).returncode != 0,
    reason="smplx is not installed (requirements-smpl.txt)",
)


def body_arrays() -> dict[str, np.ndarray]:
    """A body of 24 small cubes, one a joint, in the format of the published SMPL files."""
    skeleton = get_format("humanml3d")
    parents = [*skeleton.parents, 20, 21]
    rest = np.zeros((N_JOINTS, 3))
    x, y, z = np.eye(3)
    for joint in range(1, N_JOINTS):
        name = skeleton.joint_names[joint] if joint < 22 else ("left_hand", "right_hand")[joint - 22]
        side = x if name.startswith("left") else -x
        if name.endswith(("shoulder", "elbow", "wrist", "hand")):
            direction = side
        elif name.endswith(("hip", "collar")):
            direction = 0.8 * side + (0.6 if name.endswith("collar") else -0.6) * y
        elif name.endswith("foot"):
            direction = 0.9 * z - 0.44 * y
        else:
            direction = -y if name.endswith(("knee", "ankle")) else y
        rest[joint] = rest[parents[joint]] + (skeleton.bone_lengths[joint] if joint < 22 else 0.08) * direction
    generator = np.random.default_rng(0)
    bones = rest - rest[np.array(parents)]
    bones[0] = 0
    shapes = np.zeros((N_JOINTS, 3, N_SHAPES))
    for shape in range(N_SHAPES):
        stretch = 0.03 * (np.ones(N_JOINTS) if shape == 0 else generator.normal(size=N_JOINTS))
        for joint in range(1, N_JOINTS):
            shapes[joint, :, shape] = shapes[parents[joint], :, shape] + stretch[joint] * bones[joint]
    vertices = (rest[:, None] + CUBE).reshape(-1, 3)
    owner = np.repeat(np.arange(N_JOINTS), len(CUBE))
    regressor = (owner == np.arange(N_JOINTS)[:, None]) / len(CUBE)
    return {
        "v_template": vertices,
        "shapedirs": shapes[owner],
        "posedirs": 1e-3 * generator.normal(size=(len(vertices), 3, 9 * (N_JOINTS - 1))),
        "J_regressor": regressor,
        "kintree_table": np.array([[2**32 - 1, *parents[1:]], range(N_JOINTS)], dtype=np.uint32),
        "weights": (owner[:, None] == np.arange(N_JOINTS)).astype(np.float64),
        "f": np.concatenate([CUBE_FACES + 8 * joint for joint in range(N_JOINTS)]).astype(np.uint32),
    }


@pytest.fixture(scope="module")
def body_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("body") / "SMPL_NEUTRAL.npz"
    np.savez(path, **body_arrays())
    return path


def made_motion(body_file: Path, frames: int, seed: int = 0, turns: float = 1.0) -> np.ndarray:
    """Joints (T, 22, 3) of the model itself: smooth limbs, a walk along a curve with `turns` full turns."""
    import torch

    from visualization.smpl_model import load_body_model

    model = load_body_model(body_file)
    generator = np.random.default_rng(seed)
    time = np.linspace(0, 1, frames)[:, None, None]
    phase = 2 * np.pi * (generator.uniform(0.5, 2, (1, 23, 3)) * time + generator.uniform(size=(1, 23, 3)))
    size = np.full((23, 1), 0.15)
    size[[0, 1, 3, 4, 15, 16, 17, 18]] = 0.7  # hips, knees, shoulders, elbows
    pose = size * np.sin(phase)
    pose[:, [19, 20, 21, 22]] = 0
    heading = 2 * np.pi * turns * time[:, 0]
    transl = np.concatenate([2 * time[:, 0], 0.9 + 0.05 * np.sin(9 * time[:, 0]), np.sin(3 * time[:, 0])], axis=1)
    tensors = {
        "global_orient": np.concatenate([0 * heading, heading, 0 * heading], axis=1),
        "body_pose": pose.reshape(frames, -1),
        "betas": np.tile(generator.normal(size=N_SHAPES), (frames, 1)),
        "transl": transl,
    }
    with torch.no_grad():
        output = model(**{name: torch.as_tensor(value, dtype=torch.float32) for name, value in tensors.items()})
    return output.joints[:, :22].numpy()


def run_fit(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "fit", "--cuda", "cpu", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, env=environment)


@needs_smplx
def test_command_fits_a_folder(body_file: Path, tmp_path: Path) -> None:
    """The joints of the written parameters and of the written mesh lie within 2 cm of the given ones."""
    import torch

    from visualization.smpl_model import load_body_model

    motions = {"walk": made_motion(body_file, 40), "spin": made_motion(body_file, 40, seed=1, turns=3.0)}
    (tmp_path / "in" / "00_spin").mkdir(parents=True)
    np.save(tmp_path / "in" / "walk.npy", motions["walk"])
    np.save(tmp_path / "in" / "00_spin" / "joints.npy", motions["spin"])
    result = run_fit("--dir", tmp_path / "in", "--save_folder", tmp_path / "out", "--body_model", body_file.parent)
    assert result.returncode == 0, result.stderr
    assert "fitting" in result.stderr and "walk: 40 frames, mean joint error" in result.stdout
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["00_spin_mesh.npy", "00_spin_smpl.npz", "walk_mesh.npy", "walk_smpl.npz"]

    model = load_body_model(body_file)
    for name, joints in (("walk", motions["walk"]), ("00_spin", motions["spin"])):
        with np.load(tmp_path / "out" / f"{name}_smpl.npz") as file:
            found = {key: file[key] for key in file.files}
        assert found["poses"].shape == (len(joints), 72) and found["betas"].shape == (N_SHAPES,) and found["fps"] == 20
        poses = torch.as_tensor(found["poses"])
        output = model(
            global_orient=poses[:, :3],
            body_pose=poses[:, 3:],
            betas=torch.as_tensor(found["betas"]).expand(len(joints), -1),
            transl=torch.as_tensor(found["trans"]),
        )
        error = np.linalg.norm(output.joints[:, :22].numpy() - joints, axis=-1)
        assert error.mean() < 0.02
        mesh = np.load(tmp_path / "out" / f"{name}_mesh.npy")
        assert mesh.dtype == np.float32
        np.testing.assert_allclose(mesh, output.vertices.numpy(), atol=1e-4)


@needs_smplx
@pytest.mark.parametrize("frames", [1, 2, 4])
def test_short_motions(body_file: Path, frames: int) -> None:
    from visualization.smpl_fit import fit_motion, mesh_of
    from visualization.smpl_model import load_body_model

    model = load_body_model(body_file)
    fitted = fit_motion(made_motion(body_file, 40)[:frames], model, iterations=20)
    assert fitted.joint_error < 0.02 and mesh_of(fitted, model).shape == (frames, 192, 3)


@needs_smplx
def test_noise_is_smoothed_and_planted_feet_stand(body_file: Path) -> None:
    """With 1 cm of noise on a figure that stands, the fit is nearer to the truth and its feet move less."""
    from visualization.smpl_fit import fit_motion, mesh_of
    from visualization.smpl_model import load_body_model

    model = load_body_model(body_file)
    truth = np.repeat(made_motion(body_file, 1), 30, axis=0)
    noisy = truth + 0.01 * np.random.default_rng(0).normal(size=truth.shape)
    mesh = mesh_of(fit_motion(noisy, model), model)
    found = mesh.reshape(30, N_JOINTS, 8, 3).mean(axis=2)[:, :22]
    assert np.linalg.norm(found - truth, axis=-1).mean() < 0.8 * np.linalg.norm(noisy - truth, axis=-1).mean()
    feet = [7, 8, 10, 11]
    slide = np.linalg.norm(np.diff(found[:, feet], axis=0), axis=-1).mean()
    assert slide < 0.5 * np.linalg.norm(np.diff(noisy[:, feet], axis=0), axis=-1).mean()


@needs_smplx
def test_turns_are_continuous() -> None:
    """Axis-angles of a body that turns steadily past half a turn do not jump."""
    from visualization.smpl_fit import axis_angles

    angle = np.linspace(0, 1.9 * np.pi, 60)
    cosine, sine, zero, one = np.cos(angle), np.sin(angle), np.zeros(60), np.ones(60)
    matrices = np.stack([cosine, zero, sine, zero, one, zero, -sine, zero, cosine], axis=-1).reshape(60, 3, 3)
    np.testing.assert_allclose(axis_angles(matrices), np.stack([zero, angle, zero], axis=-1), atol=1e-6)


def test_published_pickle_is_read_without_running_it(tmp_path: Path) -> None:
    """Python 2 pickles with sparse matrices load; anything else in a pickle is refused and not run."""
    sparse = pytest.importorskip("scipy.sparse")
    arrays = body_arrays()
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    content = {**arrays, "J_regressor": sparse.csc_matrix(arrays["J_regressor"]), "bs_type": "lrotmin"}
    path.write_bytes(pickle.dumps(content, protocol=2))
    assert find_body_model(tmp_path) == path
    found = read_body_model(path)
    for key in ("v_template", "J_regressor", "weights"):
        np.testing.assert_allclose(found[key], arrays[key])

    class Bad:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    path.write_bytes(pickle.dumps({**arrays, "bs_type": Bad()}))
    with pytest.raises(UserError, match="system"):
        read_body_model(path)
    assert not (tmp_path / "ran").exists()


class Sparse:
    """Says that it is a matrix of SciPy with another content."""

    def __init__(self, **content: object) -> None:
        self.content = content

    def __reduce__(self) -> tuple[object, ...]:
        return pytest.importorskip("scipy.sparse").csc_matrix, (), self.content


COLUMNS = {"indptr": np.array([0, 1]), "indices": np.array([0]), "data": np.ones(1)}
TREE = body_arrays()["kintree_table"]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("J_regressor", Sparse(_shape=(1 << 20, 1 << 20), **COLUMNS), "contradicts itself or is larger"),
        (
            "J_regressor",
            Sparse(_shape=(24, 192), **(COLUMNS | {"indptr": np.array([0, 1 << 40])})),
            "contradicts itself",
        ),
        ("J_regressor", Sparse(_shape=(24, 192), **(COLUMNS | {"indices": np.array([99])})), "out of bounds"),
        ("J_regressor", Sparse(_shape=(24, 192)), "indptr"),
        ("kintree_table", np.stack([np.roll(TREE[0], 3), TREE[1]]), "do not hang on joints before them"),
        ("kintree_table", -TREE.astype(np.int64), "do not hang on joints before them"),
        ("f", np.array([[0, 1, -1]]), "its faces do not fit"),
        ("f", np.array([[0, 1, np.nan]]), "NaN or infinity"),
        ("v_template", np.array(3.0), "shape"),
        ("weights", np.array(["a"]), "stands where numbers are meant"),
        ("shapedirs", {"a": 1}, "stand"),
        ("shapedirs", [[1], [1, 2]], "no SMPL body model"),
    ],
)
def test_bodies_that_contradict_themselves_are_refused(key: str, value: object, words: str, tmp_path: Path) -> None:
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(pickle.dumps(body_arrays() | {key: value}, 2))
    with pytest.raises(UserError, match=words):
        read_body_model(path)


def test_arrays_of_python_2_and_of_other_machines_are_read(tmp_path: Path) -> None:
    """As published: texts in place of bytes, and numbers in another order of bytes."""
    arrays = body_arrays()
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    turned = {**arrays, "weights": arrays["weights"].astype(">f4"), "f": np.asfortranarray(arrays["f"].astype(">u4"))}
    for protocol in (0, 2, 4):
        path.write_bytes(pickle.dumps(turned, protocol))
        found = read_body_model(path)
        np.testing.assert_allclose(found["weights"], arrays["weights"], atol=1e-6)
        np.testing.assert_array_equal(found["f"], arrays["f"])
        assert found["weights"].dtype.isnative


@pytest.mark.parametrize("content", [b"", b"not a model", pickle.dumps([1, 2])])
@pytest.mark.parametrize("suffix", [".npz", ".pkl"])
def test_foreign_body_files(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"SMPL_NEUTRAL{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match="SMPL_NEUTRAL"):
        read_body_model(path)


def test_body_file_of_another_model(tmp_path: Path) -> None:
    arrays = body_arrays()
    np.savez(tmp_path / "a.npz", **{**arrays, "weights": arrays["weights"][:, :22]})
    with pytest.raises(UserError, match="weights has shape"):
        read_body_model(tmp_path / "a.npz")
    del arrays["shapedirs"]
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match="lacks shapedirs"):
        read_body_model(tmp_path / "a.npz")


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 2, result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), result.stderr
    return lines[0]


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    """Missing and empty folders, wrong shapes and NaN; nothing is written."""
    out = tmp_path / "out"
    assert "missing" in one_line(run_fit("--dir", tmp_path / "none", "--save_folder", out))
    (tmp_path / "in").mkdir()
    assert "no motion" in one_line(run_fit("--dir", tmp_path / "in", "--save_folder", out))
    np.save(tmp_path / "in" / "a.npy", np.zeros((4, 21, 3)))
    assert "a.npy" in one_line(run_fit("--dir", tmp_path / "in", "--save_folder", out))
    np.save(tmp_path / "in" / "a.npy", np.full((4, 22, 3), np.nan))
    assert "frame 0" in one_line(run_fit("--dir", tmp_path / "in", "--save_folder", out))
    assert "--cuda" in one_line(run_fit("--dir", tmp_path / "in", "--cuda", "gpu"))
    assert not out.exists()


@needs_smplx
def test_missing_body_model_says_where_it_belongs(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(3, 22, 3)))
    message = one_line(run_fit("--dir", tmp_path, "--save_folder", tmp_path / "out", "--body_model", tmp_path / "no"))
    assert str(tmp_path / "no" / "SMPL_NEUTRAL.npz") in message


def test_missing_package_names_the_pip_line(tmp_path: Path) -> None:
    """With smplx hidden, the command says how to install it."""
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(3, 22, 3)))
    code = (
        "import sys; sys.modules['smplx'] = None; sys.argv = ['fit', '--dir', sys.argv[1], '--cuda', 'cpu'];"
        "import runpy; runpy.run_module('fit', run_name='__main__')"
    )
    result = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert "pip install -r requirements-smpl.txt" in one_line(result)
