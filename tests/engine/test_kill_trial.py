"""The kill trial, in short: a real command that is killed in the middle of its writes ends as if it had not been."""

from __future__ import annotations

from pathlib import Path

from storage.checkpoint import read_checkpoint, save_checkpoint
from tests.long.kill_trial import STAGES, differences, trial


def test_a_killed_command_ends_with_the_same_bits(tmp_path: Path) -> None:
    (length,) = [stage for stage in STAGES if stage.name == "length"]
    (row,) = trial(tmp_path, [length], kills=3, seed=1)
    assert (row["kills"], row["inside writes"], row["differences"]) == (3, 2, [])
    run = tmp_path / "killed" / "logs" / "data" / "length"
    assert "its lock is taken over" in (tmp_path / "killed" / "length.out").read_text()
    state = read_checkpoint(run / "model" / "latest.tar")
    state["model"][next(iter(state["model"]))].view(-1)[0] += 1e-6
    save_checkpoint(run / "model" / "latest.tar", state)
    (run / "model" / ".left.1-00000000.tar").touch()
    found = differences(tmp_path / "whole", tmp_path / "killed", length.results)
    assert found == [f"logs/data/length/model/{name}" for name in (".left.1-00000000.tar", "latest.tar")]
