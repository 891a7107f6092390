"""setup_env.sh with a package of our own: nothing of a user's is removed, everything lands in the right environment."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import utils.environment
from utils.environment import tell_progress

ROOT = Path(__file__).parents[1]
START = 'set -euo pipefail; source "$0/setup_env.sh" requirements.txt; python -c "import sys, tiny; print(sys.prefix)"'


def wheel(folder: Path, content: str = "") -> str:
    """Writes the package `tiny` into a folder; its hash."""
    files = {
        "tiny.py": content,
        "tiny-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1\nRequires-Dist: never-there\n",
        "tiny-1.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "tiny-1.dist-info/entry_points.txt": "[console_scripts]\ntiny = tiny:main\n",
    }
    record = "tiny-1.dist-info/RECORD"
    lines = [
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip('=')},{len(text)}"
        for name, text in files.items()
    ]
    path = folder / "tiny-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**files, record: "\n".join([*lines, f"{record},,\n"])}.items():
            archive.writestr(name, text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


MAIN = "import sys\ndef main():\n    print(sys.prefix)\n"


def project(folder: Path) -> Path:
    """The set-up alone, wanting `tiny`, as a clone in a folder."""
    (folder / "utils").mkdir(parents=True)
    shutil.copy(ROOT / "setup_env.sh", folder)
    shutil.copy(ROOT / "utils/environment.py", folder / "utils")
    (folder / "wheels").mkdir()
    (folder / "requirements.txt").write_text("tiny==1\n")
    (folder / "requirements.lock").write_text(f"tiny==1 --hash=sha256:{wheel(folder / 'wheels', MAIN)}\n")
    return folder


def environment(folder: Path, **changes: str) -> dict[str, str]:
    """As in a new shell; pip finds nothing but what is in the folder."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    kept["PATH"] = os.pathsep.join([os.path.dirname(os.path.realpath(sys.executable)), kept["PATH"]])
    return {
        **kept,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": (folder / "wheels").as_uri(),
        "PIP_CONFIG_FILE": "/dev/null",
        **changes,
    }


def start(folder: Path, script: str = START, **changes: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-c", script, str(folder)]
    return subprocess.run(
        command, cwd="/", env=environment(folder, **changes), capture_output=True, text=True, timeout=300
    )


def assert_works(folder: Path, result: subprocess.CompletedProcess[str], prefix: Path | None = None) -> None:
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.strip() == str(prefix or folder / ".venv"), "it works in another environment"


def assert_refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 2, result.stdout + result.stderr
    lines = [
        line for line in result.stderr.splitlines() if not line.startswith(("making", "installing", "WARNING", "  "))
    ]
    assert len(lines) == 1 and lines[0].startswith("error: "), result.stderr
    assert all(word in lines[0] for word in words), lines[0]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but Python's caches."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose environment is made, in a folder whose name is no plain word."""
    folder = project(tmp_path_factory.mktemp("set up") / "Bewegung 動き $x 'y'")
    assert_works(folder, start(folder))
    return folder


def test_a_second_start_installs_and_writes_nothing(made: Path) -> None:
    before = contents(made)
    result = start(made)
    assert_works(made, result)
    assert result.stderr == "" and contents(made) == before


def test_a_changed_lock_is_installed_and_another_file_is_refused_in_one_line(made: Path) -> None:
    lock = made / "requirements.lock"
    text = lock.read_text()
    stamp = (made / ".venv/.installed-requirements").read_text()
    try:
        shutil.rmtree(made / ".venv/lib" / next((made / ".venv/lib").iterdir()).name / "site-packages/tiny-1.dist-info")
        lock.write_text(re.sub("sha256:.*", "sha256:" + "0" * 64, text))
        result = start(made)
        assert_refused(result, "tiny==1", "requirements.lock")
        assert (made / ".venv/.installed-requirements").read_text() == stamp
        lock.write_text("# again\n" + text)
        assert_works(made, start(made))
    finally:
        lock.write_text(text)


@pytest.mark.parametrize("way", [shutil.move, shutil.copytree])
def test_a_moved_or_copied_folder_works_in_its_own_environment(made: Path, tmp_path: Path, way: object) -> None:
    first = tmp_path / "first"
    shutil.copytree(made, first, symlinks=True)
    assert_works(first, start(first))
    second = tmp_path / "the second"
    shutil.copytree(first, second, symlinks=True)
    if way is shutil.move:
        shutil.rmtree(first)
    before = contents(first)
    (second / "requirements.lock").write_text((made / "requirements.lock").read_text() + "# so that it installs\n")
    # Activated by its own script, which still names the first one's place.
    result = start(
        second, VIRTUAL_ENV=str(first / ".venv"), PATH=f"{first / '.venv/bin'}:{environment(second)['PATH']}"
    )
    assert_works(second, result)
    assert contents(first) == before, "the original was touched"
    assert subprocess.run([second / ".venv/bin/tiny"], capture_output=True, text=True).stdout.strip() == str(
        second / ".venv"
    )
    activated = subprocess.run(
        ["bash", "-c", 'source "$0/.venv/bin/activate" && python -c "import sys; print(sys.prefix)"', str(second)],
        capture_output=True,
        text=True,
    )
    assert activated.stdout.strip() == str(second / ".venv")


def test_an_environment_of_the_users_without_pip_is_kept_and_used(tmp_path: Path) -> None:
    folder = project(tmp_path / "clone")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / ".venv"], check=True)
    (folder / ".venv/mine").write_text("mine")
    assert_works(folder, start(folder))
    assert (folder / ".venv/mine").read_text() == "mine"


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link", "no environment", "too old", "broken"])
def test_what_is_no_environment_is_refused_and_kept(tmp_path: Path, kind: str) -> None:
    folder = project(tmp_path / "clone")
    place, python = folder / ".venv", folder / ".venv/bin/python"
    if kind == "file":
        place.write_text("mine")
    elif kind == "dangling link":
        place.symlink_to("nowhere")
    else:
        python.parent.mkdir(parents=True)
        (place / "mine").write_text("mine")
    if kind == "no environment":
        python.symlink_to(os.path.realpath(sys.executable))
    elif kind == "too old":
        python.write_text(f"#!/bin/sh\necho 'True False 3.8' \"'{place}'\"\n")
        python.chmod(0o755)
    elif kind == "broken":
        python.symlink_to("/usr/bin/python-that-is-gone")
    before = contents(folder)
    assert_refused(start(folder), str(place), "move it away")
    after = {name: data for name, data in contents(folder).items() if name != ".venv.lock"}
    assert after == before and os.path.lexists(place)


