"""Trainings on two nodes that lose a process, a launcher, or are told to end: `python -m tests.long.two_agents 3`.

The number is that of rounds (1). Every training ends with the weights of an undisturbed one, bitwise; else it says so
and exits with 1.
"""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path

from tests.engine.test_two_agents import agent, ended, free_port, meet, refusals, replaced_agent, same_end, two


def interrupted(folder: Path, first: str = "", second: str = "stop") -> list[tuple[int, str]]:
    """One launcher gets SIGTERM in the middle; then the same commands again."""
    found = two(folder, first, second)
    assert [code for code, _ in found] == [130, 130], found
    return two(folder)


def host_lost(folder: Path) -> list[tuple[int, str]]:
    """The launcher where the nodes meet is killed; then the same commands again."""
    folder.mkdir()
    port = free_port()
    lost = agent(folder, port, "wait")
    other = agent(folder, meet(port))
    while not (folder / "waiting").exists():
        assert lost.poll() is None and other.poll() is None
    lost.kill()
    lost.communicate()
    [(code, words)] = ended(other)
    assert code not in (0, 2, 130), words
    return two(folder)


def main() -> int:
    """Runs all trials; prints a line each."""
    failures = 0
    with tempfile.TemporaryDirectory(prefix="two_agents_") as place:
        whole = Path(place) / "whole"
        assert [code for code, _ in two(whole)] == [0, 0]
        trials = {
            "the second node's process killed": lambda folder: two(folder, second="kill"),
            "the first node's process killed": lambda folder: two(folder, first="kill"),
            "the second launcher killed and replaced": replaced_agent,
            "the second launcher told to end, all started again": interrupted,
            "the first launcher told to end, all started again": partial(interrupted, first="stop", second=""),
            "the meeting place lost, all started again": host_lost,
        }
        for number in range(int(sys.argv[1]) if len(sys.argv) > 1 else 1):
            for name, trial in trials.items():
                folder = Path(place) / f"{name} {number}"
                try:
                    found = trial(folder)
                    assert [code for code, _ in found] == [0, 0], found
                    same_end(folder, whole)
                    print(f"{name}: the same weights", flush=True)
                except Exception as error:  # noqa: BLE001 - the other trials go on
                    failures += 1
                    print(f"{name}: FAILED: {error!r:.2000}", flush=True)
        for trouble in ("fewer", "content"):
            print("refused:", refusals(two(Path(place) / trouble, "same", trouble))[0].strip(), flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
