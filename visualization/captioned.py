"""A motion with what is said of it, for whatever shows it: page, video, picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CaptionedMotion:
    """One figure.

    Attributes:
        joints: (T, J, 3) metres, y up.
        prompt: the caption that it shows.
        label: a small line above the caption, for example the settings.
        retrieved: (motion id, caption, score) of each retrieved motion, best first.
        fps: frames a second of the joints; None: as whoever shows it says.
    """

    joints: np.ndarray
    prompt: str = ""
    label: str = ""
    retrieved: Sequence[tuple[str, str, float]] = ()
    fps: float | None = None
