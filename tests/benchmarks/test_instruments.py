"""The instruments of `benchmarks.health` read what the model computes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.instruments import GradientNorms, SavedForBackward, attention_to_memory, slope
from models.transformer.blocks import Attention
from models.transformer.condition import EVERY_PART, Memory


def test_attention_to_memory_is_that_of_the_layer() -> None:
    torch.manual_seed(0)
    layer, cells, memory_rows = Attention(16, 2, 0.0).eval(), 5, 4
    # Values that tell who was looked at: 1 in retrieved rows, 0 elsewhere, carried to the output as they are.
    nn.init.zeros_(layer.value.weight), nn.init.zeros_(layer.value.bias)
    nn.init.eye_(layer.output.weight), nn.init.zeros_(layer.output.bias)
    keys = torch.randn(2, memory_rows, 16)
    mask = torch.ones(2, memory_rows, dtype=torch.bool)
    mask[1, 3] = False
    memory = Memory(keys, torch.zeros_like(keys), mask, torch.full((memory_rows,), EVERY_PART))
    projected = layer.project(memory)
    projected[1][:, :, 2:] = 1.0
    own = torch.ones(2, cells, dtype=torch.bool)
    own[0, 3:] = False
    allowed = torch.cat([own, mask], dim=1)[:, None, None]
    rows = torch.randn(2, cells, 16)
    share, equal = attention_to_memory(layer, rows, allowed, projected, first=2)
    expected = (layer(rows, allowed, projected) - rows).mean(dim=-1)
    assert share.tolist() == pytest.approx([expected[0, :3].mean().item(), expected[1].mean().item()], rel=1e-4)
    assert equal.tolist() == pytest.approx([2 / 7, 1 / 8])


def test_gradient_norms_are_those_of_the_backward_pass() -> None:
    model = nn.ModuleDict({"body": nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)]), "head": nn.Linear(3, 1)})
    norms = GradientNorms(model)

    def backward() -> None:
        model.zero_grad()
        value = torch.ones(2, 3)
        for layer in model["body"]:
            value = layer(value)
        model["head"](value).sum().backward()

    backward()
    assert norms.take() == {}, "measured while off"
    norms.active = True
    backward()
    found = norms.take()
    assert list(found) == ["body.0", "body.1", "head"]
    square = sum(float(parameter.grad.square().sum()) for parameter in model["body"][1].parameters())
    assert found["body.1"] == pytest.approx(math.sqrt(square), rel=1e-5)
    assert norms.take() == {}


def test_what_is_kept_for_the_backward_pass_is_counted_once() -> None:
    model = nn.Linear(8, 16)
    values = torch.randn(4, 8, requires_grad=True)
    with SavedForBackward(model) as saved:
        hidden = model(values)  # keeps its input
        (hidden.exp() + hidden.exp()).sum()  # each keeps its output
        assert saved.take() == 4 * (4 * 8 + 2 * 4 * 16)
        assert saved.take() == 0
    model(values).exp()
    assert saved.take() == 0, "counts outside of its block"


def test_slope_is_the_later_half_a_hundred_steps() -> None:
    assert slope([5.0] * 100 + list(np.linspace(2.0, 1.0, 100))) == pytest.approx(-100 / 99 / 1.5)
    assert slope([1.0] * 10) == pytest.approx(0.0, abs=1e-12) and math.isnan(slope([1.0]))
