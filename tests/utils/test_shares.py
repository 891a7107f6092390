"""Which share a process is told to take."""

from __future__ import annotations

from pathlib import Path

import pytest

from utils.errors import UserError
from utils.shares import Share, all_shares, own_share, share_name

ARRAY = {"SLURM_ARRAY_TASK_ID": "12", "SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_COUNT": "4"}


@pytest.mark.parametrize(
    ("flag", "environment", "expected"),
    [
        (None, {}, (1, 1)),
        ("3/8", {"RANK": "1", "WORLD_SIZE": "2"}, (3, 8)),
        ("1/1", {"RANK": "1", "WORLD_SIZE": "2"}, (1, 1)),
        (None, {"RANK": "1", "WORLD_SIZE": "2"}, (2, 2)),
        (None, {"RANK": "0", "WORLD_SIZE": "1"}, (1, 1)),
        (None, {"SLURM_PROCID": "2", "SLURM_NTASKS": "3"}, (3, 3)),
        (None, {"SLURM_PROCID": "2", "SLURM_NTASKS": "9", "SLURM_STEP_NUM_TASKS": "3"}, (3, 3)),
        (None, {"RANK": "0", "WORLD_SIZE": "2", "SLURM_PROCID": "2", "SLURM_NTASKS": "3"}, (1, 2)),
        (None, ARRAY, (3, 4)),
        (None, ARRAY | {"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, (6, 8)),
        (None, ARRAY | {"SLURM_ARRAY_TASK_ID": "16", "SLURM_ARRAY_TASK_STEP": "2"}, (4, 4)),
    ],
)
def test_a_share_follows_from_flag_or_variables(flag: str | None, environment: dict, expected: tuple) -> None:
    share = own_share(flag, environment)
    assert (share.number, share.count) == expected and share.whole == (expected[1] == 1)
    assert share.whole or share.source


@pytest.mark.parametrize(
    ("flag", "environment", "message"),
    [
        ("9/8", {}, "--shard 9/8 must look like"),
        ("0/8", {}, "--shard 0/8 must look like"),
        (f"1/{'9' * 5000}", {}, "--shard must be a whole number"),
        (None, {"RANK": "2", "WORLD_SIZE": "2"}, "RANK 2 is no place among WORLD_SIZE 2"),
        (None, {"RANK": "x", "WORLD_SIZE": "2"}, "RANK must be a whole number, not x"),
        (None, ARRAY | {"SLURM_ARRAY_TASK_ID": "31"}, "SLURM_ARRAY_TASK_ID 31 is no place among 4"),
        (None, ARRAY | {"SLURM_ARRAY_TASK_STEP": "3"}, "is no place among 4"),
    ],
)
def test_no_share_is_guessed(flag: str | None, environment: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        own_share(flag, environment)


@pytest.mark.parametrize("total", [0, 1, 2, 7, 100])
def test_shares_are_the_whole(total: int) -> None:
    for count in (1, 2, 3, 8):
        parts = [number for n in range(count) for number in Share(n + 1, count).of(total)]
        assert parts == list(range(total))


def test_what_lies_beside_is_told_apart(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        (tmp_path / share_name("a[1].", Share(number, 10))).mkdir()
    for name in ("a[1].shard-3-of-10.bak", "a1.shard-3-of-10", "a[1].shard-03-of-10", "a[1].shard-x-of-10"):
        (tmp_path / name).mkdir()
    with pytest.raises(UserError, match="lacks the shards 3/10, 4/10, 5/10, 6/10, 7/10, 8/10, 9/10$"):
        all_shares(tmp_path, "a[1].", tmp_path / "a")
