"""What a fuzz test knows of a kind of file, and what may come of a mutated one."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Mutator = Callable[[random.Random, bytes], bytes]

LONGEST_MESSAGE = 600  # characters of a refusal
SECONDS = 10.0  # a case may take
MEGABYTES = 384  # a case may take beyond what the process has after reading every valid file
MODULES = ("tests.fuzz.data_kinds", "tests.fuzz.weight_kinds")  # each holds KINDS; a module's cases run in one process


@dataclass(frozen=True)
class Kind:
    """A kind of file and the door that reads it.

    Attributes:
        name: in tables and failures; unique.
        make: writes small valid files into an empty folder and returns those that are mutated, one a case. What it
            leaves beside them is there unchanged: every case runs in a copy of the folder.
        door: reads the file, by the code behind a command. What it returns is an acceptance, a `UserError` a refusal,
            anything else a failure.
        mutators: one of them, or several in a row, make a case's bytes; see `tests.fuzz.mutations`.
        weight: cases, relative to other kinds.
    """

    name: str
    make: Callable[[Path], list[Path]]
    door: Callable[[Path], object]
    mutators: tuple[Mutator, ...]
    weight: int = 1
