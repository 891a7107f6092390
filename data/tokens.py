"""Tokenised motions with captions: what the transformers are trained on.

Letters: B batch, N token steps, J part rows, Q quantisers. Masks: True = valid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from data.clips import Clip
from data.datasets import EpochDataset
from utils.batches import length_mask


class TokenDataset(EpochDataset):
    """One item a clip: its tokens and one of its captions, chosen by (seed, epoch, index).

    Args:
        clips: motions with captions.
        tokens: their codes, (N, J, Q) each.
        max_steps: longer motions are cropped at a random place.
        seed: of captions and crops.
        first_caption: number of the first caption where several splits share one numbering.
        random_crop: also drops a step at either end of a third of the motions.
        shares: see `EpochDataset`.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        tokens: Sequence[Tensor],
        max_steps: int,
        seed: int = 0,
        first_caption: int = 0,
        random_crop: bool = True,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(clips, [1] * len(clips), seed, shares)
        self.tokens, self.max_steps, self.random_crop = list(tokens), max_steps, random_crop
        self._steps = np.array([min(len(rows), max_steps) for rows in self.tokens])
        counts = [len(clip.captions) for clip in clips]
        self._captions = np.split(first_caption + np.arange(sum(counts)), np.cumsum(counts)[:-1])

    @property
    def lengths(self) -> list[int]:
        """Token steps of what is at each place of the epoch, for batches of like length."""
        return self._steps[self.items].tolist()

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns `tokens` (N, J, Q) and `caption_index`."""
        index, generator = self.at(index)
        caption = int(generator.choice(self._captions[index]))
        tokens = self.tokens[index]
        length = min(len(tokens), self.max_steps)
        if self.random_crop and length > 2 and generator.integers(3) == 0:
            length -= 1
        start = int(generator.integers(len(tokens) - length + 1)) if self.random_crop else 0
        return {"tokens": tokens[start : start + length], "caption_index": caption}


def collate_tokens(items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """Pads to `tokens` (B, N, J, Q) with `mask` (B, N) and `caption_index` (B,)."""
    lengths = torch.tensor([len(item["tokens"]) for item in items])
    tokens = pad_sequence([item["tokens"] for item in items], batch_first=True)
    return {
        "tokens": tokens,
        "mask": length_mask(lengths, tokens.shape[1]),
        "caption_index": torch.tensor([item["caption_index"] for item in items]),
    }
