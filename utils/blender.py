"""Where Blender is: a Python that has its module `bpy`, or Blender itself. The project's own environment need not have
it, since it wants another NumPy: `bash setup_render.sh` gives it an environment of its own.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from utils.errors import UserError

VARIABLE = "REMOMASK_BLENDER"  # a Python with bpy, or Blender's own program
ENTERED = "REMOMASK_IN_BLENDER"  # set for what was started there
PLACES = (".venv-render/bin/python", ".venv-render/Scripts/python.exe")  # what setup_render.sh makes


def has_bpy() -> bool:
    """Whether this Python is Blender's, or has its module."""
    return "bpy" in sys.modules or importlib.util.find_spec("bpy") is not None


@functools.cache
def blender_command() -> tuple[str, ...] | None:
    """What a Python script is given to, with its arguments after `--`, so that it can import `bpy`; None: there is no
    Blender.

    Raises:
        UserError: the one that the user names is no program.
    """
    root = Path(__file__).resolve().parents[1]
    own = next((str(root / place) for place in PLACES if (root / place).is_file()), None)
    said = os.environ.get(VARIABLE)
    if not said and has_bpy():
        return (sys.executable,)
    program = said or own or shutil.which("blender")
    if program is None:
        return None
    if shutil.which(program) is None:
        raise UserError(f"{VARIABLE} names {program}, which is no program")
    return (program,) if "python" in Path(program).name.lower() else (program, "--background", "--python")


def go_on_in_blender(script: Path, arguments: Sequence[str]) -> None:
    """Becomes the same script in Blender's own environment, if there is one and `bpy` is not here already.

    Raises:
        UserError: what should be Blender is not.
    """
    if has_bpy() or (command := blender_command()) is None:
        return
    if os.environ.get(ENTERED):
        raise UserError(f"{command[0]} is no Blender, and no Python that has its module bpy")
    sys.stdout.flush()
    os.execve(
        shutil.which(command[0]) or command[0], [*command, str(script), "--", *arguments], os.environ | {ENTERED: "1"}
    )


def require_blender(what: str) -> tuple[str, ...]:
    """The same.

    Raises:
        UserError: there is none; says what needs it, and what to install.
    """
    if (command := blender_command()) is None:
        raise UserError(
            f"{what} needs Blender: run `bash setup_render.sh` (pip's bpy in .venv-render, 400 MB), "
            f"or put Blender on PATH, or name its program in {VARIABLE}"
        )
    return command
