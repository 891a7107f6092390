"""The package: what a wheel holds, that it works beside a user's own modules, and the one command for all scripts."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from remomask.checkout import BESIDE, MODULES, ROOMS, files, rewritten
from remomask.commands import COMMANDS
from tests.test_architecture import ROOMS as ALL_ROOMS

ROOT = Path(__file__).parents[1]
PROMPT = "a person waves"
STAGES = "vq, tmr, mtrans, rtrans, length, evaluator"


def run(code: list[str], place: Path, path: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """A Python process in a folder, which finds the package in another one."""
    environment = os.environ | {"PYTHONPATH": str(path), "OMP_NUM_THREADS": "1", **changes}
    return subprocess.run(
        [sys.executable, *code], cwd=place, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder of a user whose modules are called as ours are."""
    folder = tmp_path / "mine 動き"
    for name in MODULES:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"raise SystemExit('the user has a module {name}')")
    return folder


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from utils.errors import UserError", "from remomask.utils.errors import UserError"),
        ("if x:\n    from data import clips", "if x:\n    from remomask.data import clips"),
        ("from utils.a import (\n    b,\n)", "from remomask.utils.a import (\n    b,\n)"),
        ("import utils.a as a, os, data as d", "import remomask.utils.a as a, os, remomask.data as d"),
        ("é = 'from utils.errors import x'; from utils import e", None),
        ("from utilities import x\nfrom .utils import y\nimport database", None),
        ("'''a\x0cb\u2028c'''\nfrom utils import e", "'''a\x0cb\u2028c'''\nfrom remomask.utils import e"),
        ("'run python demo.py --x, demo.py or x/demo.py'", "'run remomask demo --x, remomask demo or x/demo.py'"),
        ("'python -m data.check, python -m fit'", "'remomask check, remomask fit'"),
        ("'python -m utils.launch, python -m spacy'", "'python -m remomask.utils.launch, python -m spacy'"),
        ("'blender --python render.py'", None),
        ('"pip install -r requirements-app.txt"', "\"pip install 'remomask[app]'\""),
    ],
)
def test_a_module_is_rewritten_where_it_names_ours_and_nowhere_else(source: str, expected: str | None) -> None:
    if source.startswith("é"):
        expected = "é = 'from utils.errors import x'; from remomask.utils import e"
    assert rewritten(source) == (source if expected is None else expected)


def test_an_import_that_cannot_be_renamed_is_refused() -> None:
    with pytest.raises(SyntaxError, match="utils.errors as another name"):
        rewritten("import utils.errors")


def test_the_package_has_every_room_and_script_and_imports_no_module_of_another_name() -> None:
    assert set(ROOMS) == set(ALL_ROOMS)
    scripts = {path.stem for path in ROOT.glob("*.py")} - {"setup"}
    assert scripts == MODULES - set(ROOMS), "a script has no command"
    for path, place in files():
        if path.suffix != ".py":
            continue
        text = rewritten(path.read_text(encoding="utf-8"))
        for node in ast.walk(ast.parse(text)):
            names = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            names += [name.name for name in node.names] if isinstance(node, ast.Import) else []
            assert not MODULES & {name.split(".")[0] for name in names}, place
        assert text.count("\n") == path.read_text(encoding="utf-8").count("\n")
        for word in ("import_module(", "__import__("):
            assert word not in text or "__name__" in text or place.parts[0] in ("commands.py", "__init__.py"), place


def test_an_image_is_made_of_all_that_the_package_is_made_of() -> None:
    kept = (ROOT / ".dockerignore").read_text().split()
    needed = {f"!{name}" for name in (*ROOMS, *BESIDE, "remomask", "*.py", "requirements*", "README.md", "LICENSE")}
    assert kept[-2:] == ["**/__pycache__", "**/eval"] and "*" in kept and needed <= set(kept)
    locks = re.findall(r"requirements[\w-]*\.lock", (ROOT / "Dockerfile").read_text())
    assert set(locks) == {f"requirements{name}.lock" for name in ("", "-app", "-cpu", "-cuda")}
    assert all((ROOT / name).exists() for name in locks)


