"""Finds or makes the environment that the shell scripts run in, and installs what they need: `setup_env.sh` runs this.

Standard library alone, and nothing else of this project: it runs before anything is installed. The environment's folder
goes to stdout, what people read to stderr; a refusal is one line and exit code 2. Nothing of a user's is ever removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

MAKING = ".remomask-making"  # in an environment of ours as long as it is being made: only such a one is made again
PLACES = ".remomask-places"  # in an environment of ours: where it is, then where it was when it was moved or copied
# What a user's settings of pip could do to an installation into an environment: put it elsewhere.
REDIRECTIONS = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER")
LOOK = """
import os, sys
same = os.path.exists(sys.argv[1]) and os.path.samefile(sys.prefix, sys.argv[1])
print(same, sys.version_info >= (3, 10), "%d.%d" % sys.version_info[:2], ascii(sys.prefix))
"""
# Exit code 3: torch is not there. 4: it lacks what its metadata name; the public build for Linux needs CUDA libraries.
TORCH = """
import re
from importlib.metadata import distributions, requires
plain = lambda name: re.sub("[-_.]+", "-", name).lower()
there = {plain(each.name) for each in distributions()}
if "torch" not in there:
    raise SystemExit(3)
from packaging.requirements import Requirement
wanted = [Requirement(line) for line in requires("torch")]
wanted = [each for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})]
raise SystemExit(4 * any(plain(each.name) not in there for each in wanted))
"""


class Refusal(Exception):
    """What cannot be mended here, in one line."""


def say(text: str) -> None:
    """One line for people."""
    print(text, file=sys.stderr, flush=True)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    """A command and what it says. It keeps the lock: who kills this process may leave the command at work."""
    return subprocess.run(command, close_fds=False, capture_output=True, text=True, errors="replace")


def set_up(root: Path, files: list[str]) -> Path:
    """The environment, with the requirements files of the folder `root` installed.

    Raises:
        Refusal: it cannot be made or used.
    """
    environment = _active(root)
    own = environment is None
    environment = environment or root / ".venv"
    if _is_complete(environment, own, root, files):
        return environment
    with _locked(root / ".venv.lock" if own else environment / ".remomask.lock"):
        if own:
            _make_ready(environment)
        for file in _missing(environment, root, files):
            _install(environment, root, file)
    return environment


def _active(root: Path) -> Path | None:
    """The environment that the user has activated; None: `.venv` is to be used."""
    name = "VIRTUAL_ENV" if os.environ.get("VIRTUAL_ENV") else "CONDA_PREFIX"
    active = os.environ.get(name)
    # Conda activates its base environment by itself: that is nobody's choice.
    if not active or (name == "CONDA_PREFIX" and os.environ.get("CONDA_DEFAULT_ENV", "base") == "base"):
        return None
    own = root / ".venv"
    if active in _places(own) and not _is_same(active, own):
        say(f"note: the active environment {active} is where {own} was moved or copied from: {own} is used")
        return None
    if not os.path.exists(os.path.join(active, "bin", "python")):
        raise Refusal(f"the active environment {active} ({name}) has no Python: `deactivate` it, then start again")
    return Path(active)


def _is_complete(environment: Path, own: bool, root: Path, files: list[str]) -> bool:
    """Whether there is nothing to do; seen without the lock, so that most starts need none."""
    try:
        return (not own or _is_ready(environment)) and not _missing(environment, root, files)
    except Refusal:
        # Another start may be removing or making `.venv` under our eyes: under the lock it is seen as it is.
        if own:
            return False
        raise


def _is_ready(environment: Path) -> bool:
    """Whether `.venv` is complete and in its place."""
    places = _places(environment)
    made = (environment / "bin/python").exists() and not (environment / MAKING).exists()
    return made and (not places or _is_same(places[0], environment))


def _make_ready(environment: Path) -> None:
    """Makes `.venv`, or puts right one of ours that was moved or copied."""
    if (environment / MAKING).exists():
        say(f"making {environment} again: an earlier start was ended while it made it")
        shutil.rmtree(environment)
    if not os.path.lexists(environment) or (environment.is_dir() and not any(environment.iterdir())):
        _make(environment)
    places = _places(environment)
    if places and not _is_same(places[0], environment):
        _move_in(environment, places)


def _make(environment: Path) -> None:
    say(f"making {environment}")
    environment.mkdir(exist_ok=True)
    (environment / MAKING).touch()
    command = [sys.executable, "-I", "-m", "venv", str(environment)]
    made = _run(*command)
    if made.returncode and os.geteuid() == 0 and shutil.which("apt-get"):
        # Debian and Ubuntu ship Python without ensurepip.
        _run("apt-get", "update", "-qq")
        _run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq", "python3-venv")
        made = _run(*command)
    if made.returncode:
        shutil.rmtree(environment, ignore_errors=True)
        reason = " ".join((made.stdout + made.stderr).split()[-30:])
        remedy = "install its venv package (Debian, Ubuntu: python3-venv)" if "ensurepip" in reason else reason
        raise Refusal(f"{sys.executable} cannot make {environment}: {remedy}")
    (environment / PLACES).write_bytes(os.fsencode(environment) + b"\n")
    (environment / MAKING).unlink()


def _move_in(environment: Path, places: list[str]) -> None:
    """Makes `activate` and the programs of a moved or copied environment name the place where it is."""
    say(f"note: {environment} was made as {places[0]}: its programs are told the new place")
    _look(environment)
    if _run(_python(environment), "-I", "-m", "venv", "--without-pip", str(environment)).returncode:
        raise Refusal(f"{environment} was made as {places[0]} and cannot be moved: move it away, then start again")
    header = b"""#!/bin/sh\n'''exec' "%s" "$0" "$@"\n' '''\n"""  # pip's own, for any folder name
    old = b"|".join(re.escape(os.fsencode(place)) for place in places)
    first = re.compile(rb"\A#!(/bin/sh\n'''exec' \"?)?(?:" + old + rb")/bin/(python[\d.]*)[^\n]*\n(?(1)' '''\n)")
    for program in (environment / "bin").iterdir():
        if program.is_file() and not program.is_symlink():
            content = program.read_bytes()
            if found := first.match(content):
                name = found[2].decode()
                program.write_bytes(header % os.fsencode(environment / "bin" / name) + content[found.end() :])
    lines = [os.fsencode(place) for place in dict.fromkeys([str(environment), *places])]
    (environment / PLACES).write_bytes(b"\n".join(lines) + b"\n")


