"""What differs between two configs, in words."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from utils.formats import format_of

MISSING = "(not set)"


def format_difference(old: Mapping[str, Any], new: Mapping[str, Any], tells_rate: bool) -> list[str]:
    """What the motion formats of two configs differ in, if both tell them: names and looks are no difference.

    Args:
        tells_rate: whether the old one tells the frame rate, see `utils.run.Run`.
    """
    if "format" not in old or "format" not in new:
        return []
    former, wanted = (format_of(config["format"], "format") for config in (old, new))
    found = former.difference(wanted if tells_rate else replace(wanted, fps=former.fps))
    return [f"motion format: {found}"] if found else []


def differences(old: Any, new: Any, free: Collection[str], path: str = "") -> Iterator[str]:
    """Every value of nested `old` that `new` has another for, as `model.width was 8 and is 9`; keys in `free` may."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            if key not in free:
                yield from differences(
                    old.get(key, MISSING), new.get(key, MISSING), free, f"{path}.{key}" if path else key
                )
    elif old != new:
        yield f"{path} was {old!r:.60} and is {new!r:.60}"
