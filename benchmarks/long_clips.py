"""A dataset whose clips are as long as HumanML3D's longest, to try the paper's N = 49 on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.sets import write_set
from data.clips import load_split
from data.specs import SPLITS, DatasetSpec
from utils.representation import features_to_joints, joints_to_features


def stretched(features: np.ndarray, frames: int, layout: str) -> np.ndarray:
    """A motion (T, D), slowed down to at least `frames` frames; its path and its poses stay."""
    if len(features) >= frames:
        return features
    joints = features_to_joints(features, layout)
    at = np.linspace(0, len(joints) - 1, frames + 1)  # one more: features are of pairs of frames
    first = np.minimum(at.astype(int), len(joints) - 2)
    share = (at - first)[:, None, None].astype(np.float32)
    return joints_to_features((1 - share) * joints[first] + share * joints[first + 1], layout)


def write_long_clips(spec: DatasetSpec, folder: Path, frames: int) -> None:
    """Writes the dataset with all clips stretched to `frames` frames; captions stay. A finished one is left alone."""
    if (folder / "dataset.json").is_file():
        return
    splits = {split: _stretched_split(spec, split, frames) for split in SPLITS}
    write_set(folder, splits, spec.format, {"min_frames": spec.min_frames, "max_frames": frames})


def _stretched_split(spec: DatasetSpec, split: str, frames: int) -> Iterator[tuple[str, np.ndarray, str]]:
    clips = load_split(spec, split)
    for clip in tqdm(clips, desc=f"stretching {spec.name}/{split}", delay=2, leave=False, disable=None):
        lines = [f"{caption.text}#{' '.join(caption.tokens)}#0.0#0.0\n" for caption in clip.captions]
        yield clip.id, stretched(clip.features, frames, spec.format), "".join(lines)
