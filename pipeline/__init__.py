"""From saved runs to motions: run folders, the one loader, `TextToMotion`."""

from __future__ import annotations

from typing import Any

__all__ = ["Motion", "TextToMotion"]


def __getattr__(name: str) -> Any:
    # Lazily, so that torch-free modules of this package (run folders) stay quick to import.
    if name in __all__:
        from pipeline import text_to_motion

        return getattr(text_to_motion, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
