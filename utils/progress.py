"""The one progress bar of everything that takes longer than two seconds."""

from __future__ import annotations

import sys

from tqdm import tqdm

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
