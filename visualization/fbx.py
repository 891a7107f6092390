"""Motions as .fbx, which Blender makes of a .glb in a process of its own: figure, skin and animation come along."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from storage.files import atomic_path, writable_folder
from utils.blender import require_blender
from utils.errors import UserError

SCRIPT = Path(__file__).with_name("blender_fbx.py")
LONGEST = 600  # seconds that Blender is waited for


@contextlib.contextmanager
def glb_beside(path: Path) -> Iterator[Path]:
    """Where the .glb lies for a while that `path` is made of.

    Raises:
        UserError: the folder cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}_", dir=writable_folder(path.parent)) as folder:
        yield Path(folder) / f"{path.stem}.glb"


def write_fbx(path: Path, glb: Path, fps: float, root: str = "Armature") -> Path:
    """Writes what a .glb holds as an .fbx: y up, centimetres, every frame a key.

    Args:
        fps: frames per second of the .glb.
        root: what the node above the skeleton is called; Unreal wants `root`, and leaves out `Armature`.

    Raises:
        UserError: there is no Blender, it cannot do this, or the folder cannot be written.
    """
    command = require_blender("an .fbx")
    with atomic_path(path) as temporary:
        words = [*command, str(SCRIPT), "--", str(glb.resolve()), str(temporary.resolve()), f"{fps:g}", root]
        try:
            result = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=LONGEST)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UserError(f"{path}: {command[0]} cannot be used: {error}") from error
        if result.returncode or not temporary.is_file():
            lines = [line for line in result.stderr.splitlines() if line.strip()] or ["no word of why"]
            raise UserError(f"{path}: Blender ({command[0]}) made no .fbx: {lines[-1].strip()[:300]}")
    return path
