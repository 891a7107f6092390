"""Several datasets as one: how they are named, what an epoch draws of them, what normalises them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from data.captions import Caption
from data.check.folder import check_sets
from data.clips import Clip, load_split, load_statistics, load_validation
from data.datasets import MotionTextDataset, WindowDataset
from data.specs import SPECS, get_spec, mixed, require_split, same_dataset
from data.tokens import TokenDataset
from engine.schedule import epoch_batches
from options.command_line import parse
from options.groups import DatasetOptions
from utils.errors import UserError
from utils.formats import HUMANML3D
from utils.representation import feature_statistics

IDS = {"train": ["000001", "M000001", "000002"], "val": ["000003"], "test": ["000004"]}


def write_set(root: Path, seed: int, fps: float = 20, **described: int) -> Path:
    """A folder of random motions, whose clips are called as those of any other."""
    generator, rows = np.random.default_rng(seed), []
    for name in ("new_joint_vecs", "texts"):
        (root / name).mkdir(parents=True)
    (root / "dataset.json").write_text(json.dumps({"fps": fps, "joints": "humanml3d"} | described))
    for split, ids in IDS.items():
        (root / f"{split}.txt").write_text("\n".join(ids))
        for number, clip_id in enumerate(ids):
            features = generator.normal(seed, 1 + seed, (60 + 40 * number, 263)).astype(np.float32)
            np.save(root / "new_joint_vecs" / f"{clip_id}.npy", features)
            (root / "texts" / f"{clip_id}.txt").write_text(f"a person of {root.name} walks#a/DET#0#0\n")
            rows += [features] if split == "train" else []
    for name, values in zip(("Mean", "Std"), feature_statistics(rows, HUMANML3D), strict=True):
        np.save(root / f"{name}.npy", values)
    return root


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_set(tmp_path / "b", 0, max_frames=80)
    write_set(tmp_path / "dataset" / "a", 1)
    return tmp_path


def test_one_value_however_it_is_spelled(two: Path) -> None:
    spec = get_spec("a:0.5,./b:1.5")
    assert (spec.name, spec.shares, spec.argument) == ("a+b", {"a": 1, "b": 3}, "dataset/a:1,b:3")
    assert (spec.min_frames, spec.max_frames) == (40, 196)
    assert get_spec(spec.argument) == spec and get_spec(f"{two / 'b'}:6 , a:2").shares == spec.shares
    assert same_dataset("a:1,b:3", f"{two}/dataset/../b:6,dataset/a:2")
    for name, other in (("a,b", "a:1,b:1"), ("a:1,b:3", "a:3,b:1"), ("a", "a,b")):
        assert not same_dataset(name, other)
    assert same_dataset("gone", "gone") and not same_dataset("gone", "a")
    assert get_spec("b").shares == get_spec("a,b").shares == {}
    assert parse(DatasetOptions, ["--dataset_name", "b,t2m"]).dataset_name == "b,humanml3d"
    (two / "x,y:3").mkdir()
    (two / "x,y:3" / "dataset.json").write_text('{"fps": 20}')
    assert get_spec("x,y:3").members == ()  # a folder of that very name comes first


@pytest.mark.parametrize(
    "name, words",
    [
        ("a,dataset/a", "the dataset a is there twice: as dataset/a and as dataset/a"),
        ("a,link", "the dataset a is there twice"),
        ("b,other/b", "b and other/b are both called b: rename"),
        ("a:1,b", "to each of them, or to none"),
        ("a,", "unknown dataset ''"),
        ("a:0,b:1", "unknown dataset 'a:0'.*weights are positive"),
        ("a:-1,b:1", "unknown dataset 'a:-1'"),
        ("a:1e3,b:1", "unknown dataset 'a:1e3'"),
        ("a:3", "unknown dataset 'a:3'"),
        ("b,kit", "nothing is left beside b: kit is left out: it has another format than b: 21 joints, not 22"),
    ],
)
def test_what_cannot_be_one_is_named(name: str, words: str, two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (two / "link").symlink_to("dataset/a")
    write_set(two / "other" / "b", 2)
    with pytest.raises(UserError, match=words):
        get_spec(name)
    with pytest.raises(SystemExit, match="2"):
        parse(DatasetOptions, ["--dataset_name", name])
    assert capsys.readouterr().err.count("\n") == 1


def test_a_set_of_another_format_is_left_out_once(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_set(two / "fast", 2, fps=30)
    options = parse(DatasetOptions, ["--dataset_name", "b:2,fast:5,a:2"])
    told = capsys.readouterr().err
    assert told == "warning: fast is left out: it has another format than b: fps 30, not 20\n"
    assert options.dataset_name == "dataset/a:1,b:1" and get_spec(options.dataset_name).name == "a+b"
    assert not capsys.readouterr().err


def test_several_sets_can_have_a_name_of_their_own(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As shipped models do: what a known name means is told without looking at any folder."""
    monkeypatch.setitem(SPECS, "open", mixed([get_spec("mini"), get_spec("humanml3d")], (3, 1), name="open"))
    spec = get_spec("open")
    assert spec.argument == "open" and spec.shares == {"humanml3d": 1, "mini": 3} and spec.max_frames == 196
    assert parse(DatasetOptions, ["--dataset_name", "open"]).dataset_name == "open"
    assert same_dataset("open", "mini:3,t2m:1") and not same_dataset("open", "mini,t2m")
    with pytest.raises(UserError, match="open is several datasets itself"):
        get_spec("a,open")


