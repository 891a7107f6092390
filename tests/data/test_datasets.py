"""Torch datasets: determinism, coverage, padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data.clips import Caption, Clip
from data.collate import collate_motions
from data.datasets import MotionTextDataset, WindowDataset
from data.tokens import TokenDataset
from utils.errors import UserError


def clip(name: str, n_frames: int, n_captions: int = 1, take: str | None = None) -> Clip:
    """A clip whose every value is its frame's number."""
    features = np.repeat(np.arange(n_frames, dtype=np.float32)[:, None], 5, axis=1)
    return Clip(name, take or name, features, tuple(Caption(f"{name} {i}") for i in range(n_captions)))


def starts(dataset: WindowDataset) -> list[int]:
    return [int(dataset[i]["motion"][0, 0]) for i in range(len(dataset))]


def test_stride_one_is_every_window_once() -> None:
    dataset = WindowDataset([clip("a", 70), clip("short", 60), clip("b", 64)], window=64)
    assert starts(dataset) == [0, 1, 2, 3, 4, 5, 6, 0]
    assert dataset[7]["motion"].shape == (64, 5) and dataset[7]["motion"].dtype == torch.float32


def test_strided_windows_are_random_in_their_range_and_repeatable() -> None:
    dataset = WindowDataset([clip("a", 100), clip("b", 130)], window=64, seed=3, stride=20)
    assert len(dataset) == 2 + 4
    seen = []
    for epoch in range(30):
        dataset.set_epoch(epoch)
        first = starts(dataset)
        assert first == starts(dataset)
        for start, (low, high) in zip(first, [(0, 20), (20, 37), (0, 20), (20, 40), (40, 60), (60, 67)], strict=True):
            assert low <= start < high
        seen.append(tuple(first))
    assert len(set(seen)) > 25
    again = WindowDataset([clip("a", 100), clip("b", 130)], window=64, seed=3, stride=20)
    again.set_epoch(29)
    assert tuple(starts(again)) == seen[-1]
    other = WindowDataset([clip("a", 100), clip("b", 130)], window=64, seed=4, stride=20)
    other.set_epoch(29)
    assert tuple(starts(other)) != seen[-1]


def test_windows_are_played_at_other_tempos() -> None:
    asked = []

    def play(features: np.ndarray, frames: int) -> np.ndarray:
        asked.append(len(features))
        return np.repeat(features[:1], frames, axis=0)

    dataset = WindowDataset([clip("a", 70), clip("b", 120)], window=64, stride=7, tempo=0.25, play=play)
    for epoch in range(20):
        dataset.set_epoch(epoch)
        for number in range(len(dataset)):
            assert dataset[number]["motion"].shape == (64, 5)
            assert torch.equal(dataset[number]["motion"], dataset[number]["motion"])
    assert min(asked) == 48 and 70 < max(asked) <= 80


def test_windows_need_a_long_enough_clip() -> None:
    with pytest.raises(UserError, match="none of the 1 clips has the 64 frames"):
        WindowDataset([clip("a", 63)], window=64)


def test_items_do_not_share_memory_with_the_clips() -> None:
    source = clip("a", 64)
    WindowDataset([source])[0]["motion"].zero_()
    MotionTextDataset([source], random_crop=False)[0]["motion"].zero_()
    assert source.features[5, 0] == 5


def test_text_items() -> None:
    dataset = MotionTextDataset([clip("a", 40, 2), clip("b", 80, 3), clip("Ma", 44, 1, take="a")], seed=1)
    assert dataset.captions[2:5] == ["b 0", "b 1", "b 2"]
    lengths, captions = set(), set()
    for epoch in range(40):
        dataset.set_epoch(epoch)
        for index in range(3):
            item = dataset[index]
            assert item["length"] == len(item["motion"]) and item["length"] % 4 == 0
            assert item["text"] == dataset.captions[item["caption_index"]]
            assert item["clip_index"] == index and item["take_index"] == [0, 1, 0][index]
            frames = item["motion"][:, 0]
            assert torch.equal(frames, frames[0] + torch.arange(len(frames)))
        item = dataset[1]
        lengths.add(item["length"])
        captions.add(item["text"])
        assert torch.equal(item["motion"], dataset[1]["motion"]) and item["text"] == dataset[1]["text"]
    assert lengths == {76, 80} and captions == {"b 0", "b 1", "b 2"}


