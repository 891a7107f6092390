"""Contrastive losses: who is a positive, who is a negative, who is neither."""

import math

import pytest
import torch
import torch.nn.functional as functional

from Part_TMR.losses import info_nce, not_negatives, part_info_nce


def unit(*shape: int) -> torch.Tensor:
    return functional.normalize(torch.randn(*shape), dim=-1)


def test_is_cross_entropy_of_the_similarities() -> None:
    queries, keys = unit(3, 8), unit(5, 8)
    expected = sum(
        math.log(sum(math.exp(float(query @ key) / 0.1) for key in keys)) - float(query @ keys[row]) / 0.1
        for row, query in enumerate(queries)
    )
    loss = info_nce(queries, keys, torch.zeros(3, 5, dtype=torch.bool), 0.1)
    assert float(loss) == pytest.approx(expected / 3, rel=1e-5)


def test_ignored_keys_do_not_count_but_the_positive_always_does() -> None:
    queries, keys = unit(3, 8), unit(5, 8)
    takes, key_takes = torch.tensor([0, 1, 2]), torch.tensor([0, 1, 2, 1, 9])
    captions, key_captions = torch.tensor([5, 6, 7]), torch.tensor([5, 6, 7, 8, 5])
    ignored = not_negatives(takes, captions, key_takes, key_captions)
    assert ignored.tolist() == [
        [True, False, False, False, True],
        [False, True, False, True, False],
        [False, False, True, False, False],
    ]
    # A perfect match among the ignored keys moves nothing; the same match as a negative does.
    changed = keys.clone()
    changed[4] = queries[0]
    query, nothing = queries[:1], torch.zeros_like(ignored[:1])
    torch.testing.assert_close(info_nce(query, changed, ignored[:1], 0.07), info_nce(query, keys, ignored[:1], 0.07))
    assert info_nce(query, changed, nothing, 0.07) > info_nce(query, keys, nothing, 0.07)


def test_part_loss_is_the_mean_over_parts() -> None:
    texts, parts = unit(4, 6, 8), unit(4, 6, 8)
    nothing = torch.zeros(4, 4, dtype=torch.bool)
    each = [info_nce(texts[:, part], parts[:, part], nothing, 0.07) for part in range(6)]
    torch.testing.assert_close(part_info_nce(texts, parts, nothing, 0.07), torch.stack(each).mean())


def test_mixed_precision_does_not_blur_the_similarities() -> None:
    queries, keys, nothing = unit(3, 64), unit(5, 64), torch.zeros(3, 5, dtype=torch.bool)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = info_nce(queries, keys, nothing, 0.01)
    torch.testing.assert_close(loss, info_nce(queries, keys, nothing, 0.01))
