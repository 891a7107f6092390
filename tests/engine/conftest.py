"""What the tests of the engine share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine import curves

DRAW = curves.draw


@pytest.fixture(autouse=True)
def pictures(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Trainings draw no pictures, which would take longer than they do, until this is called."""
    monkeypatch.setattr(curves, "draw", lambda *_: None)
    return lambda: monkeypatch.setattr(curves, "draw", DRAW)