def test_clips_are_those_of_each_set_and_know_it(two: Path) -> None:
    spec = get_spec("b,a")
    clips = load_split(spec, "train", keep_long=True)
    assert [clip.id for clip in clips] == [f"{name}/{clip_id}" for name in "ab" for clip_id in IDS["train"]]
    assert [clip.take for clip in clips[:3]] == ["a/000001", "a/000001", "a/000002"] and clips[3].take == "b/000001"
    for one in spec.sets:
        own = [(f"{one.name}/{clip.id}", clip.captions) for clip in load_split(one, "train", windows=True)]
        whole = load_split(spec, "train", windows=True)
        assert own == [(clip.id, clip.captions) for clip in whole if clip.source == one.name]
    assert spec.features_path("b/000002") == Path("b/new_joint_vecs/000002.npy")
    assert not spec.features_path("000002").exists() and not get_spec("b").features_path("a/000002").exists()
    (two / "b" / "test.txt").unlink()
    with pytest.raises(UserError, match="b/test.txt"):
        require_split(spec, "test")


def test_statistics_are_of_all_together(two: Path) -> None:
    """By the frames that there are, or by the shares; one set alone keeps its files."""
    spec, clips = get_spec("a,b"), load_split(get_spec("a,b"), "train", keep_long=True)
    wanted = feature_statistics([np.asarray(clip.features) for clip in clips], HUMANML3D)
    for found, values in zip(load_statistics(spec, clips), wanted, strict=True):
        np.testing.assert_allclose(found, values, rtol=2e-3, atol=2e-3)
    own = load_statistics(get_spec("a"))
    for found, values in zip(load_statistics(get_spec("a:999999,b:0.000001"), clips), own, strict=True):
        np.testing.assert_allclose(found, values, rtol=1e-5, atol=1e-6)
    mean, _ = load_statistics(get_spec("a:3,b:1"), clips)
    np.testing.assert_allclose(mean, 0.75 * own[0] + 0.25 * load_statistics(get_spec("b"))[0], rtol=1e-5, atol=1e-6)


def clip(name: str, n_frames: int) -> Clip:
    features = np.arange(n_frames, dtype=np.float32)[:, None]
    return Clip(name, name, features, tuple(map(Caption, ("one", "two", "three"))))


CLIPS = [clip(f"few/{number}", 64 + 4 * number) for number in range(3)] + [clip(f"many/{n}", 64) for n in range(17)]


def test_an_epoch_has_the_shares_and_no_item_twice_before_all_others() -> None:
    dataset = MotionTextDataset(CLIPS, seed=5, shares={"few": 3, "many": 1})
    drawn: list[int] = []
    for epoch in range(17):
        dataset.set_epoch(epoch)
        assert Counter(CLIPS[item].source for item in dataset.items) == {"few": 15, "many": 5} and len(dataset) == 20
        drawn += dataset.items.tolist()
    counts = Counter(drawn)
    assert {counts[number] for number in range(3)} == {85} and {counts[number] for number in range(3, 20)} == {5}
    in_order = [item for item in drawn if item >= 3]
    assert all(len(set(in_order[start : start + 17])) == 17 for start in range(0, 85, 17))


