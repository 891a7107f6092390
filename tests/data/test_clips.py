"""Clips, captions and splits: the published layout with all its quirks."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.clips import (
    Caption,
    Clip,
    Skipped,
    cut_file,
    load_split,
    load_statistics,
    read_captions,
    read_split,
    take_of,
    window_spans,
)
from data.specs import DatasetSpec, get_spec
from utils.errors import UserError


def features(n_frames: int, width: int = 263) -> np.ndarray:
    """(T, D) float32 whose every value is its frame's number."""
    return np.repeat(np.arange(n_frames, dtype=np.float32)[:, None], width, axis=1)


def add(
    spec: DatasetSpec, clip_id: str, motion: np.ndarray | None, text: str | None = "a man walks#a/DET#0.0#0.0\n"
) -> None:
    """Adds one clip to the dataset folder and to its train split."""
    if motion is not None:
        np.save(spec.features_dir / f"{clip_id}.npy", motion)
    if text is not None:
        (spec.texts_dir / f"{clip_id}.txt").write_text(text, encoding="utf-8")
    with open(spec.split_path("train"), "a", encoding="utf-8") as file:
        file.write(clip_id + "\n")


@pytest.fixture
def spec(tmp_path: Path) -> DatasetSpec:
    """An empty HumanML3D folder."""
    spec = replace(get_spec("humanml3d"), root=tmp_path / "HumanML3D")
    spec.features_dir.mkdir(parents=True)
    spec.texts_dir.mkdir()
    return spec


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_captions_are_read_with_words_and_times(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "a man walks#a/DET man/NOUN walk/VERB#0.0#0.0\n\nhe  sits #he/PRON#1.5#3.0\n")
    assert read_captions(path) == [
        Caption("a man walks", ("a/DET", "man/NOUN", "walk/VERB")),
        Caption("he sits", ("he/PRON",), 1.5, 3.0),
    ]


@pytest.mark.parametrize("times", ["nan#nan", "0.0#0.0", "0#nan", "NaN#0"])
def test_nan_times_are_the_whole_clip(tmp_path: Path, times: str) -> None:
    (caption,) = read_captions(write(tmp_path / "a.txt", f"walks#walk/VERB#{times}"))
    assert (caption.start, caption.end) == (0.0, 0.0)


def test_unusual_text_is_kept(tmp_path: Path) -> None:
    text = (
        "\ufeffune personne l\u00e8ve le bras \u2014 \u8d70\u308b \U0001f57a#une/DET#0#0\r\nstep #2 of it#a/DET#0#0\r\n"
    )
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode())
    first, second = read_captions(path)
    assert first.text == "une personne l\u00e8ve le bras \u2014 \u8d70\u308b \U0001f57a"
    assert second.text == "step #2 of it"


def test_empty_captions_are_left_out(tmp_path: Path) -> None:
    assert read_captions(write(tmp_path / "a.txt", "#a/DET#0#0\n   ##0#0\n\n")) == []


@pytest.mark.parametrize("line", ["no fields at all", "a#b#0.0", "a#b#zero#0", "a#b#-1#2", "a#b#0#inf", "a#b##"])
def test_malformed_line_is_named(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "bad.txt", f"a man walks#a/DET#0#0\n{line}\n")
    with pytest.raises(UserError, match=r"bad\.txt line 2"):
        read_captions(path)


def test_caption_file_of_other_encoding_or_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("l\u00e8ve#a/DET#0#0".encode("latin-1"))
    with pytest.raises(UserError, match="latin.txt is not UTF-8"):
        read_captions(tmp_path / "latin.txt")
    with pytest.raises(UserError, match="none.txt"):
        read_captions(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("clip_id", "take"),
    [
        ("000123", "000123"),
        ("M000123", "000123"),
        ("M000123@1-4.5", "000123"),
        ("000123@0-2", "000123"),
        ("March", "March"),
    ],
)
def test_take(clip_id: str, take: str) -> None:
    assert take_of(clip_id) == take


def test_take_of_other_mirrored_names() -> None:
    assert take_of("Mjump_left", {"jump_left", "Mjump_left"}) == "jump_left"
    assert take_of("Mjump_left", {"Mjump_left"}) == "Mjump_left"


def test_lengths_are_limited_and_cut_to_units(spec: DatasetSpec) -> None:
    for n_frames in (39, 40, 43, 199, 200, 201):
        add(spec, f"{n_frames:06d}", features(n_frames))
    clips = load_split(spec, "train")
    assert [(clip.id, len(clip.features)) for clip in clips] == [("000040", 40), ("000043", 40), ("000199", 196)]
    assert clips[0].features[:].dtype == np.float32
    long = load_split(spec, "train", keep_long=True)
    assert [len(clip.features) for clip in long] == [40, 40, 196, 200, 200]


