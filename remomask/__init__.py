"""Text -> motion, as a package: `from remomask import TextToMotion`, and the command `remomask`.

Everything of the checkout lies below this name, `utils.representation` as `remomask.utils.representation`. Nothing is
imported before it is asked for.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

__version__ = "0.1.0"
# Name -> module that has it.
PUBLIC = {
    "Motion": "pipeline.motion",
    "TextToMotion": "pipeline.text_to_motion",
    "SamplingSettings": "models.configs",
    "UserError": "utils.errors",
    "canonicalize": "utils.representation",
    "joints_to_features": "utils.representation",
    "features_to_joints": "utils.representation",
    "metrics": "utils",
}
__all__ = [*PUBLIC]

if not Path(__file__).with_name("pipeline").is_dir():
    from remomask.checkout import find_rooms

    find_rooms()


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "metrics":
        return importlib.import_module(f"{__name__}.utils.metrics")
    return getattr(importlib.import_module(f"{__name__}.{PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *PUBLIC})
