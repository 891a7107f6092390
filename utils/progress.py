"""The one progress bar of everything that takes longer than two seconds."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

Result = TypeVar("Result")

SHOWN_AFTER = 2.0  # seconds
LINE_EVERY = 10.0  # seconds, where nobody watches and every sign stays in a log


def progress_bar(total: int, what: str, unit: str, scaled: bool = False) -> tqdm:
    """A bar with the time that is left; in a log file a line now and then.

    Args:
        total: units of work, as even as possible.
        what: is done, for the eye.
        scaled: shows large numbers as 1.2M.
    """
    watched = sys.stderr.isatty()
    return tqdm(
        total=total,
        desc=what,
        unit=unit,
        unit_scale=scaled,
        delay=SHOWN_AFTER,
        mininterval=0.1 if watched else LINE_EVERY,
        leave=not watched,
        dynamic_ncols=True,
    )


def with_bar(
    results: Iterable[tuple[int, Result]],
    what: str,
    unit: str,
    sizes: Sequence[int] | None = None,
    items: Collection[int] | None = None,
) -> Iterator[tuple[int, Result]]:
    """Passes the results of items on and shows how far they are.

    Args:
        results: items and what was made of them.
        what, unit: see `progress_bar`.
        sizes: of all items, in units; none: each is one.
        items: those that are made; none: all that have a size.
    """
    chosen = items if items is not None else range(len(sizes))
    total = len(chosen) if sizes is None else sum(sizes[item] for item in chosen)
    with progress_bar(total, what, unit, scaled=sizes is not None) as bar:
        for item, result in results:
            yield item, result
            bar.update(1 if sizes is None else sizes[item])