@pytest.mark.parametrize("min_frames", [24, 40, 180])
def test_windows_cover_a_long_clip_evenly(min_frames: int) -> None:
    spec = replace(get_spec("humanml3d"), min_frames=min_frames)
    for n_frames in (*range(200, 460, 7), 1000, 12345):
        spans = window_spans(n_frames, spec)
        assert spans[0][0] == 0 and spans[-1][1] == n_frames // 4 * 4
        lengths, hops = {last - first for first, last in spans}, np.diff([first for first, _ in spans])
        (length,) = lengths
        assert length % 4 == 0 and min_frames <= length <= 196
        assert hops.max() - hops.min() <= 1 and hops.max() <= 0.75 * length + 1
        assert len(spans) == 2 or len(spans) <= -(-n_frames // 146), "not more windows than needed"


def test_short_clips_are_not_cut() -> None:
    assert window_spans(199, get_spec("humanml3d")) == [(0, 196)]


def test_long_files_become_windows_with_their_captions(spec: DatasetSpec) -> None:
    lines = [
        "whole#a/DET#0.0#0.0",
        "early#a/DET#1.0#4.0",
        "late#a/DET#25.0#29.0",
        "too short alone#a/DET#14.0#14.5",
        "long#a/DET#2.0#22.0",
        "outside#a/DET#40.0#44.0",
    ]
    add(spec, "000001", features(600), "\n".join(lines))
    add(spec, "000002", features(150), "whole#a/DET#0#0\npart#a/DET#0#4\n")
    clips = {clip.id: clip for clip in load_split(spec, "train", windows=True)}
    assert {clip.take for clip in clips.values() if clip.id.startswith("000001")} == {"000001"}
    windows = [clip for clip in clips.values() if clip.id.startswith("000001") and clip.captions[0].text == "whole"]
    assert [clip.frames for clip in windows] == window_spans(600, spec) and len(windows) == 4
    for clip in windows:
        first, last = clip.frames
        assert clip.id == f"000001@{first / 20:g}-{last / 20:g}"
        assert clip.features[0, 0] == first and clip.features[-1, 0] == last - 1
    texts = [[caption.text for caption in clip.captions] for clip in windows]
    assert [("early" in each, "late" in each) for each in texts] == [
        (True, False), (False, False), (False, False), (False, True),
    ]  # fmt: skip
    assert sum("too short alone" in each for each in texts) >= 1 and not any("outside" in each for each in texts)
    assert ["long" in each for each in texts] == [True, True, True, False], "a window that it fills by half has it"
    assert set(clips) - {clip.id for clip in windows} == {
        "000001@1-4", "000001@25-29", "000002", "000002@0-4",
    }  # fmt: skip
    assert clips["000001@25-29"].frames == (500, 580) and clips["000002"].frames is None


def test_windows_without_captions_are_left_out(spec: DatasetSpec) -> None:
    add(spec, "000001", features(600), "early#a/DET#1.0#4.0\n")
    clips = load_split(spec, "train", windows=True)
    assert [clip.frames for clip in clips] == [window_spans(600, spec)[0], (20, 80)]
    assert all(caption.text == "early" for clip in clips for caption in clip.captions)
    everything = load_split(spec, "train", windows=True, captions=False)
    assert [clip.frames for clip in everything] == window_spans(600, spec)


def test_a_window_and_an_equal_part_are_one_clip(spec: DatasetSpec) -> None:
    first, last = window_spans(600, spec)[1]
    tag = f"#{first / 20:g}#{last / 20:g}"
    add(spec, "000001", features(600), f"whole#a/DET#0#0\npart#a/DET{tag}\n")
    clips = load_split(spec, "train", windows=True)
    assert len({clip.id for clip in clips}) == len(clips) == 4
    assert [caption.text for caption in clips[1].captions] == ["whole", "part"]


def test_every_tagged_part_belongs_to_a_window() -> None:
    spec = get_spec("humanml3d")
    rng = np.random.default_rng(0)
    for _ in range(300):
        n_frames = int(rng.integers(200, 900))
        start = float(rng.uniform(0, n_frames / 20 - 1))
        end = float(rng.uniform(start + 0.5, n_frames / 20))
        clips = cut_file(
            spec, Clip("a", "a", features(n_frames, 1)), [Caption("x", (), start, end)], Skipped(), windows=True
        )
        spans = set(window_spans(n_frames, spec))
        assert any(clip.frames in spans for clip in clips), (n_frames, start, end)


def test_long_tagged_parts_are_kept_for_training(spec: DatasetSpec) -> None:
    add(spec, "000001", features(600), "part#a/DET#1#21\nwhole#a/DET#0#0\nends early#a/DET#9#2\n")
    clips = load_split(spec, "train", keep_long=True)
    assert [(clip.id, len(clip.features)) for clip in clips] == [("000001@1-21", 400), ("000001", 600)]
    with pytest.raises(UserError, match="2 over 199 frames"):
        load_split(spec, "train")


def test_kit_limits(tmp_path: Path) -> None:
    spec = replace(get_spec("kit"), root=tmp_path)
    spec.features_dir.mkdir()
    spec.texts_dir.mkdir()
    for n_frames in (23, 24, 199, 200):
        add(spec, f"{n_frames:05d}", features(n_frames, 251))
    assert [clip.id for clip in load_split(spec, "train")] == ["00024", "00199"]


def test_times_make_clips_of_their_own(spec: DatasetSpec) -> None:
    lines = [
        "whole#a/DET#0.0#0.0",
        "part#a/DET#2.0#5.55",
        "same part#a/DET#2.0#5.55",
        "too short#a/DET#1#2",
        "rest#a/DET#4#nan",
    ]
    add(spec, "M000007", features(150), "\n".join(lines))
    clips = {clip.id: clip for clip in load_split(spec, "train")}
    assert list(clips) == ["M000007", "M000007@2-5.55", "M000007@4-0"]
    assert {clip.take for clip in clips.values()} == {"000007"}
    part = clips["M000007@2-5.55"]
    assert [caption.text for caption in part.captions] == ["part", "same part"]
    assert part.features[0, 0] == 40 and len(part.features) == 68
    assert clips["M000007@4-0"].features[0, 0] == 80 and len(clips["M000007@4-0"].features) == 68


def test_bad_motions_are_skipped_and_counted(spec: DatasetSpec, caplog: pytest.LogCaptureFixture) -> None:
    add(spec, "000001", features(60))
    for clip_id in ("000002", "000003"):
        broken = features(60)
        broken[30, 7] = math.nan
        add(spec, clip_id, broken)
    add(spec, "000004", features(60, 251))
    add(spec, "000005", features(60)[0])
    add(spec, "000006", None)
    add(spec, "000007", features(60), None)
    add(spec, "000008", features(60), "#a/DET#0#0\n")
    add(spec, "000009", None)
    (spec.features_dir / "000009.npy").write_bytes(b"\x93NUMPY garbage")
    add(spec, "000010", None)
    np.save(spec.features_dir / "000010.npy", np.array([{"an": "object"}]), allow_pickle=True)
    with caplog.at_level(logging.WARNING):
        clips = load_split(spec, "train")
    assert [clip.id for clip in clips] == ["000001"]
    (record,) = caplog.records
    message = record.getMessage()
    for part in (
        "2 not finite (000002, 000003)",
        "2 of another width than 263 (000004, 000005)",
        "1 without a motion file (000006)",
        "1 without a caption file (000007)",
        "1 without a caption (000008)",
        "2 unreadable (000009, 000010)",
    ):
        assert part in message


def test_captions_are_optional(spec: DatasetSpec) -> None:
    add(spec, "000001", features(60), "whole#a/DET#0#0\npart#a/DET#0#2.5\n")
    add(spec, "000002", features(60), None)
    clips = load_split(spec, "train", captions=False)
    assert [(clip.id, clip.captions) for clip in clips] == [("000001", ()), ("000002", ())]


def test_double_precision_files_load_as_single(spec: DatasetSpec) -> None:
    add(spec, "000001", features(60).astype(np.float64))
    assert load_split(spec, "train")[0].features[:].dtype == np.float32


def test_malformed_caption_stops_the_loading(spec: DatasetSpec) -> None:
    add(spec, "000001", features(60), "a man walks")
    with pytest.raises(UserError, match=r"000001\.txt line 1"):
        load_split(spec, "train")


def test_nothing_usable_says_why(spec: DatasetSpec) -> None:
    add(spec, "000001", features(20))
    with pytest.raises(UserError, match="1 under 40 frames"):
        load_split(spec, "train")
    write(spec.split_path("val"), "\n")
    with pytest.raises(UserError, match="the file is empty"):
        load_split(spec, "val")


def test_missing_parts_are_named_with_their_place(spec: DatasetSpec, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="train.txt is missing, it belongs at .*HumanML3D/train.txt"):
        load_split(spec, "train")
    with pytest.raises(UserError, match="split"):
        read_split(tmp_path / "train.txt")
    add(spec, "000001", features(60))
    spec.texts_dir.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="texts is missing"):
        load_split(spec, "train")
    with pytest.raises(UserError, match="its folder belongs at .*nowhere"):
        load_split(replace(spec, root=tmp_path / "nowhere"), "train")


