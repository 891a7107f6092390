"""The decoder's upsampling computes what repeating and a 3x3 convolution do, for less."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from benchmarks.costs import count
from models.vq.convolution import Upsample

WIDTH, STEPS, SLOTS = 6, 8, 3


@pytest.mark.parametrize("factor", [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (3, 4)])
@pytest.mark.parametrize("masked", [False, True])
def test_is_the_plain_way(factor: tuple[int, int], masked: bool) -> None:
    torch.manual_seed(0)
    layer, grid = Upsample(WIDTH, factor), torch.randn(2, WIDTH, STEPS, SLOTS, requires_grad=True)
    mask = torch.ones(2, 4 * STEPS)
    mask[1, 4 * STEPS // 2 :] = 0
    shown = grid * mask[:, None, ::4, None] if masked else grid
    repeated = shown.repeat_interleave(factor[0], dim=2).repeat_interleave(factor[1], dim=3)
    plain = F.conv2d(repeated, layer.convolution.weight, layer.convolution.bias, padding=1)
    ours = layer(grid, mask if masked else None)
    torch.testing.assert_close(ours, plain)
    weight, seen = layer.convolution.weight, torch.randn_like(plain)
    for expected, got in zip(
        *(torch.autograd.grad((each * seen).sum(), (weight, grid)) for each in (plain, ours)), strict=True
    ):
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_costs_less() -> None:
    layer, grid = Upsample(WIDTH, (2, 2)), torch.randn(1, WIDTH, 2 * STEPS, 2 * SLOTS)
    plain = count(lambda: layer.convolution(grid.repeat_interleave(2, 2).repeat_interleave(2, 3), None)).gflop
    assert count(lambda: layer(grid, None)).gflop == pytest.approx(16 / 36 * plain)