def test_long_motions_are_cropped() -> None:
    train = MotionTextDataset([clip("a", 120)], max_frames=64)
    starts_seen = set()
    for epoch in range(20):
        train.set_epoch(epoch)
        starts_seen.add(int(train[0]["motion"][0, 0]))
        assert train[0]["length"] in (60, 64)
    assert len(starts_seen) > 10
    whole = MotionTextDataset([clip("a", 120)], max_frames=64, random_crop=False)
    assert whole[0]["length"] == 64 and whole[0]["motion"][0, 0] == 0


def test_evaluation_items_are_whole() -> None:
    dataset = MotionTextDataset([clip("a", 80)], random_crop=False)
    for epoch in range(10):
        dataset.set_epoch(epoch)
        assert dataset[0]["length"] == 80


def test_lengths_alone_read_no_motion() -> None:
    clips = [clip("a", 83), clip("b", 44)]
    with_motions = MotionTextDataset(clips, max_frames=64, random_crop=False)
    alone = MotionTextDataset(clips, max_frames=64, random_crop=False, motions=False)
    for index in range(2):
        item = with_motions[index]
        assert len(item.pop("motion")) == item["length"] and alone[index] == item


def test_clips_without_captions_are_refused() -> None:
    with pytest.raises(UserError, match="clip b has no caption"):
        MotionTextDataset([clip("a", 40), clip("b", 40, 0)])
    with pytest.raises(UserError, match="no clip"):
        MotionTextDataset([])


def test_datasets_end_and_count_from_the_end() -> None:
    dataset = MotionTextDataset([clip("a", 40), clip("b", 44)], random_crop=False)
    assert [item["length"] for item in dataset] == [40, 44]
    assert dataset[-1]["clip_index"] == 1


def test_collate_pads_and_masks() -> None:
    dataset = MotionTextDataset([clip("a", 40), clip("b", 80)], random_crop=False)
    batch = collate_motions([dataset[0], dataset[1]])
    assert batch["motion"].shape == (2, 80, 5) and batch["mask"].dtype == torch.bool
    assert batch["mask"].sum(1).tolist() == batch["length"].tolist() == [40, 80]
    assert not batch["motion"][0, 40:].any()
    assert torch.equal(batch["motion"][0, :40], dataset[0]["motion"])
    assert batch["text"] == ["a 0", "b 0"] and batch["caption_index"].tolist() == [0, 1]
    windows = WindowDataset([clip("a", 70)])
    batch = collate_motions([windows[0], windows[1]])
    assert batch["motion"].shape == (2, 64, 5) and batch["mask"].all()


def test_long_token_grids_are_cropped_at_random_and_repeatably() -> None:
    clips = [clip("long", 400, 2), clip("short", 80)]
    grids = [torch.arange(len(each.features) // 4)[:, None, None].expand(-1, 6, 2) for each in clips]
    dataset = TokenDataset(clips, grids, max_steps=49, seed=2, first_caption=7)
    assert dataset.lengths == [49, 20]
    starts_seen = set()
    for epoch in range(30):
        dataset.set_epoch(epoch)
        item = dataset[0]
        rows = item["tokens"][:, 0, 0]
        assert len(rows) in (48, 49) and torch.equal(rows, rows[0] + torch.arange(len(rows)))
        assert torch.equal(rows, dataset[0]["tokens"][:, 0, 0]) and item["caption_index"] in (7, 8)
        starts_seen.add(int(rows[0]))
    assert len(starts_seen) > 15 and max(starts_seen) > 40
    whole = TokenDataset(clips, grids, max_steps=49, random_crop=False)
    assert whole[0]["tokens"][0, 0, 0] == 0 and len(whole[0]["tokens"]) == 49


def test_workers_do_not_change_items() -> None:
    dataset = MotionTextDataset([clip(str(i), 40 + 4 * i, 3) for i in range(6)], seed=5)
    dataset.set_epoch(2)
    alone = [dataset[i]["caption_index"] for i in range(6)]
    loader = torch.utils.data.DataLoader(dataset, batch_size=2, num_workers=1, collate_fn=collate_motions)
    assert torch.cat([batch["caption_index"] for batch in loader]).tolist() == alone