def test_split_lines_are_cleaned(tmp_path: Path) -> None:
    assert read_split(write(tmp_path / "train.txt", "\ufeff000001\r\n\n 000002 \n000001\n")) == ["000001", "000002"]
    assert read_split(write(tmp_path / "val.txt", "my first clip\nanother one\n")) == ["my first clip", "another one"]
    (tmp_path / "test.txt").write_bytes("l\u00e8ve\n".encode("latin-1"))
    with pytest.raises(UserError, match="test.txt is not UTF-8"):
        read_split(tmp_path / "test.txt")


def test_statistics(spec: DatasetSpec) -> None:
    with pytest.raises(UserError, match="Mean.npy is missing"):
        load_statistics(spec)
    np.save(spec.mean_path, np.arange(263.0))
    np.save(spec.std_path, np.ones(263))
    mean, std = load_statistics(spec)
    assert mean.dtype == std.dtype == np.float32 and mean[5] == 5
    np.save(spec.std_path, np.ones(251))
    with pytest.raises(UserError, match="Std.npy: expected 263"):
        load_statistics(spec)
    np.save(spec.std_path, np.full(263, "1.0"))
    with pytest.raises(UserError, match="Std.npy: expected 263 finite numbers"):
        load_statistics(spec)
    np.save(spec.std_path, np.arange(263.0))
    with pytest.raises(UserError, match="Std.npy: not positive in column 0"):
        load_statistics(spec)


