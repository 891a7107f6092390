"""Learning rate, order of samples and seeds as functions of the step."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.schedule import epoch_batches, learning_rate_factor, pieces_of, seed_everything
from engine.settings import TrainSettings


def factors(total: int = 100, **settings: object) -> list[float]:
    made = TrainSettings(warm_up_iter=10, **settings)
    return [learning_rate_factor(made, step, total) for step in range(total)]


def test_warm_up_rises_to_one() -> None:
    rates = factors(schedule="constant")
    assert rates[:11] == pytest.approx([(step + 1) / 11 for step in range(11)]) and set(rates[10:]) == {1.0}


def test_step_schedule_falls_at_milestones() -> None:
    rates = factors(schedule="step", milestones=(20, 50), gamma=0.1)
    assert [rates[step] for step in (19, 20, 49, 50)] == pytest.approx([1, 0.1, 0.1, 0.01])


def test_cosine_ends_at_gamma() -> None:
    rates = factors(schedule="cosine", gamma=0.1)
    assert rates[10] == 1.0 and rates[-1] == pytest.approx(0.1, abs=0.01)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    late = TrainSettings(warm_up_iter=0, schedule="cosine", gamma=0.1)
    assert learning_rate_factor(late, 500, 100) == pytest.approx(0.1)


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 4), st.integers(0, 3))
def test_processes_share_each_batch(samples: int, batch_size: int, world: int, epoch: int) -> None:
    if batch_size % world or samples < world:
        return
    shares = [epoch_batches(samples, batch_size, 7, epoch, rank, world) for rank in range(world)]
    alone = epoch_batches(samples, min(batch_size, samples // world * world), 7, epoch)
    assert [sorted(sum(parts, [])) for parts in zip(*shares, strict=True)] == [sorted(batch) for batch in alone]
    flat = sum(alone, [])
    assert len(flat) == len(set(flat)) and samples - len(flat) < max(batch_size, world)
    assert len({len(batch) for share in shares for batch in share}) == 1


def test_order_depends_on_seed_and_epoch_only() -> None:
    assert epoch_batches(50, 8, 1, 2) == epoch_batches(50, 8, 1, 2)
    assert len({str(epoch_batches(50, 8, seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4


@pytest.mark.parametrize(("samples", "batch_size", "world"), [(1, 4, 2), (10, 3, 2), (10, 1, 2)])
def test_uneven_shares_are_refused(samples: int, batch_size: int, world: int) -> None:
    with pytest.raises(ValueError, match="cannot be shared evenly by 2 processes"):
        epoch_batches(samples, batch_size, 0, 0, 0, world)


def test_seeds_reach_all_generators_and_differ() -> None:
    def draw(*numbers: int) -> tuple[float, float, float]:
        seed_everything(*numbers)
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    draws = {numbers: draw(*numbers) for numbers in [(1, 2, 0), (1, 2, 1), (1, 3, 0), (2, 2, 0)]}
    assert draw(1, 2, 0) == draws[1, 2, 0]
    for values in zip(*draws.values(), strict=True):
        assert len(set(values)) == 4


def test_batches_of_like_length_hold_every_sample_once() -> None:
    lengths = np.random.default_rng(0).integers(10, 50, 400).tolist()
    batches = epoch_batches(400, 8, 1, 0, lengths=lengths)
    assert sorted(index for batch in batches for index in batch) == list(range(400))
    spread = [np.ptp([lengths[index] for index in batch]) for batch in batches]
    plain = [np.ptp([lengths[index] for index in batch]) for batch in epoch_batches(400, 8, 1, 0)]
    assert np.mean(spread) < 0.3 * np.mean(plain)
    assert batches != epoch_batches(400, 8, 1, 1, lengths=lengths)
    shares = [epoch_batches(400, 8, 1, 0, rank, 2, lengths) for rank in (0, 1)]
    for whole, *parts in zip(batches, *shares, strict=True):
        assert sorted(whole) == sorted(parts[0] + parts[1])


@given(st.integers(1, 40), st.integers(1, 12))
def test_pieces_are_the_batch_in_like_sizes(size: int, count: int) -> None:
    count = min(size, count)
    pieces = pieces_of(list(range(size)), count)
    assert [index for piece in pieces for index in piece] == list(range(size))
    assert len(pieces) == count and {len(piece) for piece in pieces} <= {size // count, size // count + 1}
