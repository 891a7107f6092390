"""The curves of `benchmarks.growth`."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from benchmarks.growth import Curve, curve, exponent, main, save_picture


def test_exponents() -> None:
    assert [exponent((1, 2, 4), (3.0, 6.0, 24.0), number) for number in range(3)] == ["", "1.00", "2.00"]


def test_counts_every_size() -> None:
    def square(size: int):
        matrix = torch.ones(size, size)
        return lambda: matrix @ matrix

    found = curve("product", "rows", (16, 32), square, torch.device("cpu"), repeats=1)
    assert found.gflop == (2 * 16**3 / 1e9, 2 * 32**3 / 1e9)
    assert "| 32 | 6.55e-05 | 3.00 |" in found.table()


def test_writes_a_picture(tmp_path: Path) -> None:
    save_picture(tmp_path / "growth.png", [Curve("a", "b", (1, 2), (), (1.0, 2.0))] * 2)
    assert (tmp_path / "growth.png").stat().st_size > 1000


def test_generation_grows_by_theory(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    sizes = ["--frames", "40", "80", "--batches", "1", "2"]
    monkeypatch.setattr("sys.argv", ["growth", *sizes, "--repeats", "1"])
    main()
    one, together = capsys.readouterr().out.split("motions at once")[:2]
    rows = [
        [float(cell.strip() or 0) for cell in line.split("|")[1:4]]
        for line in one.splitlines()
        if line[:3] in ("| 4", "| 8")
    ]
    for (_, less, _), (_, more, power) in itertools.pairwise(rows):
        assert less < more and 1 <= power < 1.6
    assert "| 2 |" in together