def test_an_active_environment_is_used_and_one_that_is_gone_is_named(made: Path, tmp_path: Path) -> None:
    folder = project(tmp_path / "clone")
    active = made / ".venv"
    assert_works(folder, start(folder, VIRTUAL_ENV=str(active)), prefix=active)
    assert_works(folder, start(folder, CONDA_PREFIX=str(active), CONDA_DEFAULT_ENV="mine"), prefix=active)
    assert not (folder / ".venv").exists()
    assert_refused(start(folder, VIRTUAL_ENV=str(tmp_path / "gone")), str(tmp_path / "gone"), "deactivate")


def test_two_starts_at_once_and_one_that_was_killed_make_one_environment(tmp_path: Path) -> None:
    folder = project(tmp_path / "clone")
    command = ["bash", "-c", START, str(folder)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    first = subprocess.Popen(command, env=environment(folder), start_new_session=True, **pipes)
    try:
        deadline = time.monotonic() + 60
        while not (folder / ".venv/bin/python").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
    (folder / ".venv/half").touch()
    both = [subprocess.Popen(command, env=environment(folder), **pipes) for _ in range(2)]
    said = [each.communicate(timeout=300) for each in both]
    assert [each.returncode for each in both] == [0, 0], said
    assert {out.strip() for out, _ in said} == {str(folder / ".venv")}
    assert sum("making" in err and "again" in err for _, err in said) == 1, said
    assert sum("waiting for it" in err for _, err in said) == 1, said
    assert not (folder / ".venv/half").exists()


def test_a_look_that_meets_another_start_at_work_is_repeated_under_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is being removed looks ready for a moment: its marker goes before its Python does."""
    folder = project(tmp_path / "clone")
    for name, value in environment(folder).items():
        monkeypatch.setenv(name, value)
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    seen = []
    monkeypatch.setattr(utils.environment, "_is_ready", lambda place: not seen and (seen.append(place) or True))
    assert utils.environment.set_up(folder, ["requirements.txt"]) == folder / ".venv"
    assert seen and (folder / ".venv/bin/tiny").exists()


@pytest.fixture
def for_all() -> Iterator[Path]:
    """A folder that every user can enter."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def test_a_folder_that_cannot_be_written_is_named(for_all: Path) -> None:
    folder = project(for_all / "clone")
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode & 0o555)
    try:
        other = (lambda: os.setuid(65534)) if os.geteuid() == 0 else None
        python = shutil.which("python3", path="/usr/bin:/bin") or sys.executable
        result = subprocess.run(
            [python, "-I", folder / "utils/environment.py", folder, "requirements.txt"],
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            preexec_fn=other,
        )
        assert_refused(result, str(folder), "Permission denied")
    finally:
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)


def test_the_lock_files_are_those_of_the_requirements_files() -> None:
    """Who changes a version and forgets `bash .ci/lock` sees it here."""
    for name in ("", "-dev", "-app"):
        lock = (ROOT / f"requirements{name}.lock").read_text()
        pins = re.findall(r"^([\w.-]+)==(\S+)", lock, re.MULTILINE)
        for package, version in re.findall(
            r"^([\w.-]+)==([^\s;]+)", (ROOT / f"requirements{name}.txt").read_text(), re.M
        ):
            assert (package, version) in pins, f"requirements{name}.lock has another {package}: run bash .ci/lock"
        blocks = re.split(r"^(?=[\w.-]+==)", lock, flags=re.MULTILINE)[1:]
        assert all("--hash=sha256:" in block for block in blocks)
        assert "://" not in lock, "a lock file names an address"


def test_what_takes_long_of_an_installation_is_told(capsys: pytest.CaptureFixture) -> None:
    tell_progress(
        [
            "Collecting torch==2.13.0 (from -r requirements.lock (line 7))\n",
            "  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (190.3 MB)\n",
            "  Downloading https://index.example/simple/cudnn-9.whl (2.1 GB)\n",
            "  Downloading tqdm-4.70.1-py3-none-any.whl (78 kB)\n",
            "  Downloading networkx-3.4-py3-none-any.whl (1.7 MB)\n",
            "Installing collected packages: torch, tqdm, networkx\n",
        ]
    )
    assert capsys.readouterr().err.splitlines() == [
        "  torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl, 190.3 MB",
        "  cudnn-9.whl, 2.1 GB",
        "  putting 3 packages in place",
    ]
