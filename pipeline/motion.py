"""A generated motion, which can be saved as whatever the export knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.formats import HUMANML3D
from utils.motion_format import MotionFormat

if TYPE_CHECKING:
    from models.vocabulary.known import Remark
    from Part_TMR.found import Found

RetrievedMotions = tuple[tuple[str, str, float], ...]


def retrieved_of(found: Sequence[Found]) -> RetrievedMotions:
    """What `Motion.retrieved` tells of the motions that helped."""
    return tuple(each[:3] for each in found)


@dataclass(frozen=True)
class Motion:
    """A generated motion.

    Attributes:
        text: the prompt.
        fps: frames a second.
        features: (T, D) float32, raw units.
        joints: (T, J, 3) float32, metres, y up.
        retrieved: (motion id, caption, score) of the motions that helped, best first.
        seed: what to pass to `generate` to get this motion again.
        remark: what lies outside of the library in the prompt, `str` of it is one line; None: nothing does.
        found: the motions that helped with what else a search tells of them.
        form: what the features and joints are.
    """

    text: str
    fps: float
    features: np.ndarray
    joints: np.ndarray
    retrieved: RetrievedMotions
    seed: int
    remark: Remark | None = None
    found: tuple[Found, ...] = ()
    form: MotionFormat = HUMANML3D

    def save(self, path: Path | str, **options: Any) -> Path:
        """Writes the motion as the file that the path's suffix says, in place of one that is there.

        Args:
            path: `wave.bvh`, or .mp4, .gif, .png, .glb, .html, ...; .npy has the joints.
            options: those of `visualization/export.py` that say how files are written, such as `foot_lock=True`,
                `frame_rate=60`, `bvh_units="m"`, `width=640, height=360`. Arrays (.npy) stay as they are.

        Returns:
            the file.

        Raises:
            UserError: no such format or option, a value out of its limits, or the file cannot be written.
        """
        from pipeline.saving import save_motion

        return save_motion(self, Path(path), options)

    def _repr_html_(self) -> str:
        """How notebooks show it: figure, time line, what was retrieved."""
        from pipeline.saving import page_within

        return page_within(self)
