"""Torch datasets over clips. Random choices depend on (seed, epoch, index) only: runs can be repeated."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from data.clips import Clip
from utils.errors import UserError

UNIT_LENGTH = 4  # frames per token step


class EpochDataset(Dataset):
    """Items whose random choices depend on (seed, epoch, index) only.

    Attributes:
        clips: what the items are made of.
        motions: whether the clips' features are looked at.
    """

    clips: list[Clip]
    motions = True

    def __init__(self, seed: int) -> None:
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Makes the random choices those of this epoch."""
        self.epoch = epoch

    def digest(self) -> str:
        """Fingerprint of names, captions and motions of all clips."""
        found = 0
        for clip in self.clips:
            words = "\0".join([clip.id, *(caption.text for caption in clip.captions), str(len(clip.features))])
            found = zlib.crc32(words.encode(errors="surrogatepass"), found)
            if self.motions:
                found = zlib.crc32(np.ascontiguousarray(clip.features), found)
        return f"{found:08x}"

    def generator(self, index: int) -> np.random.Generator:
        """The random numbers of one item."""
        return np.random.default_rng((self.seed, self.epoch, index))


class WindowDataset(EpochDataset):
    """Windows of fixed length, for the tokeniser.

    The starts of a clip are divided into ranges of `stride` frames; an item is one range, its start random there.
    With stride 1 an epoch is every possible window, which is what an epoch means in published training recipes;
    a larger stride makes an epoch (or a validation) that much shorter. Clips shorter than the window are left out.

    Args:
        clips: motions, each (T, D).
        window: frames of a window.
        seed: of the random starts.
        stride: frames a range.

    Raises:
        UserError: no clip is as long as the window.
    """

    def __init__(self, clips: Sequence[Clip], window: int = 64, seed: int = 0, stride: int = 1) -> None:
        if window < 1 or stride < 1:
            raise ValueError(f"window and stride must be positive, not {window} and {stride}")
        self.clips = [clip for clip in clips if len(clip.features) >= window]
        if not self.clips:
            raise UserError(f"none of the {len(clips)} clips has the {window} frames of a window: use shorter windows")
        super().__init__(seed)
        self.window, self.stride = window, stride
        ranges = [-(-(len(clip.features) - window + 1) // stride) for clip in self.clips]
        self._ends = np.cumsum(ranges)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Returns `motion` (window, D) float32, raw units."""
        index = _checked(index, len(self))
        clip_index = int(np.searchsorted(self._ends, index, side="right"))
        features = self.clips[clip_index].features
        first = (index - (int(self._ends[clip_index - 1]) if clip_index else 0)) * self.stride
        choices = min(self.stride, len(features) - self.window + 1 - first)
        start = first + (int(self.generator(index).integers(choices)) if choices > 1 else 0)
        return {"motion": torch.from_numpy(np.array(features[start : start + self.window]))}


class MotionTextDataset(EpochDataset):
    """Motions with one of their captions each, for everything that reads text.

    Args:
        clips: motions with captions, T a multiple of 4.
        max_frames: longer motions are cropped to it, at a random place.
        seed: of captions and crops.
        random_crop: also shortens a third of the motions by one token step, at a random place (training);
            False keeps motions whole, and longer ones from their first frame (evaluation).
        first_caption: number of the first caption where several splits share one numbering.
        motions: False leaves them out of the items: nothing is read for who wants lengths alone.

    Attributes:
        captions: every caption's text, clip after clip; an item's `caption_index` less `first_caption` points in it.

    Raises:
        UserError: there is no clip, or a clip without captions (names it).
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        max_frames: int = 196,
        seed: int = 0,
        random_crop: bool = True,
        first_caption: int = 0,
        motions: bool = True,
    ) -> None:
        if not clips:
            raise UserError("there is no clip to make a dataset of")
        for clip in clips:
            if not clip.captions:
                raise UserError(f"clip {clip.id} has no caption")
        if max_frames < UNIT_LENGTH or max_frames % UNIT_LENGTH:
            raise ValueError(f"max_frames must be a positive multiple of {UNIT_LENGTH}, not {max_frames}")
        self.clips = list(clips)
        super().__init__(seed)
        self.max_frames, self.random_crop, self.motions = max_frames, random_crop, motions
        self.captions = [caption.text for clip in clips for caption in clip.captions]
        self._first_caption = first_caption + np.cumsum([0] + [len(clip.captions) for clip in clips])
        indices: dict[str, int] = {}
        self._take_indices = [indices.setdefault(clip.take, len(indices)) for clip in clips]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns `motion` (T, D) float32 raw units, `length`, `text`, `caption_index`, `clip_index`, `take_index`."""
        index = _checked(index, len(self))
        clip = self.clips[index]
        generator = self.generator(index)
        caption = int(generator.integers(len(clip.captions)))
        first, length = self._crop(len(clip.features), generator)
        return {
            **({"motion": torch.from_numpy(np.array(clip.features[first : first + length]))} if self.motions else {}),
            "length": length,
            "text": clip.captions[caption].text,
            "caption_index": int(self._first_caption[index]) + caption,
            "clip_index": index,
            "take_index": self._take_indices[index],
        }

    def _crop(self, n_frames: int, generator: np.random.Generator) -> tuple[int, int]:
        """First frame and length of a stretch; the length is a multiple of 4 and at most `max_frames`."""
        length = min(n_frames // UNIT_LENGTH * UNIT_LENGTH, self.max_frames)
        if not self.random_crop:
            return 0, length
        if length > UNIT_LENGTH and generator.integers(3) == 0:
            length -= UNIT_LENGTH
        return int(generator.integers(n_frames - length + 1)), length


def _checked(index: int, length: int) -> int:
    """The index, counted from the end when negative; iterating over a dataset ends by IndexError."""
    if not -length <= index < length:
        raise IndexError(index)
    return index % length
