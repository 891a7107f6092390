"""Are clips of actions that no model was trained on imitated once they are added to the library?

    python -m tests.long.imitation FOLDER --checkpoints_dir pretrained --dataset_name open

FOLDER holds features or motions with a `.txt` file of captions beside each, one clip an action. All are added to the
library, each without its last caption if it has several; then each clip's first caption asks, with five seeds, at the
clip's length. Told are the ways of torso (neck), wrists and ankles about the root against the clip's, after the best
alignment in time: of what was generated with the library, with it but by the caption that it does not hold, without
it, and of the library's own nearest motion. Imitated: as near as a third of the way from the clip to motions as they
usually are, and nearer than to any other of the clips.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from data.clips import Clip
from models.vq.tokenise import decode_motions, tokenise
from Part_TMR.library import embed_library, read_own_clips
from pipeline import TextToMotion
from pipeline.library import entry_of
from utils.motion_format import MotionFormat

JOINTS = ("neck", "left_wrist", "right_wrist", "left_ankle", "right_ankle")
NEAR = 1 / 3
WARP = 0.2  # of the length, by which alignment may leave the diagonal
USUAL = 60  # motions of the library that tell how far motions are from each other


def ways(features: np.ndarray, form: MotionFormat) -> np.ndarray:
    """Features (T, D) -> (T, 5, 3) metres about the root, heading removed."""
    places = features[:, form.positions].reshape(len(features), form.n_joints - 1, 3)
    root = np.zeros((len(features), 1, 3), features.dtype)
    root[:, 0, 1] = features[:, 3]
    return (places[:, [form.joint_names.index(name) - 1 for name in JOINTS]] - root) / form.units_per_metre


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Mean distance of ways (T, 5, 3) and (T', 5, 3), metres, along the best alignment in time."""
    cost = np.linalg.norm(one[:, None] - other[None], axis=-1).mean(axis=-1)
    rows, columns = cost.shape
    slope, band = columns / rows, max(4.0, WARP * columns)
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0.0
    steps = np.zeros_like(total)
    for row in range(1, rows + 1):
        first, last = max(1, int(row * slope - band)), min(columns, int(row * slope + band) + 1)
        for column in range(first, last + 1):
            before = min((row - 1, column - 1), (row - 1, column), (row, column - 1), key=lambda cell: total[cell])
            total[row, column] = total[before] + cost[row - 1, column - 1]
            steps[row, column] = steps[before] + 1
    return float(total[rows, columns] / steps[rows, columns])


def nearest_of(library: list[np.ndarray], way: np.ndarray) -> tuple[float, float]:
    """Median and least distance of some motions of the library."""
    found = [distance(each, way) for each in library]
    return float(np.median(found)), min(found)


def main() -> None:
    """Prints a line an action, then how many are imitated."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checkpoints_dir", default="pretrained")
    parser.add_argument("--dataset_name", default="open")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    t2m = TextToMotion.load(options.checkpoints_dir, options.dataset_name)
    form, spec = t2m.spec.format, t2m.spec
    clips: list[Clip] = read_own_clips(options.folder, (), spec)
    features = [clip.features[: len(clip.features) // 4 * 4][: spec.max_frames] for clip in clips]
    targets = [ways(each, form) for each in features]
    rng = np.random.default_rng(0)
    some = rng.permutation(len(t2m.database))[:USUAL]
    library = [ways(each, form) for each in _library_motions(t2m, some)]
    entries = [
        replace(
            entry, id=f"added/{entry.id}", take=f"added/{entry.take}", captions=entry.captions[:-1] or entry.captions
        )
        for entry in map(entry_of, clips)
    ]
    sentences = t2m.database.embedded.sentences is not None
    made = embed_library(t2m.retriever, entries, features, tokenise(t2m.vq, features), sentences=sentences)
    t2m.database = t2m.database.add(made)
    seeds, imitated = list(range(options.seeds)), {"own caption": [], "new words": []}
    print(
        f"{len(clips)} clips; distances in cm; usual: median of {len(library)} motions of the library, nearest of them"
    )
    for number, (clip, target) in enumerate(zip(clips, targets, strict=True)):
        usual, nearest = nearest_of(library, target)
        texts = [caption.text for caption in clip.captions]
        told, found = {}, {}
        for name, text, retrieval in (
            ("own caption", texts[0], True),
            ("new words", texts[-1], True),
            ("no retrieval", texts[0], False),
        ):
            motions = t2m.generate([text] * len(seeds), lengths=len(target), seed=seeds, retrieval=retrieval)
            told[name] = [[distance(ways(motion.features, form), other) for other in targets] for motion in motions]
            if name in imitated:
                found[name] = sum(motion.retrieved[0][0] == f"added/{clip.id}" for motion in motions)
                right = [row[number] <= NEAR * usual and row[number] == min(row) for row in told[name]]
                imitated[name].append(sum(right))
        means = "  ".join(f"{name} {100 * np.mean([row[number] for row in rows]):5.1f}" for name, rows in told.items())
        counts = ", ".join(
            f"by {name} found {found[name]} imitated {made[-1]} of {len(seeds)}" for name, made in imitated.items()
        )
        print(
            f"{clip.id:24} {counts}  {means}  usual {100 * usual:5.1f} nearest {100 * nearest:5.1f}  {texts[0][:60]}",
            flush=True,
        )
    enough = -(-4 * options.seeds // 5)
    for name, made in imitated.items():
        clearly = sum(count >= enough for count in made)
        print(f"{name}: imitated with {enough} of {len(seeds)} seeds {clearly} of {len(made)} clips")


def _library_motions(t2m: TextToMotion, numbers: np.ndarray) -> list[np.ndarray]:
    """Motions of the library, from their tokens."""
    chosen = torch.from_numpy(numbers)
    steps = t2m.database.embedded.steps[chosen].long()
    return decode_motions(t2m.vq, t2m.database.embedded.tokens[chosen].long(), steps)


if __name__ == "__main__":
    main()
