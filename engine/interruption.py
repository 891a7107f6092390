"""Signals that end a training of one or several processes: Ctrl-C, SIGTERM, SIGUSR1 (SLURM's warning), SIGHUP."""

from __future__ import annotations

import contextlib
import signal
import types
from collections.abc import Iterator

import torch
from torch import distributed


class Interrupted(BaseException):
    """Such a signal, at a point where the training state is consistent. No `except Exception` swallows it."""


class Interruption:
    """Notes the signals. They end the training after the running step, or at once during validation; twice: at once.

    Attributes:
        asked: this process got a signal; the others need not have.
    """

    def __init__(self, world: int, device: torch.device) -> None:
        self.world, self.device = world, device
        self.asked = False
        self._anywhere = False

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Within it the signals come here. Not in the main thread it does nothing."""

        def on_signal(number: int, frame: types.FrameType | None) -> None:
            if self.asked and number == signal.SIGINT and self.world == 1:
                raise KeyboardInterrupt  # several processes get several signals from one Ctrl-C
            self.asked = True
            if self._anywhere:
                raise Interrupted

        numbers = [signal.SIGINT, signal.SIGTERM]
        if hasattr(signal, "SIGUSR1"):  # not on Windows
            numbers.append(signal.SIGUSR1)
            if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup leaves it
                numbers.append(signal.SIGHUP)
        former = {}
        with contextlib.suppress(ValueError):
            former = {number: signal.signal(number, on_signal) for number in numbers}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def anywhere(self) -> Iterator[None]:
        """Within it nothing is computed that the state needs: a single process raises `Interrupted` at the signal."""
        self._anywhere = self.world == 1
        try:
            yield
        finally:
            self._anywhere = False

    def check(self) -> None:
        """Called by all processes together: raises `Interrupted` in all of them when any got a signal."""
        asked = self.asked
        if self.world > 1:
            anyone = torch.tensor(float(asked), device=self.device)
            distributed.all_reduce(anyone)
            asked = bool(anyone > 0)
        if asked:
            raise Interrupted
