"""Who is still there: a visitor's request is worth its place in the line as long as the page listens for the answer."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PAGE = "page "  # before a session's name: the stream that a page has as long as it is open. No session is named so


class VisitorLeft(Exception):
    """Nobody waits for this answer any more."""


class Visitors:
    """The open streams by the name of their session. A page opens one after it has sent its request."""

    def __init__(self, grace: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        """`grace`: seconds that a visitor may be without a stream: a request comes before its stream. One second is
        enough for who had one and closed it."""
        self.grace, self._clock = grace, clock
        self._open: Counter[str] = Counter()
        self._closed: dict[str, float] = {}  # name -> time, oldest first

    def count(self, name: str) -> int:
        """How many a session has open."""
        return self._open[name]

    def is_here(self, name: str) -> bool:
        """Whether a session's page is open, or listens for an answer."""
        return bool(self._open[name] or self._open[PAGE + name])

    @contextmanager
    def stream(self, *names: str) -> Iterator[None]:
        """A stream of a session, open as long as the block runs."""
        self._open.update(names)
        try:
            yield
        finally:
            for name in names:
                self._open[name] -= 1
                if not self._open[name]:
                    del self._open[name]
                    self._closed.pop(name, None)
                    self._closed[name] = self._clock()
                    if len(self._closed) > 1000:
                        del self._closed[next(iter(self._closed))]

    def watch(self, name: str) -> Callable[[], None]:
        """A function that raises `VisitorLeft` when the session listens no more, or did not begin to."""
        asked = self._clock()

        def check() -> None:
            closed = self._closed.get(name, asked)
            last = closed + 1.0 if closed > asked else asked + self.grace
            if name not in self._open and self._clock() > last:
                raise VisitorLeft

        return check
