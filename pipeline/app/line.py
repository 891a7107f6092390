"""The line of those who wait for the models."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from utils.errors import UserError


class Line:
    """A bounded line before one counter: first come, first served, and at most `limit` wait."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._tickets: list[object] = []  # the first is being served
        self._changed = threading.Condition()

    @property
    def running(self) -> int:
        """0 or 1."""
        return min(len(self._tickets), 1)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return max(len(self._tickets) - 1, 0)

    @contextmanager
    def turn(self, waiting: Callable[[int], None] = lambda before: None) -> Iterator[None]:
        """Waits until it is one's turn, which lasts as long as the block.

        Args:
            waiting: called with the number of those before, each time that it changes and every half second. What
                it raises ends the wait.

        Raises:
            UserError: the line is full.
        """
        ticket = object()
        with self._changed:
            if len(self._tickets) > self.limit:
                raise UserError(
                    f"too many prompts at once: one is at work and {self.waiting} wait. Try again in a minute"
                )
            self._tickets.append(ticket)
        try:
            while before := self._place(ticket):
                waiting(before)
                with self._changed:
                    self._changed.wait_for(lambda seen=before: self._tickets.index(ticket) < seen, timeout=0.5)
            yield
        finally:
            with self._changed:
                self._tickets.remove(ticket)
                self._changed.notify_all()

    def _place(self, ticket: object) -> int:
        with self._changed:
            return self._tickets.index(ticket)