def test_repeated_items_are_other_draws_and_the_same_in_every_process() -> None:
    one, other = (MotionTextDataset(CLIPS, 64, seed=5, shares={"few": 3, "many": 1}) for _ in range(2))
    for dataset in (one, other):
        dataset.set_epoch(7)
    again = [place for place, item in enumerate(one.items) if item == 2]
    assert len({(one[place]["text"], float(one[place]["motion"][0])) for place in again}) > 1
    assert all(one[place]["clip_index"] == 2 for place in again)
    alone = epoch_batches(len(one), 4, seed=5, epoch=7)
    shared = [epoch_batches(len(other), 4, 5, 7, rank, 2) for rank in range(2)]
    for batch, *parts in zip(alone, *shared, strict=True):
        assert sorted(batch) == sorted(parts[0] + parts[1])
        assert all(torch.equal(one[place]["motion"], other[place]["motion"]) for place in batch)


def test_windows_and_tokens_are_drawn_by_shares_too() -> None:
    windows = WindowDataset(CLIPS, 64, stride=1, shares={"few": 1, "many": 1})
    assert len(windows) == 1 + 5 + 9 + 17 and sum(windows.items < 15) == 16
    grids = [torch.zeros(len(clip.features) // 4, 1, 1) for clip in CLIPS]
    tokens = TokenDataset(CLIPS, grids, 18, shares={"few": 1, "many": 1})
    tokens.set_epoch(3)
    whole = TokenDataset(CLIPS, grids, 18)
    assert tokens.lengths == [whole.lengths[item] for item in tokens.items] and whole.items.tolist() == list(range(20))
    with pytest.raises(UserError, match="the dataset many has no clip"):
        WindowDataset(CLIPS, 65, shares={"few": 1, "many": 1})
    with pytest.raises(UserError, match="the weight of few is less than one of the 20 samples"):
        MotionTextDataset(CLIPS, shares={"few": 1, "many": 999})


def test_a_motion_that_two_sets_share_is_a_leak(two: Path) -> None:
    spec = get_spec("a,b")
    assert [report.dataset for report in check_sets(spec)] == ["a", "b", "a+b"]
    assert not check_sets(spec)[-1].problems and len(check_sets(get_spec("a"))) == 1
    copied = np.load(two / "b" / "new_joint_vecs" / "000004.npy")
    np.save(two / "dataset" / "a" / "new_joint_vecs" / "000001.npy", copied)
    assert check_sets(spec)[-1].problems == {"same-motion-across": ("a/000001 (train) = b/000004 (test)",)}


@pytest.mark.parametrize("spelled", ["b", "./b", "b/", ".//b/.", "dataset/../b", "link", "dataset/link", "~/b", "/b"])
def test_a_folder_is_one_dataset_however_its_path_is_spelled(
    spelled: str, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that runs, library, cache and what is kept of stopped works are found again."""
    monkeypatch.setenv("HOME", str(two))
    for link in ("link", "dataset/link"):
        (two / link).symlink_to(two / "b")
    told = f"{two}/b" if spelled == "/b" else spelled
    assert get_spec(told) == get_spec("b") and get_spec(told).argument == "b"
    assert parse(DatasetOptions, ["--dataset_name", told]).dataset_name == "b"
    assert get_spec(f"{told}:3,a:1").argument == "dataset/a:1,b:3"


def test_the_folder_of_a_known_dataset_is_that_dataset(two: Path) -> None:
    (two / "dataset" / "HumanML3D").mkdir()
    for spelled in ("dataset/HumanML3D", f"{two}/dataset/HumanML3D/", "./dataset/HumanML3D"):
        assert get_spec(spelled) == SPECS["humanml3d"]


def test_a_set_without_validation_leaves_that_to_the_others(two: Path) -> None:
    (two / "b" / "val.txt").write_text("\n")
    assert [clip.id for clip in load_split(get_spec("a,b"), "val")] == ["a/000003"]
    assert load_validation(get_spec("b")) == [] and load_validation(get_spec("a,b"))
    (two / "dataset" / "a" / "val.txt").write_text("")
    assert load_validation(get_spec("a,b")) == []
    with pytest.raises(UserError, match=r"val.txt: no usable clip: the file is empty; prepare_dataset.py --split"):
        load_split(get_spec("a,b"), "val")
    (two / "b" / "val.txt").unlink()
    with pytest.raises(UserError, match=r"dataset b is incomplete: val.txt is missing"):
        load_validation(get_spec("b"))
