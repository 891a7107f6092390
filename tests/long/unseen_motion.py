"""How well a tokeniser gives back motion of data sets that it may never have seen.

    python -m tests.long.unseen_motion cmu mini --checkpoints_dir pretrained --dataset_name mini --split test

A line a data set (mirrored clips and all but the first 196 frames are left out): mean joint errors about the root and
with drift, and foot skate a frame, in centimetres, of all levels and of the base level; last the skate of the clips.
"""

from __future__ import annotations

import argparse

import numpy as np

from data.clips import load_split
from data.specs import get_spec
from models.vq.tokenise import detokenise, tokenise
from pipeline.loader import load_run
from pipeline.runs import Runs
from utils.metrics import foot_skate, joint_error, root_aligned_joint_error
from utils.motion_format import CONTACT, MotionFormat
from utils.representation import features_to_joints

MOST_FRAMES = 196


def skate(motions: list[np.ndarray], form: MotionFormat) -> float:
    """Mean foot skate of features (T, D), metres."""
    found = [
        foot_skate(features_to_joints(each, form)[:, form.feet], each[:, form.contacts] > CONTACT, form.fps)
        for each in motions
    ]
    return float(np.nanmean(found))


def main() -> None:
    """Prints a line a data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+")
    parser.add_argument("--split", default="test")
    parser.add_argument("--checkpoints_dir", default="pretrained")
    parser.add_argument("--dataset_name", default="mini")
    parser.add_argument("--name", default="vq")
    parser.add_argument("--most", type=int, default=150, help="clips of a data set, drawn at random")
    options = parser.parse_args()
    model = load_run(Runs(options.checkpoints_dir, get_spec(options.dataset_name)).open(options.name, "vq"))
    form = model.form
    for name in options.sets:
        clips = [clip for clip in load_split(get_spec(name), options.split, keep_long=True) if clip.id[:1] != "M"]
        chosen = np.random.default_rng(0).permutation(len(clips))[: options.most]
        motions = [np.asarray(clips[number].features)[:MOST_FRAMES] for number in chosen]
        motions = [each[: len(each) // 4 * 4] for each in motions]
        real, codes, told = [features_to_joints(each, form) for each in motions], tokenise(model, motions), []
        for levels in (model.config.num_quantizers, 1):
            made = detokenise(model, [each[..., :levels] for each in codes])
            pairs = list(zip(real, [features_to_joints(each, form) for each in made], strict=True))
            rooted, drifted = (
                np.mean([np.mean(error(*pair)) for pair in pairs]) for error in (root_aligned_joint_error, joint_error)
            )
            told.append(f"{100 * rooted:.2f}, with drift {100 * drifted:.1f}, skate {100 * skate(made, form):.2f}")
        print(f"{name} {options.split}, {len(motions)} clips: {told[0]}; base level {told[1]}; clips' skate", end=" ")
        print(f"{100 * skate(motions, form):.2f}", flush=True)


if __name__ == "__main__":
    main()
