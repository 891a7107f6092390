"""What differs between two configs, in words."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from utils.formats import format_of
from utils.run import Run

MISSING = "(not set)"


def format_difference(former: Run, config: Mapping[str, Any]) -> list[str]:
    """What the motion formats of a run and of a new config differ in, if both tell them: names and looks are no
    difference."""
    if former.value("format") is None or "format" not in config:
        return []
    found = former.difference(format_of(config["format"], "format"))
    return [f"motion format: {found}"] if found else []


def differences(
    old: Any, new: Any, free: Collection[str], path: str = "", words: str = "{} was {:.60} and is {:.60}"
) -> Iterator[str]:
    """Every value of nested `old` that `new` has another for, as `model.width was 8 and is 9`; keys in `free` may."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            if key not in free:
                below = f"{path}.{key}" if path else key
                yield from differences(old.get(key, MISSING), new.get(key, MISSING), free, below, words)
    elif old != new:
        yield words.format(path, repr(old), repr(new))
