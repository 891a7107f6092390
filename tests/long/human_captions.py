"""Whether motions show what people said of others, in their own words, where the actions are known.

    python -m tests.long.human_captions --texts ../shared/humanml3d_text/texts.zip --dataset_name mini

makes a motion of each labelled caption of HumanML3D (human_captions.txt), some seeds each, and prints the share of the
attributes that the semantic oracle finds, and of the motions that show all of theirs. None of the captions was in
training.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from data.oracle.scores import score_attributes, semantic_accuracy
from pipeline import TextToMotion
from tests.long.known_words import labelled

LABELS = Path(__file__).with_suffix(".txt")


def read_labels(texts: Path) -> list[tuple[str, dict[str, list[dict[str, str]]]]]:
    """Captions and their attributes."""
    return [
        (caption, {"segments": [dict(pair.split("=") for pair in one.split(",")) for one in told.split(";")]})
        for caption, (_, _, told) in labelled(texts, LABELS, 0)
    ]


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True, help="HumanML3D's texts.zip")
    parser.add_argument("--dataset_name", default="mini")
    parser.add_argument("--checkpoints_dir", default="pretrained")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--list", action="store_true", help="print the captions that are not followed")
    options = parser.parse_args()
    t2m = TextToMotion.load(options.checkpoints_dir, options.dataset_name)
    rows = read_labels(options.texts)
    captions = [caption for caption, _ in rows for _ in range(options.seeds)]
    seeds = [seed for _ in rows for seed in range(options.seeds)]
    motions = t2m.generate(captions, seed=seeds)
    scores = [
        score_attributes(motion.joints, rows[number // options.seeds][1], motion.fps)
        for number, motion in enumerate(motions)
    ]
    whole = float(np.mean([all(score.values()) for score in scores]))
    print(
        f"{options.dataset_name}: {len(rows)} captions, {options.seeds} seeds: {semantic_accuracy(scores):.3f} of the"
        f" attributes, {whole:.3f} of the motions show all of theirs"
    )
    missed = Counter()
    for caption, score in zip(captions, scores, strict=True):
        missed[caption] += not all(score.values())
    for caption, count in missed.most_common() if options.list else ():
        if count:
            print(f"{count} of {options.seeds} {caption!r}")


if __name__ == "__main__":
    main()