def _places(environment: Path) -> list[str]:
    """Where an environment of ours is and was; empty for one of the user's."""
    try:
        return [os.fsdecode(line) for line in (environment / PLACES).read_bytes().splitlines()]
    except OSError:
        return []


def _is_same(one: str, other: Path) -> bool:
    return os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other)


def _python(environment: Path) -> str:
    return str(environment / "bin" / "python")


def _look(environment: Path) -> str:
    """The version of an environment's Python, which must be the environment's own and new enough."""
    again = "move it away, then start again"
    try:
        said = _run(_python(environment), "-I", "-c", LOOK, str(environment))
        same, recent, version, prefix = said.stdout.split(maxsplit=3)
    except (OSError, ValueError):
        raise Refusal(f"{environment} is no environment whose Python starts: {again}") from None
    if same != "True":
        raise Refusal(f"the Python of {environment} installs into {prefix.strip()}, not there: {again}")
    if recent != "True":
        raise Refusal(f"Python 3.10 or newer is needed, {environment} has {version}: {again}")
    return version


def _missing(environment: Path, root: Path, files: list[str]) -> list[str]:
    """The files that are not installed as they are now: a stamp holds the hash of what was."""
    version = _look(environment)
    return [file for file in files if _read(_stamp(environment, file)) != _wanted(root, file, version)]


def _lock(root: Path, file: str) -> Path:
    """The lock file of a requirements file, or the file itself where there is none."""
    lock = (root / file).with_suffix(".lock")
    return lock if lock.exists() else root / file


def _stamp(environment: Path, file: str) -> Path:
    return environment / f".installed-{Path(file).stem}"


