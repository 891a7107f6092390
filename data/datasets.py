"""Torch datasets over clips. Random choices depend on (seed, epoch, place) only: runs can be repeated."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from data.clips import Clip
from data.mixture import SharedEpochs
from utils.errors import UserError

UNIT_LENGTH = 4  # frames per token step


class EpochDataset(Dataset):
    """Items whose random choices depend on (seed, epoch, place) only.

    Args:
        clips: what the items are made of.
        counts: items of each clip.
        seed: of the choices.
        shares: of an epoch's places by dataset; nothing: each item has one place, in order.

    Attributes:
        motions: whether the clips' features are looked at.
    """

    motions = True

    def __init__(
        self, clips: Sequence[Clip], counts: Sequence[int], seed: int, shares: Mapping[str, float] | None = None
    ) -> None:
        self.clips, self.seed, self._n_items = list(clips), seed, sum(counts)
        sources = np.repeat([clip.source for clip in clips], counts)
        self._epochs = SharedEpochs(sources, shares, seed) if shares else None
        self.set_epoch(0)

    def __len__(self) -> int:
        return self._n_items

    def set_epoch(self, epoch: int) -> None:
        """Makes the random choices those of this epoch."""
        self.epoch = epoch
        self.items = np.arange(len(self)) if self._epochs is None else self._epochs.epoch(epoch)

    def digest(self) -> str:
        """Fingerprint of names, captions and motions of all clips."""
        found = 0
        for clip in self.clips:
            words = "\0".join([clip.id, *(caption.text for caption in clip.captions), str(len(clip.features))])
            found = zlib.crc32(words.encode(errors="surrogatepass"), found)
            if self.motions:
                found = zlib.crc32(np.ascontiguousarray(clip.features), found)
        return f"{found:08x}"

    def at(self, place: int) -> tuple[int, np.random.Generator]:
        """The item at a place of this epoch, and its random numbers there; places count from the end when negative."""
        if not -len(self) <= place < len(self):
            raise IndexError(place)  # which ends iterating over a dataset
        place %= len(self)
        return int(self.items[place]), np.random.default_rng((self.seed, self.epoch, place))


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
        shares: see `EpochDataset`.
        tempo: share by which a window is played slower or quicker at most.
        play: features (T, D) and a number of frames -> features of so many frames.

    Raises:
        UserError: no clip is as long as the window.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        window: int = 64,
        seed: int = 0,
        stride: int = 1,
        shares: Mapping[str, float] | None = None,
        tempo: float = 0.0,
        play: Callable[[np.ndarray, int], np.ndarray] | None = None,
    ) -> None:
        if window < 1 or stride < 1:
            raise ValueError(f"window and stride must be positive, not {window} and {stride}")
        long_enough = [clip for clip in clips if len(clip.features) >= window]
        if not long_enough:
            raise UserError(
                f"none of the {len(clips)} clips has the {window} frames of a window: use a smaller --window_size"
            )
        ranges = [-(-(len(clip.features) - window + 1) // stride) for clip in long_enough]
        super().__init__(long_enough, ranges, seed, shares)
        self.window, self.stride, self._ends = window, stride, np.cumsum(ranges)
        self.tempo, self.play = tempo, play

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Returns `motion` (window, D) float32, raw units."""
        item, generator = self.at(index)
        clip_index = int(np.searchsorted(self._ends, item, side="right"))
        features = self.clips[clip_index].features
        first = (item - (int(self._ends[clip_index - 1]) if clip_index else 0)) * self.stride
        choices = min(self.stride, len(features) - self.window + 1 - first)
        start = first + (int(generator.integers(choices)) if choices > 1 else 0)
        frames = self.window
        if self.play is not None:
            frames = round(self.window * (1 + self.tempo * generator.uniform(-1, 1)))
            start = max(0, min(start, len(features) - frames))
        motion = np.array(features[start : start + frames])
        return {"motion": torch.from_numpy(motion if self.play is None else self.play(motion, self.window))}


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
        shares: see `EpochDataset`.

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
        shares: Mapping[str, float] | None = None,
    ) -> None:
        if not clips:
            raise UserError("there is no clip to make a dataset of")
        for clip in clips:
            if not clip.captions:
                raise UserError(f"clip {clip.id} has no caption")
        if max_frames < UNIT_LENGTH or max_frames % UNIT_LENGTH:
            raise ValueError(f"max_frames must be a positive multiple of {UNIT_LENGTH}, not {max_frames}")
        super().__init__(clips, [1] * len(clips), seed, shares)
        self.max_frames, self.random_crop, self.motions = max_frames, random_crop, motions
        self.captions = [caption.text for clip in clips for caption in clip.captions]
        self._first_caption = first_caption + np.cumsum([0] + [len(clip.captions) for clip in clips])
        indices: dict[str, int] = {}
        self._take_indices = [indices.setdefault(clip.take, len(indices)) for clip in clips]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns `motion` (T, D) float32 raw units, `length`, `text`, `caption_index`, `clip_index`, `take_index`."""
        index, generator = self.at(index)
        clip = self.clips[index]
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