def test_known_datasets_and_aliases() -> None:
    assert get_spec("t2m") is get_spec("humanml3d") is get_spec("HumanML3D")
    assert get_spec("kit").format.n_features == 251 and get_spec("kit").format.fps == 12.5
    assert get_spec("mini").features_dir == Path("dataset/mini/new_joint_vecs")
    with pytest.raises(UserError, match="unknown dataset 'amass'.*humanml3d, kit, mini"):
        get_spec("amass")


def test_folder_with_dataset_json(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dataset.json"):
        get_spec(str(tmp_path))
    write(tmp_path / "dataset.json", json.dumps({"fps": 30, "joints": "kit", "min_frames": 16, "max_frames": 64}))
    spec = get_spec(str(tmp_path))
    assert not spec.generated
    assert (spec.format.fps, spec.format.name, spec.format.n_features, spec.min_frames, spec.max_clip_frames) == (
        30.0,
        "kit",
        251,
        16,
        67,
    )
    assert spec.root == tmp_path and spec.name == tmp_path.name


@pytest.mark.parametrize(
    "content",
    [[], {}, {"joints": "kit"}, {"fps": "20", "joints": "kit"}, {"fps": 0, "joints": "kit"}, {"fps": 9, "joints": "x"},
     {"fps": 20, "joints": ["kit"]}, {"fps": 20, "joints": "kit", "max_frames": 50}, {"fps": True, "joints": "kit"},
     {"fps": 20, "joints": "kit", "min_frames": 300}, {"fps": 20, "joints": "kit", "units_per_metre": 1}],
)  # fmt: skip
def test_wrong_dataset_json_is_named(tmp_path: Path, content: object) -> None:
    write(tmp_path / "dataset.json", json.dumps(content))
    with pytest.raises(UserError, match="dataset.json"):
        get_spec(str(tmp_path))


def test_generated_dataset_is_made_on_first_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mini = pytest.importorskip("data.mini.folder")
    made = []
    monkeypatch.setattr(mini, "ensure", lambda root: (made.append(root), root.mkdir()))
    spec = replace(get_spec("mini"), root=tmp_path / "mini")
    with pytest.raises(UserError, match="train.txt"):
        load_split(spec, "train")
    assert made == [tmp_path / "mini"]


def test_users_folder_is_never_generated_over(tmp_path: Path) -> None:
    folder = tmp_path / "mini"
    folder.mkdir()
    write(folder / "dataset.json", json.dumps({"fps": 20}))
    with pytest.raises(UserError, match="train.txt"):
        load_split(get_spec(str(folder)), "train")
    assert [path.name for path in folder.iterdir()] == ["dataset.json"]


def test_a_split_without_a_clip_says_how_it_gets_one(spec: DatasetSpec) -> None:
    add(spec, "overhead", features(spec.max_clip_frames + 1))
    with pytest.raises(UserError, match=r"train.txt: no usable clip: 1 over 199 frames \(overhead\); .*--windows"):
        load_split(spec, "train")
    write(spec.split_path("val"), "\n")
    with pytest.raises(UserError, match=r"val.txt: no usable clip: the file is empty; .*--split .* 0.7,0.3,0$"):
        load_split(spec, "val")
    add(spec, "overdone", features(spec.min_frames - 1))
    write(spec.split_path("val"), "overdone\n")
    with pytest.raises(UserError, match=r"val.txt: no usable clip: 1 under 40 frames \(overdone\)$"):
        load_split(spec, "val")
