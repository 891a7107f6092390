"""The curves of `benchmarks.growth`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import library_size
from benchmarks.curves import Cost, Curve, save_picture
from benchmarks.growth import GrowthOptions, generation, main
from models.rag import database, writing
from models.rag.database import RAGDatabase


def of_squares(theory: float, *sizes: int) -> Curve:
    """A cost that grows as the square of the size, and one that was measured once."""
    costs = [{"work, s": Cost(3.0 * size**2, 1.0)} for size in sizes]
    costs[0]["once, MB"] = Cost(1.0)
    return Curve("squares", "rows", {"work, s": theory, "once, MB": 1.0}, sizes, tuple(costs))


def test_exponents_over_the_last_factor_of_ten() -> None:
    curve = of_squares(1.0, 1, 2, 30, 100)
    assert curve.exponent("work, s") == pytest.approx(2)
    assert np.isnan(curve.exponent("once, MB"))
    early = Curve("late", "rows", {"a, s": 1.0}, (1, 10, 100), tuple({"a, s": Cost(cost)} for cost in (1.0, 5.0, 50.0)))
    assert early.exponent("a, s") == pytest.approx(1)


def test_what_is_steeper_than_its_theory_is_told() -> None:
    assert of_squares(1.0, 1, 2).steeper == ["work, s"] and "| **2.00** | 1 |" in of_squares(1.0, 1, 2).table()
    assert not of_squares(2.0, 1, 2).steeper and "| 3 (1) | 12 (1) | 2.00 | 2 |" in of_squares(2.0, 1, 2).table()


def test_writes_a_small_picture(tmp_path: Path) -> None:
    save_picture(tmp_path / "growth.png", of_squares(1.0, 1, 2, 30))
    assert 1000 < (tmp_path / "growth.png").stat().st_size < 60_000


def test_generation_grows_by_theory() -> None:
    options = GrowthOptions(frames=(40, 80, 120), batches=(1, 2), repeats=1, gpu_id="-1")
    together = generation("batch", options)
    # In company motions of one length share the first pass that is told nothing.
    assert 0.95 < together.exponent("work, GFLOP") < 1
    alone = generation("frames", options)
    work = [cost.amount for cost in alone.line("work, GFLOP")[1]]
    assert 1 < alone.exponent("work, GFLOP") < 1.6
    # Proportional and quadratic parts and nothing else: the third difference of four is that of a line through zero.
    square, straight, _ = np.polyfit([0, *alone.sizes], [0, *work], 2)
    assert square > 0 and straight > 0
    assert np.allclose(np.outer(alone.sizes, [straight]).ravel() + square * np.square(alone.sizes), work, rtol=0.01)


def test_a_row_of_a_library_takes_as_many_bytes_whatever_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (writing, database):
        monkeypatch.setattr(module, "LARGE", 100)
    bytes_a_row = []
    for count in (2000, 8000):
        folder = tmp_path / str(count)
        library_size.make(folder, count, 16, even=False)
        bytes_a_row.append(sum(path.stat().st_size for path in folder.iterdir()) / count)
    assert bytes_a_row[0] == pytest.approx(bytes_a_row[1], rel=0.02)
    assert RAGDatabase.load(tmp_path / "8000").in_files


@pytest.mark.parametrize("sentences", [False, True])
def test_a_made_library_is_measured(sentences: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (writing, database):
        monkeypatch.setattr(module, "LARGE", 100)
    monkeypatch.setattr(library_size, "in_own_process", lambda function, *given: function(*given))
    monkeypatch.setattr(library_size, "REPEATS", 1)
    costs = library_size.measure(tmp_path / "library", 4000, 16, False, "none", sentences)
    assert {"opening, s", "one query, s", "64 queries, s"} < set(costs) <= set(library_size.THEORY)
    assert (RAGDatabase.load(tmp_path / "library").score is not None) == sentences


def test_made_entries_are_those_of_a_library() -> None:
    entries = library_size.motions(library_size.AT_ONCE + 3)
    last = entries[len(entries) - 1]
    assert (last.id, last.take) == ("00016386", "00008193") and last.captions == entries[2].captions
    assert entries.motions_of("00008193") == [16386]


def test_searches_by_codes_leave_the_threads_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (writing, database):
        monkeypatch.setattr(module, "LARGE", 100)
    library_size.make(tmp_path / "library", 4000, 16, even=False)
    library, threads = RAGDatabase.load(tmp_path / "library"), torch.get_num_threads()
    used = []
    near = type(library.rows("both").codes)._near
    monkeypatch.setattr(
        "models.rag.codes.Codes._near",
        staticmethod(lambda *given: used.append(torch.get_num_threads()) or near(*given)),
    )
    torch.set_num_threads(3)
    try:
        library.search(library_size.Rows(16, False).draw(1), 1)
        assert used and set(used) == {1} and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)


def test_mistakes_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from utils.errors import UserError

    monkeypatch.setattr("sys.argv", ["growth", "--curves", "heights"])
    with pytest.raises(UserError, match="--curves heights: must be some of frames, batch, rows, clips"):
        main()
