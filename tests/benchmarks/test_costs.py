"""What `benchmarks.run` counts, and that the counts of the stored tables still hold."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.costs import count, matrix_peak, synchronised
from benchmarks.lengths import expected, training_steps
from benchmarks.run import RESULTS, main, measure, row
from storage.files import read_json
from utils.errors import UserError

CPU = torch.device("cpu")
TOLERANCE = 0.1
HELD = ("vq", "tmr", "mtrans", "rtrans", "length", "evaluator", "retrieval")


def test_counts_products_and_attention() -> None:
    left, query = torch.randn(30, 40), torch.randn(2, 3, 50, 8)
    assert count(lambda: left @ left.T).gflop == pytest.approx(2 * 30 * 30 * 40 / 1e9)
    attention = count(lambda: nn.functional.scaled_dot_product_attention(query, query, query)).gflop
    assert attention == pytest.approx(2 * 2 * 2 * 3 * 50 * 50 * 8 / 1e9)


def test_follows_memory() -> None:
    def job() -> None:
        rows = torch.zeros(1000)
        for _ in range(5):
            rows = rows + 1  # the former ones are given back

    counts = count(job)
    assert counts.allocated == pytest.approx(6 * 4000 / 1e9)
    assert counts.peak == pytest.approx(2 * 4000 / 1e9)


def test_what_a_backward_pass_needs_is_alive() -> None:
    layers = nn.Sequential(*(nn.Linear(64, 64) for _ in range(8)))
    rows = torch.randn(1000, 64)
    kept = count(lambda: layers(rows).sum().backward()).peak
    with torch.no_grad():
        passing = count(lambda: layers(rows).sum()).peak
    assert kept > 7 * 256_000 / 1e9 > 3 * passing > 256_000 / 1e9


def test_a_view_takes_no_memory() -> None:
    rows = torch.zeros(1000)
    assert count(lambda: rows.view(10, 100).transpose(0, 1)[3:].add_(1)).allocated == 0


def test_seconds() -> None:
    assert synchronised(lambda: None, CPU) < 1
    assert matrix_peak(CPU) > 0.1


@pytest.mark.parametrize("kind", HELD)
def test_costs_what_is_stored(kind: str) -> None:
    stored = read_json(RESULTS / "mini.json")["work"]
    for name, numbers in measure(kind, "mini", CPU, repeats=0):
        for what in ("gflop", "made"):
            assert numbers[what] == pytest.approx(stored[name][what], rel=TOLERANCE), (name, what)


def test_lengths_of_a_set_cost_what_its_batches_are_padded_to(tmp_path: Path) -> None:
    (tmp_path / "lengths.csv").write_text("id,source,frames\n1,a,196\n2,a,300\n3,a,\n4,a,20\n5,a,98\n")
    (tmp_path / "train.txt").write_text("1\n2\nM5\n3\n4\n9\n")
    steps = training_steps(tmp_path)
    assert steps == [49, 49, 24]
    stored = read_json(RESULTS / "mini.json")["work"]["rtrans training step"]["gflop"]
    found = expected("rtrans", "mini", CPU, steps)
    assert found.gflop == pytest.approx(stored, rel=0.02) and found.padding == pytest.approx(1 - sum(steps) / (3 * 49))
    with pytest.raises(UserError, match="train.txt is missing"):
        (tmp_path / "train.txt").unlink() or training_steps(tmp_path)


def test_a_line_says_what_was_not_measured() -> None:
    assert row("demo", {"samples": 1}) == ["demo", *"------"]
    assert row("step", {"samples": 2, "gflop": 3.0, "seconds": 0.5, "cost": 9.0})[1:5] == ["3", "0.5", "2", "9"]


def test_an_unknown_stage_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["run", "--stage", "vq,sleep"])
    with pytest.raises(UserError, match="sleep"):
        main()