def _wanted(root: Path, file: str, version: str) -> str:
    path = _lock(root, file)
    try:
        return f"{hashlib.sha256(path.read_bytes()).hexdigest()} {version}"
    except OSError as error:
        raise Refusal(f"{path} cannot be read: {error.strerror}") from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _install(environment: Path, root: Path, file: str) -> None:
    say(f"installing {file} into {environment} (once; this can take minutes)")
    wanted = _wanted(root, file, _look(environment))
    python = _python(environment)
    has_pip = not _run(python, "-I", "-m", "pip", "--version").returncode
    if not has_pip and _run(python, "-I", "-m", "ensurepip").returncode:
        raise Refusal(
            f"{environment} has neither pip nor ensurepip: install pip into it (uv pip install --python {python} pip)"
        )
    lock, torch = _lock(root, file), [python, "-I", "-c", TORCH]
    if "\ntorch==" in lock.read_text(encoding="utf-8") and _run(*torch).returncode == 3:
        _pip(environment, root / "requirements-cpu.lock", is_optional=True)
    _pip(environment, lock)
    if _run(*torch).returncode == 4:
        say("installing the CUDA libraries of this PyTorch")
        _pip(environment, root / "requirements-cuda.lock")
    _stamp(environment, file).write_text(wanted, encoding="utf-8")


def _pip(environment: Path, file: Path, is_optional: bool = False) -> None:
    """Installs a file; a lock file with every hash checked, and nothing that it does not name.

    Args:
        is_optional: whether the package index may have nothing of that name.
    """
    command = [_python(environment), "-I", "-m", "pip", "install", "--disable-pip-version-check"]
    shown = sys.stderr.isatty()  # then pip's own bars tell how far it is
    if file.suffix == ".lock":
        command += ["--no-deps", "--require-hashes", "--only-binary", ":all:"]
    settings = {name: value for name, value in os.environ.items() if name not in REDIRECTIONS}
    held = []
    with subprocess.Popen(
        [*command, "--requirement", str(file)],
        env=settings | {"PIP_NO_INPUT": "1"},
        close_fds=False,
        stdout=sys.stderr if shown else subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as pip:
        telling = threading.Thread(target=tell_progress, args=(pip.stdout or (),))
        telling.start()
        for line in pip.stderr:
            if line.startswith("WARNING") and not held:
                say(line.rstrip())
            else:
                held.append(line.rstrip())
        telling.join()
    if pip.returncode == 0:
        return
    text = "\n".join(held)
    if is_optional and "No matching distribution" in text:
        return
    if "DO NOT MATCH THE HASHES" in text:
        names = ", ".join(re.findall(r"^    (\S+) from ", text, re.MULTILINE))
        raise Refusal(
            f"{names}: what the package index gave is not the file that {file.name} names; nothing of it was installed."
            f" If a build of your own choice is meant (of PyTorch, say), install it into {environment} first, it stays"
        )
    say(text)
    raise Refusal(f"pip could not install {file.name} into {environment}, as said above: start again when it can")


def tell_progress(lines: Iterable[str]) -> None:
    """Says what takes long of what pip says: the large files."""
    for line in lines:
        if large := re.match(r"\s+Downloading (?:\S*/)?(\S+) \((\d{2,}(?:\.\d+)? MB|\S+ GB)\)", line):
            say(f"  {large[1]}, {large[2]}")
        elif line.startswith("Installing collected packages"):
            count = line.count(",") + 1
            say(f"  putting {count} package{'s' * (count > 1)} in place")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One start at a time; the lock of one that was killed is gone with it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    os.set_inheritable(descriptor, True)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another start sets up the same environment: waiting for it (it holds {path})")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            say(f"warning: no lock on {path}, {error.strerror}: do not start twice at once")
        yield
    finally:
        os.close(descriptor)


def main() -> int:
    """`environment.py ROOT REQUIREMENTS...`"""
    root, files = Path(sys.argv[1]), sys.argv[2:]
    try:
        sys.stdout.buffer.write(os.fsencode(set_up(root, files)) + b"\n")
    except Refusal as refusal:
        say(f"error: {refusal}")
        return 2
    except OSError as error:
        say(f"error: {error.filename or root} cannot be used, {error.strerror}: the environment is made and kept there")
        return 2
    except KeyboardInterrupt:
        say("interrupted: the same command goes on")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
