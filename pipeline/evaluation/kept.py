"""What finished parts of an evaluation gave, kept until all of it is there: a stopped one goes on from there."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from storage.files import file_hash, read_json, write_json
from storage.row_store import digest
from utils.errors import UserError

ROOT = Path(__file__).parents[2]
# Numbers of one code are never mixed with those of another.
CODE = ("data", "models", "Part_TMR", "pipeline", "storage", "utils")

Numbers = dict[str, float]


@cache
def code_hash() -> str:
    """Of the code that decides an evaluation's numbers."""
    paths = sorted(path for room in CODE for path in (ROOT / room).rglob("*.py"))
    return digest(*(f"{path.relative_to(ROOT)} {file_hash(path)}" for path in paths)).hex()


@contextlib.contextmanager
def telling_what_is_kept() -> Iterator[None]:
    """Says on Ctrl-C that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        print("what is finished is kept: the same command goes on from there", file=sys.stderr)
        raise


class KeptScores:
    """The numbers of rows in repeats, in one small file that is replaced whole.

    Args:
        folder: of the report.
        name: of the report.
        decisive: everything that decides the numbers besides row and repeat; it names the file, so that those of
            something else are never found.
    """

    def __init__(self, folder: Path, name: str, decisive: Iterable[str | bytes]) -> None:
        self.path = folder / f".{name}.{digest(code_hash(), *decisive).hex()}.repeats"
        self._kept: dict[str, tuple[Numbers, float]] = {}
        with contextlib.suppress(UserError, ValueError, TypeError, AttributeError):
            kept = read_json(self.path) if self.path.is_file() else {}
            self._kept = {place: (dict(numbers), float(seconds)) for place, (numbers, seconds) in kept.items()}

    def __contains__(self, place: tuple[str, int]) -> bool:
        return self._name(*place) in self._kept

    def __getitem__(self, place: tuple[str, int]) -> tuple[Numbers, float]:
        """The numbers of a row in a repeat, and the seconds that they took."""
        return self._kept[self._name(*place)]

    def __setitem__(self, place: tuple[str, int], scored: tuple[Numbers, float]) -> None:
        """Keeps them; raises `UserError` where nothing can be written."""
        self._kept[self._name(*place)] = scored
        write_json(self.path, self._kept)

    def forget(self) -> None:
        """Removes the file."""
        self.path.unlink(missing_ok=True)

    @staticmethod
    def _name(row: str, repeat: int) -> str:
        return f"{row}, repeat {repeat}"
