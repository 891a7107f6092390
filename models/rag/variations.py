"""A training clip retrieved for its own caption, but changed, so that what fits is followed and what it is is learned.

Neighbours of a clip differ from it in all that their captions leave open: from them alone a generator learns to take
the gist of a retrieved motion. A clip of an action that no training clip shows must be followed in detail.

Letters: B batch, C captions, K retrieved, X clips, Y variations of each, N token steps, J part rows, Q quantisers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.transformer.condition import Retrieved
from storage.row_store import Row, digest, identity
from utils.motion_format import MotionFormat
from utils.processes import Draws
from utils.representation import at_tempo

TEMPOS = (0.8, 1.25)  # of the same motion, slower and quicker
SHIFT = 2  # frames by which tokens start elsewhere: half a token step
LEAST_SHARE = 0.6  # of a variation that is seen


@dataclass(frozen=True)
class Variation:
    """Features (T, D) from one frame on, played in `frames` frames where these are not as many; made when looked at."""

    features: np.ndarray | Row
    form: MotionFormat
    first: int
    frames: int
    played: bool

    def __len__(self) -> int:
        return self.frames

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        rows = np.asarray(self.features[self.first :])
        return at_tempo(rows, self.frames, self.form) if self.played else rows[: self.frames]

    @property
    def key(self) -> bytes:
        """Tells it from others."""
        return digest(identity(self.features), f"{self.first} {self.frames} {self.played}")


def variations_of(features: np.ndarray | Row, form: MotionFormat) -> list[Variation]:
    """Features (T, D) of a clip -> its variations, a multiple of a token step long each."""
    unit, frames = form.unit_length, len(features)
    slower = [Variation(features, form, 0, max(unit, round(frames / t / unit) * unit), True) for t in TEMPOS]
    first = SHIFT if frames >= unit + SHIFT else 0
    return [*slower, Variation(features, form, first, (frames - first) // unit * unit, False)]


class Variations:
    """Tokens of the variations of training clips.

    Args:
        tokens: Y codes (n, J, Q) of each of X clips, 16-bit numbers.
        clips: (C,) the clip of each caption.
        motions: (C,) the number of that clip in the library, -1 where it is not there.
        most_steps: longer variations are cut.
        device: of the library.
    """

    def __init__(
        self,
        tokens: Sequence[Sequence[np.ndarray | Row]],
        clips: Sequence[int],
        motions: Sequence[int],
        most_steps: int,
        device: torch.device,
    ) -> None:
        rows = [torch.from_numpy(each[:most_steps]) for clip in tokens for each in clip]
        shape = len(tokens), len(tokens[0])
        self.tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).unflatten(0, shape).to(device)
        self.steps = torch.tensor([len(row) for row in rows], device=device).view(shape)
        self.clips, self.motions = (torch.tensor(each, device=device) for each in (clips, motions))

    def replace(self, retrieved: Retrieved, which: Tensor, caption_index: Tensor, draws: Draws) -> Retrieved:
        """Puts a stretch of a variation of the captions' clips in the place of the nearest retrieved motion's tokens.

        Args:
            which: (B,) where.
        """
        clip = self.clips[caption_index]
        kind = (draws.uniform() * self.tokens.shape[1]).long()
        tokens, steps = self.tokens[clip, kind].long(), self.steps[clip, kind]
        length = (steps * (LEAST_SHARE + (1 - LEAST_SHARE) * draws.uniform())).ceil().long()
        start = ((steps - length + 1) * draws.uniform()).long()
        longest = max(retrieved.tokens.shape[2], tokens.shape[1])
        place = (start[:, None] + torch.arange(longest, device=tokens.device)).clamp(max=tokens.shape[1] - 1)
        seen = tokens.gather(1, place[:, :, None, None].expand(-1, -1, *tokens.shape[2:]))
        padding = (0, 0, 0, 0, 0, longest - retrieved.tokens.shape[2])
        others = torch.nn.functional.pad(retrieved.tokens, padding)
        first = torch.where(which[:, None, None, None], seen[..., : others.shape[-1]], others[:, 0])
        steps = torch.where(which, length, retrieved.steps[:, 0])
        return replace(
            retrieved,
            tokens=torch.cat([first[:, None], others[:, 1:]], dim=1),
            steps=torch.cat([steps[:, None], retrieved.steps[:, 1:]], dim=1),
        )
