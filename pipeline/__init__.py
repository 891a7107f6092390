"""From saved runs to motions: run folders, the one loader, `TextToMotion`."""

from __future__ import annotations

import importlib
from typing import Any

PLACES = {"Motion": "motion", "TextToMotion": "text_to_motion"}
__all__ = ["Motion", "TextToMotion"]


def __getattr__(name: str) -> Any:
    # Lazily, so that torch-free modules of this package (run folders) stay quick to import.
    if name in PLACES:
        return getattr(importlib.import_module(f"{__name__}.{PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
