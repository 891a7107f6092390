"""Mutated files of every kind at the doors that read them: taken, or refused with one short line, within limits."""

from __future__ import annotations

import pytest

from tests.fuzz.kinds import MODULES
from tests.fuzz.run import failures, run, table

CASES = 2000  # over all kinds


@pytest.mark.parametrize("module", MODULES)
def test_mutated_files_are_taken_or_refused(module: str) -> None:
    cases = CASES // len(MODULES)
    results = run(module, cases)
    assert len(results) == cases
    assert not failures(results), "\n".join(failures(results)[:20])
    assert (
        min(sum(each["outcome"] == outcome for each in results) for outcome in ("accepted", "refused")) > cases / 20
    ), table(results)
