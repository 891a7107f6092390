"""The arrows of the house: which folder may import which, lazy imports included, and what must stay free of torch."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("storage", "utils", "data", "models", "Part_TMR", "engine", "options", "pipeline", "visualization")
# Folder or file -> what none of its modules may import. Type hints count: what is named has to be known.
# `__main__` modules, Part_TMR/scripts and visualization/export.py are scripts, which may import everything.
FORBIDDEN = {
    "storage": ("utils", "data", "models", "Part_TMR", "engine", "options", "pipeline", "visualization"),
    "utils": ("data", "models", "Part_TMR", "engine", "options", "pipeline", "visualization"),
    "data": ("models", "Part_TMR", "engine", "options", "pipeline", "visualization"),
    "data/prepare": ("data.check", "visualization"),
    "models": ("Part_TMR", "engine", "options", "pipeline", "visualization"),
    "Part_TMR": ("engine", "options", "pipeline", "visualization"),
    "engine": ("options", "pipeline", "visualization"),
    "engine/settings.py": ("data", "models", "Part_TMR", "engine"),
    "options": ("Part_TMR", "pipeline", "visualization", "engine.harness", "engine.task"),
    "visualization": ("data", "models", "Part_TMR", "engine", "options", "pipeline"),
}
SCRIPTS = ("Part_TMR/scripts/", "visualization/export.py", "__main__.py")
HEAVY = ("torch", "numpy", "scipy", "matplotlib", "transformers", "accelerate")


def modules(folder: str) -> Iterator[Path]:
    """The modules of a folder, scripts left out."""
    found = sorted((ROOT / folder).rglob("*.py")) if not folder.endswith(".py") else [ROOT / folder]
    for path in found:
        if not any(script in str(path.relative_to(ROOT)) for script in SCRIPTS):
            yield path


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of every import, also those in functions; `from a import b` names both a and a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield node.lineno, name.name
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno} imports relatively"
            yield node.lineno, node.module
            for name in node.names:
                yield node.lineno, f"{node.module}.{name.name}"


ALWAYS = ("utils.errors", "utils.progress")  # what says something to the user


def arrows(path: Path, targets: tuple[str, ...]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for line, name in imported(path)
        if not name.startswith(ALWAYS) and any(name == target or name.startswith(f"{target}.") for target in targets)
    ]


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_no_arrow_points_up(folder: str) -> None:
    assert list(modules(folder)), "the folder is gone: say what took its place"
    found = [arrow for path in modules(folder) for arrow in arrows(path, FORBIDDEN[folder])]
    assert not found, "\n".join(found)


def test_nothing_imports_a_script() -> None:
    scripts = tuple(path.stem for path in ROOT.glob("*.py"))
    found = [arrow for room in ROOMS for path in modules(room) for arrow in arrows(path, scripts)]
    assert not found, "\n".join(found)


def test_no_file_is_longer_than_it_may_be() -> None:
    long = {path.name: len(path.read_text().splitlines()) for path in modules("options")}
    assert max(long.values()) <= 350, long


# What reads a file past the guarded readers, and who may: the readers themselves, and those of formats of their own.
UNGUARDED = re.compile(
    r"np\.load\(|np\.(loadtxt|genfromtxt|fromfile)\(|json\.loads?\(|\.read_(text|bytes)\(|yaml\.|pickle\.load"
)
GUARDS = (
    "storage/files.py",
    "storage/arrays.py",
    "storage/row_store.py",
    "storage/yaml_files.py",
    "utils/launch.py",
    "utils/environment.py",
    "storage/lock.py",
    "storage/owner.py",
    "engine/events.py",
)


def test_files_are_read_by_the_guarded_readers() -> None:
    """`# ours`, with what it reads, marks what comes with the project."""
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in [*ROOT.glob("*.py"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]
        if str(path.relative_to(ROOT)) not in GUARDS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if UNGUARDED.search(line) and "# ours" not in line
    ]
    assert not found, "\n".join(found)


def test_command_lines_need_nothing_heavy() -> None:
    names = ", ".join(f"options.{path.stem}" for path in modules("options") if path.stem != "__init__")
    names += ", engine.settings, utils.run, utils.fits, pipeline.runs, models.rag.manifest"
    code = f"import sys, {names}; print(*(set({HEAVY}) & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