def test_every_command_has_the_usage_of_its_name_and_a_wrong_one_is_one_line(tmp_path: Path) -> None:
    code = """
import importlib, sys, contextlib, io
from remomask.commands import COMMANDS, main
for command in [*COMMANDS, "", "dmeo", "train", "train vp"]:
    sys.argv = ["x", *command.split(), *(["--help"] if command in COMMANDS else [])]
    with contextlib.redirect_stdout(io.StringIO()) as told, contextlib.redirect_stderr(sys.stdout):
        try:
            main()
            code = 0
        except SystemExit as exit:
            code = exit.code
    print(code, told.getvalue()[:200].splitlines()[:1], flush=True)
print({"torch", "matplotlib"} & set(sys.modules))
"""
    result = run(["-c", code], tmp_path, ROOT)
    *lines, heavy = result.stdout.splitlines()
    assert heavy == "set()", result.stdout + result.stderr
    for command, line in zip(COMMANDS, lines, strict=False):
        assert line.startswith(f"0 ['usage: remomask {command} ["), line
    assert lines[len(COMMANDS) :] == [
        "0 ['usage: remomask COMMAND [OPTIONS]']",
        f"2 {['error: remomask has no command {!r}: is demo meant? (see remomask --help)'.format('dmeo')]}",
        f"2 ['error: remomask train needs one of {STAGES} (see remomask --help)']",
        f"2 {[f'error: remomask train needs one of {STAGES}, not {chr(39)}vp{chr(39)} (see remomask --help)']}",
    ]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[str], Path]:
    """The names of the files in an sdist, in the wheel that is made of it, and the folder that this is installed in."""
    folder = tmp_path_factory.mktemp("package")
    tree, made = folder / "tree", folder / "made"
    tree.mkdir()
    for name in (path.name for path in ROOT.iterdir() if not path.name.startswith(".")):
        if name not in ("logs", "outputs", "dataset", "database", "build"):
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, tree / name)
    for junk in ("dataset/mine/x.npy", "logs/mini/vq/x.tar", "outputs/demo/x.bvh", "build/lib/remomask/gone.py"):
        (tree / junk).parent.mkdir(parents=True, exist_ok=True)
        (tree / junk).write_text("junk")
    code = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    sdist = subprocess.run([sys.executable, "-c", code, str(made)], cwd=tree, capture_output=True, text=True)
    assert sdist.returncode == 0, sdist.stderr
    (archive,) = made.glob("*.tar.gz")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    offline = ["--no-deps", "--no-index"]
    subprocess.run(
        [*pip, "wheel", *offline, "--no-build-isolation", "--wheel-dir", str(made), str(archive)], check=True
    )
    (wheel,) = made.glob("*.whl")
    installed = folder / "site"
    subprocess.run([*pip, "install", *offline, "--no-compile", "--target", str(installed), str(wheel)], check=True)
    with tarfile.open(archive) as source, zipfile.ZipFile(wheel) as content:
        return [name.partition("/")[2] for name in source.getnames()], content.namelist(), installed


def test_a_wheel_is_one_package_and_its_data_and_an_sdist_has_no_more_than_it_needs(
    built: tuple[list[str], list[str], Path],
) -> None:
    source, wheel, _ = built
    assert {name.split("/")[0] for name in wheel} == {"remomask", "remomask-0.1.0.dist-info"}
    assert {f"remomask/{place.as_posix()}" for _, place in files()} == {each for each in wheel if ".dist" not in each}
    assert "remomask/pretrained/open/config.json" not in wheel
    for needed in ("pretrained/open/vq/config.json", "utils/motion_formats/kit.json", "configs/render_mld.yaml"):
        assert f"remomask/{needed}" in wheel and needed in source
    tops = {name.split("/")[0] for name in source}
    assert not tops & {"tests", "dataset", "logs", "outputs", "benchmarks", "docs", "build", "slurm"}


def test_an_installed_package_makes_the_same_motion_beside_hostile_modules_and_writes_where_the_user_stands(
    built: tuple[list[str], list[str], Path], hostile: Path
) -> None:
    _, _, site = built
    before = sorted(site.rglob("*"))
    code = f"""
import sys
import remomask
assert "torch" not in sys.modules
from remomask import Motion, TextToMotion, UserError, canonicalize, metrics
motion = TextToMotion.load().generate([{PROMPT!r}], seed=7)[0]
for kind in ("bvh", "npy"):
    print(motion.save(f"here/wave.{{kind}}", foot_lock=True))
try:
    motion.save("wave.doc")
except UserError as error:
    print(error)
print([name for name in sys.modules if name.split(".")[0] in {sorted(MODULES)!r}])
"""
    quiet = {"PYTHONDONTWRITEBYTECODE": "1"}
    result = run(["-c", code], hostile, site, **quiet)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "here/wave.bvh",
        "here/wave.npy",
        "wave.doc has no suffix that says a format: there are .mp4, .gif, .png, .bvh, .glb, .fbx, .html, .npy",
        "[]",
    ]
    demo = ["-m", "remomask", "demo", "--text_prompt", PROMPT, "--seed", "7", "--formats", "npy", "--compare"]
    result = run(demo, hostile, site, **quiet)
    assert result.returncode == 0, result.stderr
    (joints,) = hostile.glob("outputs/demo/*/joints.npy")
    assert np.array_equal(np.load(joints), np.load(hostile / "here/wave.npy"))
    from pipeline import TextToMotion

    (own,) = TextToMotion.load(ROOT / "pretrained").generate([PROMPT], seed=7)
    assert np.array_equal(np.load(joints), own.joints)
    for wrong, told in (
        (["demo", "--checkpoints_dir", "logs"], "--text_prompt"),
        (["train", "vq", "--dataset_name", "none/such"], "remomask prepare"),
        (["inspect", "pretrained/none"], "pretrained/none is neither a run"),
    ):
        result = run(["-m", "remomask", *wrong], hostile, site, **quiet)
        assert result.returncode == 2 and result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
        assert told in result.stderr or wrong[0] == "train", result.stderr
    assert sorted(site.rglob("*")) == before


def test_a_checkout_is_the_same_package_from_any_folder(hostile: Path) -> None:
    code = """
import sys, remomask
from remomask import Motion, UserError, canonicalize
import remomask.pipeline.motion
assert remomask.pipeline.motion.UserError if hasattr(remomask.pipeline.motion, "UserError") else True
print(Motion.__module__, UserError.__module__, canonicalize.__module__, remomask.utils.__name__)
"""
    result = run(["-c", code], hostile, ROOT)
    told = "remomask.pipeline.motion remomask.utils.errors remomask.utils.representation remomask.utils"
    assert result.stdout.strip() == told, result.stderr
