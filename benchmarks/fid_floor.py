"""What FID says of real motions that are not the reference's own: no generator should be expected below it.

    python -m benchmarks.fid_floor --dataset_name mini --checkpoints_dir pretrained

For every test clip it takes the training clips whose captions are the closest to the test clip's, and compares those
real motions with the test split. A reconstruction is compared with the very clips that it was made from, so the `vq`
row of an evaluation can be far below this number; a generated motion is another performance of the caption.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as functional

from data.clips import Clip, load_split
from data.specs import get_spec, require_split
from models.evaluator.interface import load_evaluator
from models.text_encoder import build_text_encoder
from options.command_line import parse
from utils.errors import run_script
from utils.metrics import frechet_distance
from utils.schema import option


@dataclass(frozen=True)
class FloorOptions:
    """Whose floor."""

    dataset_name: str = option("mini", "dataset")
    checkpoints_dir: str = option("pretrained", "folder of the runs, where the evaluator is looked for")
    closest: int = option(5, "training clips a test clip, from the closest on; a number each", minimum=1)


def closest_clips(train: list[Clip], test: list[Clip], count: int) -> np.ndarray:
    """(count, number of test clips): training clips, the closest captions first."""
    encoder = build_text_encoder("minilm")
    captions = [(number, caption.text) for number, clip in enumerate(train) for caption in clip.captions]
    library, queries = (
        functional.normalize(encoder.encode(texts), dim=1).numpy()
        for texts in ([text for _, text in captions], [clip.captions[0].text for clip in test])
    )
    owners = np.array([number for number, _ in captions])
    chosen = []
    for order in np.argsort(-queries @ library.T, axis=1, kind="stable"):
        distinct = list(dict.fromkeys(owners[order].tolist()))
        chosen.append(distinct[:count])
    return np.array(chosen).T


def main() -> None:
    """Options -> FID of each rank."""
    options = parse(FloorOptions, description=__doc__)
    spec = get_spec(options.dataset_name)
    require_split(spec, "test")
    train, test = load_split(spec, "train"), load_split(spec, "test")
    evaluator = load_evaluator(spec, options.checkpoints_dir)
    real, others = (
        evaluator.embed_motion([clip.features[: spec.max_frames] for clip in clips]) for clips in (test, train)
    )
    ranks = closest_clips(train, test, min(options.closest, len(train)))
    distances = [frechet_distance(real, others[rank]) for rank in ranks]
    print(f"{spec.name}: FID of real training clips of the closest captions against the {len(test)} test clips")
    print(f"  {np.mean(distances):.5f} (from {min(distances):.5f} to {max(distances):.5f}, {len(distances)} choices)")


if __name__ == "__main__":
    run_script(main)
