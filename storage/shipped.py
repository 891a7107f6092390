"""What comes with the code, found wherever one stands: the shipped models and the settings of render.py."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # the checkout, or the installed package
FOLDERS = ("pretrained", "configs")


def locate(path: Path | str) -> Path:
    """What is to be read: `path`; where nothing lies there, what comes with the code, `pretrained/open`."""
    path = Path(path)
    is_name_of_ours = path.parts[:1] and path.parts[0] in FOLDERS and ".." not in path.parts
    return ROOT / path if is_name_of_ours and not path.exists() and (ROOT / path).exists() else path


def is_ours(path: Path) -> bool:
    """Whether `locate` found it with the code, where nothing is to be written."""
    return any(path.is_relative_to(ROOT / folder) for folder in FOLDERS)
