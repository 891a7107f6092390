"""Mistakes of the user's input, and how a script reports them."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable


class UserError(Exception):
    """Bad input. The message is one line that names the file, line, flag or value, and the remedy."""


def listed(items: list[str], separator: str = "; ", most: int = 3) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return separator.join(items[:most]) + more


def run_script(main: Callable[[], int | None]) -> None:
    """Runs a script's `main` and exits: 0 or what it returns, 2 with one line on stderr for a `UserError`."""
    try:
        sys.exit(main() or 0)
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(f"error: cannot write {error.filename or 'all output'}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
