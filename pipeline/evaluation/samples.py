"""What is evaluated: pairs of a ground-truth clip and one of its captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.clips import Clip


@dataclass(frozen=True)
class Sample:
    """One caption of one clip.

    Attributes:
        clip_index: number of the clip in its split.
        caption_index: number of the caption among all captions of the split.
        text: the caption.
        frames: length of the clip, and of what is generated for it.
    """

    clip_index: int
    caption_index: int
    text: str
    frames: int


def draw_samples(
    clips: Sequence[Clip], seed: int, repeat: int, max_frames: int, all_captions: bool = False
) -> list[Sample]:
    """Each clip with one caption, drawn by (seed, repeat), or with all of them. No clip is left out."""
    generator = np.random.default_rng((seed, repeat))
    samples, first = [], 0
    for index, clip in enumerate(clips):
        drawn = range(len(clip.captions)) if all_captions else [int(generator.integers(len(clip.captions)))]
        frames = min(len(clip.features), max_frames)
        samples += [Sample(index, first + caption, clip.captions[caption].text, frames) for caption in drawn]
        first += len(clip.captions)
    return samples
