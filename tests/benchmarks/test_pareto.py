"""The contest of designs: what the preset `base` may cost, and that the table says what was measured."""

from __future__ import annotations

import pytest

from benchmarks.pareto import CANDIDATES, Contest, ParetoOptions, cell, flags_beside_preset, gflop, main
from storage.files import write_json
from utils.errors import UserError


def test_base_costs_what_it_may() -> None:
    costs = gflop("base")
    assert 0 < costs["generation"] <= 130
    assert 0 < costs["training"] <= 7


def test_candidates_differ_in_sizes_and_design_alone() -> None:
    flags = flags_beside_preset("mtrans", CANDIDATES["narrow"])
    assert flags[flags.index("--latent_dim") + 1] == "128"
    for candidate in CANDIDATES.values():
        assert flags_beside_preset("rtrans", candidate)[-2:] == flags[-2:]


def test_cell_tells_the_spread_of_seeds() -> None:
    assert cell([0.5], 100) == "50"
    assert cell([0.1, 0.2, 0.3], 10) == "2 ± 1"


def test_needs_what_all_share(tmp_path) -> None:
    with pytest.raises(UserError, match="no run evaluator"):
        Contest(ParetoOptions(checkpoints_dir=str(tmp_path)))


def test_a_training_that_is_there_is_not_made_again(tmp_path) -> None:
    for name in ("evaluator", "tmr"):
        write_json(tmp_path / "mini" / name / "config.json", {})
    write_json(tmp_path / "mini" / "vq_small_s3" / "pareto.json", {"seconds": 7.0, "steps": 3})
    contest = Contest(ParetoOptions(checkpoints_dir=str(tmp_path)))
    assert contest._train("vq", CANDIDATES["small"], "vq_small_s3", 3) == 7


def test_unknown_candidate(monkeypatch) -> None:
    monkeypatch.setattr("sys.argv", ["pareto", "--candidates", "large"])
    with pytest.raises(UserError, match="--candidates large"):
        main()
