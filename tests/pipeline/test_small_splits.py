"""Splits that are too small for what they are for: the rules, and what is said."""

from __future__ import annotations

import numpy as np
import pytest

from data.clips import Clip
from pipeline.evaluation.scores import few_for_fid, small_split
from pipeline.stages import FEW_TAKES, FEWEST_CHOOSING, choosing_of, find_judge
from utils import metrics


def clips(count: int, copies: int = 1) -> list[Clip]:
    """So many performances, each as often."""
    return [Clip(f"{'M' * copy}{n}", f"{n}", np.zeros((40, 263))) for n in range(count) for copy in range(copies)]


@pytest.mark.parametrize(
    "train, val, tuned, chooses, lines",
    [
        (30, 5, False, True, []),
        (2000, 100, True, True, []),
        (30, 0, True, False, ["warning: val is empty: checkpoints cannot be chosen by it, the last one is kept"]),
        (30, 1, True, False, ["warning: val has 1 performance, fewer than 5: checkpoints cannot be chosen by it, the"]),
        (30, 4, True, False, ["warning: val has 4 performances, fewer than 5"]),
        (9, 5, True, True, ["warning: train has 18 clips of 9 performances, fewer than 30: their words and motions"]),
        (1, 5, False, True, ["warning: train has 2 clips of 1 performance, fewer than 30"]),
        (9, 1, False, False, ["and little else; --init_from starts from a trained model", "val has 1 performance,"]),
    ],
)
def test_what_splits_are_too_small_for(train: int, val: int, tuned: bool, chooses: bool, lines: list[str]) -> None:
    """A mirrored copy is no performance more."""
    found, told = choosing_of(clips(train, 2), clips(val, 2), tuned)
    assert found == chooses and len(told) == len(lines), told
    assert all(line in each for line, each in zip(lines, told, strict=True))
    assert not tuned or "--init_from" not in " ".join(told)


def test_limits_stay_what_the_words_say() -> None:
    assert (FEW_TAKES, FEWEST_CHOOSING) == (30, 5)
    assert find_judge(None, "", None, clips(FEWEST_CHOOSING - 1, 2)) is None


@pytest.mark.parametrize("dimension", [4, 16])
def test_fid_of_no_more_clips_than_dimensions_says_nothing(dimension: int) -> None:
    """Sets of one distribution are as far apart as if they were of two, until there are more clips than dimensions."""
    generator = np.random.default_rng(0)
    distances = {}
    for count in (dimension // 2, dimension, 50 * dimension):
        pair = generator.normal(size=(2, count, dimension))
        with np.testing.suppress_warnings() as quiet:
            quiet.filter(RuntimeWarning)
            distances[few_for_fid(count, dimension)] = metrics.frechet_distance(*pair) / dimension
    assert distances[True] > 0.3 > 5 * distances[False]
    assert not small_split(50 * dimension, dimension) and len(small_split(dimension, dimension)) == 2
