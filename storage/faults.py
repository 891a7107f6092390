"""Faults on purpose: what a crash or a full disk in the middle of a write leaves behind can be tried.

`REMOMASK_FAULT=KIND@NUMBER/PLACE` strikes in one write of a process; without the variable nothing happens. KIND is
`kill` (SIGKILL) or `full` (no space left), NUMBER counts the writes from 1: the first one from there on that reaches
PLACE, one of `PLACES`, is struck.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

VARIABLE = "REMOMASK_FAULT"
# Nothing is written; half of the temporary file is; all of it is; what stood in the target's place is set aside; done.
PLACES = ("before", "half", "whole", "between", "after")

_numbers = itertools.count(1)


def next_write() -> Callable[[str, Path], None]:
    """What a write has to call at each place that it reaches, with its temporary file."""
    number, planned = next(_numbers), os.environ.get(VARIABLE)
    if planned is None:
        return lambda place, temporary: None
    kind, at, struck = re.fullmatch(rf"(kill|full)@(\d+)/({'|'.join(PLACES)})", planned).groups()

    def reached(place: str, temporary: Path) -> None:
        if number < int(at) or place != struck:
            return
        if place == "half" and temporary.is_file():
            os.truncate(temporary, temporary.stat().st_size // 2)
        if kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(temporary))

    return reached
