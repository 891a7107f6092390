"""Mistakes of the user's input, and how a script reports them."""

from __future__ import annotations

import sys
from collections.abc import Callable

LONGEST_MESSAGE = 500  # characters
CUT = " ... "


class UserError(Exception):
    """Bad input. The message is one line that names the file, line, flag or value, and the remedy; see `readable`."""

    def __init__(self, message: str) -> None:
        super().__init__(readable(message))


def readable(text: str) -> str:
    """One line that can be printed: other characters are escaped, and a text that is too long loses its middle."""
    tail = LONGEST_MESSAGE // 3
    text = text if len(text) <= 2 * LONGEST_MESSAGE else text[:LONGEST_MESSAGE] + CUT + text[-LONGEST_MESSAGE:]
    text = " ".join(text.split())
    if not text.isprintable():
        text = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    return text if len(text) <= LONGEST_MESSAGE else text[: LONGEST_MESSAGE - tail - len(CUT)] + CUT + text[-tail:]


def listed(items: list[str], separator: str = "; ", most: int = 3) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return separator.join(items[:most]) + more


def run_script(main: Callable[[], int | None]) -> None:
    """Runs a script's `main` and exits: 0 or what it returns, 2 with one line on stderr for a `UserError`, or where the
    system refuses a file that no reader or writer asked for."""
    try:
        sys.exit(main() or 0)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        print(f"error: {readable(str(error))}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
