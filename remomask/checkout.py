"""The checkout's rooms and scripts as parts of the package `remomask`: at import, and where a wheel is built.

In a checkout a module says `from utils.errors import UserError`. Installed, a module of that name may be the user's.
So the package has copies that say `from remomask.utils.errors import UserError`; a checkout, installed by
`pip install -e .` or not at all, makes them as they are imported. Standard library alone.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType

from remomask.commands import COMMANDS, PROGRAM

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("Part_TMR", "data", "engine", "models", "options", "pipeline", "storage", "utils", "visualization")
SCRIPTS = tuple(module for module, _ in COMMANDS.values() if "." not in module)
MODULES = frozenset(ROOMS + SCRIPTS)
BESIDE = ("pretrained", "configs")  # what lies beside the rooms and is read

# What is typed in a checkout -> what is typed where the package is installed, in all that is told to people.
_SCRIPTS = {f"{module}.py": command for command, (module, _) in COMMANDS.items() if "." not in module}
_MODULES = {module.removesuffix(".__main__"): command for command, (module, _) in COMMANDS.items()}
_SCRIPT = re.compile(rf"(?<![\w/.])(?<!--python )(?:(?<!-)python )?({'|'.join(map(re.escape, _SCRIPTS))})\b")
_MODULE = re.compile(rf"python -m ({'|'.join(map(re.escape, _MODULES))})(?![\w.])")
_EXTRA = re.compile(r"-r requirements-(app|smpl)\.txt")
_OTHER_MODULE = re.compile(rf"python -m (?=(?:{'|'.join(ROOMS)})\.)")


def rewritten(source: str) -> str:
    """A module's text as the package has it, line by line the same.

    Raises:
        SyntaxError: it imports a module of ours in a way that cannot be told another name, `import utils.errors`.
    """
    lines = [line.encode() for line in source.split("\n")]
    for line, column, inserted in sorted(_places(ast.parse(source)), reverse=True):
        lines[line - 1] = lines[line - 1][:column] + inserted + lines[line - 1][column:]
    text = b"\n".join(lines).decode()
    text = _SCRIPT.sub(lambda found: f"{PROGRAM} {_SCRIPTS[found[1]]}", text)
    text = _MODULE.sub(lambda found: f"{PROGRAM} {_MODULES[found[1]]}", text)
    text = _EXTRA.sub(rf"'{PROGRAM}[\1]'", text)
    return _OTHER_MODULE.sub(f"python -m {PROGRAM}.", text)


def _places(tree: ast.Module) -> Iterator[tuple[int, int, bytes]]:
    """(line, column in bytes, what is to be inserted there) for every import of ours."""
    prefix = f"{PROGRAM}.".encode()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level and node.module.split(".")[0] in MODULES:
            yield node.lineno, node.col_offset + len("from "), prefix
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.split(".")[0] in MODULES:
                    if name.asname is None:
                        raise SyntaxError(f"line {node.lineno}: import {name.name} as another name")
                    yield name.lineno, name.col_offset, prefix


def files() -> Iterator[tuple[Path, Path]]:
    """(file in the checkout, its place in the package) of all that the package consists of."""
    own = [path for path in (ROOT / PROGRAM).glob("*.py") if path.name != Path(__file__).name]
    yield from ((path, Path(path.name)) for path in own)
    scripts = [ROOT / f"{name}.py" for name in SCRIPTS]
    rooms = [path for folder in ROOMS + BESIDE for path in (ROOT / folder).rglob("*") if path.is_file()]
    for path in sorted(scripts + rooms):
        place = path.relative_to(ROOT)
        if "__pycache__" not in place.parts and "eval" not in place.parts and not path.name.startswith("."):
            yield path, place


class Loader(SourceFileLoader):
    """Reads a module of the checkout as one of the package; its compiled form has a file of its own."""

    def source_to_code(self, data: bytes, path: str, **settings: object) -> object:
        text = rewritten(data.decode()) if isinstance(data, bytes) else data
        return super().source_to_code(text, path, **settings)

    def get_data(self, path: str) -> bytes:
        return super().get_data(_compiled(path))

    def set_data(self, path: str, data: bytes, **settings: object) -> None:
        super().set_data(_compiled(path), data, **settings)


def _compiled(path: str) -> str:
    return f"{path.removesuffix('.pyc')}.{PROGRAM}.pyc" if path.endswith(".pyc") else path


class Rooms(MetaPathFinder):
    """Finds `remomask.utils` and all below it in the folder `utils` of the checkout."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, *parts = name.split(".")
        if package != PROGRAM or not parts or parts[0] not in MODULES:
            return None
        spec = PathFinder.find_spec(name, [str(ROOT.joinpath(*parts[:-1]))], target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = Loader(spec.loader.name, spec.loader.path)
        return spec


def find_rooms() -> None:
    """Makes `remomask.utils` and all others importable in this process."""
    if not any(isinstance(finder, Rooms) for finder in sys.meta_path):
        sys.meta_path.insert(0, Rooms())
