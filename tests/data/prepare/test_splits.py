"""Splits: the same for the same names, parts of one take together, shares met, the user's own obeyed."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.prepare.settings import SplitSettings
from data.prepare.splits import read_splits, split_by_hash, take_name
from utils.errors import UserError

PATTERN = SplitSettings.take_pattern


@pytest.mark.parametrize(
    "name, take",
    [("walk_part1", "walk"), ("walk_part12", "walk"), ("walk-seg_3", "walk"), ("walk_Clip-4", "walk"),
     ("walk_part2_cut3", "walk"), ("walk_029", "walk_029"), ("walk_party", "walk_party"), ("_part3", "_part3")],
)  # fmt: skip
def test_takes(name: str, take: str) -> None:
    assert take_name(name, PATTERN) == take


def test_own_take_pattern() -> None:
    assert take_name("s01_walk_v2", r"^s\d+_|_v\d+$") == "walk"


def test_parts_stay_together_and_shares_are_met() -> None:
    names = [f"take{number}_part{part}" for number in range(1500) for part in range(2)]
    splits = split_by_hash(names, SplitSettings())
    assert sorted(sum(splits.values(), [])) == sorted(names)
    takes = [{take_name(name, PATTERN) for name in members} for members in splits.values()]
    assert not (takes[0] & takes[1] or takes[0] & takes[2] or takes[1] & takes[2])
    for share, members in zip((0.8, 0.05, 0.15), takes, strict=True):
        assert abs(len(members) / 1500 - share) < 0.03


def test_a_name_keeps_its_split_when_clips_are_added() -> None:
    names = [f"clip{number}" for number in range(400)]
    before, after = split_by_hash(names[:300], SplitSettings()), split_by_hash(names, SplitSettings())
    assert all(set(before[split]) <= set(after[split]) for split in before)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 24])
def test_few_takes_fill_every_split_that_has_a_share(count: int) -> None:
    splits = split_by_hash([f"clip{number}" for number in range(count)], SplitSettings())
    assert sum(map(len, splits.values())) == count
    assert sum(1 for members in splits.values() if members) == min(count, 3)
    everything = split_by_hash([f"clip{number}" for number in range(count)], SplitSettings(shares=(1.0, 0.0, 0.0)))
    assert len(everything["train"]) == count


def test_mirrored_clips_of_the_user_stay_with_their_originals() -> None:
    names = [f"{prefix}{number:06d}" for number in range(300) for prefix in ("", "M")] + ["arm", "Marm_part2"]
    splits = split_by_hash(names, SplitSettings(shares=(0.4, 0.3, 0.3)))
    for members in splits.values():
        assert {f"M{name}" for name in members if name.isdigit()} == {name for name in members if name[1:].isdigit()
                                                                      and not name.isdigit()}  # fmt: skip


@pytest.mark.parametrize("number", range(20))
def test_train_is_never_empty(number: int) -> None:
    """Whatever the hash says of one clip or two."""
    assert split_by_hash([f"{number}"], SplitSettings())["train"] == [f"{number}"]
    assert len(split_by_hash([f"{number}", f"{number}b"], SplitSettings())["train"]) >= 1


def test_own_splits(tmp_path: Path) -> None:
    for split, text in {"train": "a\nsub/b.bvh\n", "val": "c\n", "test": ""}.items():
        (tmp_path / f"{split}.txt").write_text(text)
    assert read_splits(tmp_path) == {"train": ["a", "sub_b"], "val": ["c"], "test": []}
    (tmp_path / "test.txt").write_text("a\n")
    with pytest.raises(UserError, match="a is in train.txt and in test.txt"):
        read_splits(tmp_path)
    (tmp_path / "val.txt").unlink()
    with pytest.raises(UserError, match="val.txt is missing"):
        read_splits(tmp_path)
