"""Motions that are packed once are those of the files, whatever happens to the files."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data import packing
from data.clips import load_split
from data.datasets import MotionTextDataset, WindowDataset
from data.packing import pack_motions
from data.specs import DatasetSpec, get_spec
from storage.row_store import Row


@pytest.fixture
def spec(tmp_path: Path) -> DatasetSpec:
    """Five clips of 40 to 80 frames, each of its own random numbers; the second is a tagged part too."""
    spec = replace(get_spec("humanml3d"), root=tmp_path / "HumanML3D")
    spec.features_dir.mkdir(parents=True)
    spec.texts_dir.mkdir()
    ids = [f"{number:06d}" for number in range(5)]
    for number, clip_id in enumerate(ids):
        write(spec, clip_id, number)
        tagged = "he turns#he/PRON#0.5#3.0\n" if number == 1 else ""
        (spec.texts_dir / f"{clip_id}.txt").write_text(f"a man walks#a/DET#0.0#0.0\n{tagged}")
    spec.split_path("train").write_text("\n".join(ids))
    return spec


def write(spec: DatasetSpec, clip_id: str, seed: int, length: int | None = None) -> np.ndarray:
    """One motion file; its content."""
    motion = np.random.default_rng(seed).normal(size=(length or 40 + 10 * seed, 263)).astype(np.float32)
    np.save(spec.features_dir / f"{clip_id}.npy", motion)
    return motion


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the files that are read."""
    read: Callable[[DatasetSpec, str], np.ndarray | str] = packing._read_features
    ids: list[str] = []

    def noted(spec: DatasetSpec, clip_id: str) -> np.ndarray | str:
        ids.append(clip_id)
        return read(spec, clip_id)

    monkeypatch.setattr(packing, "_read_features", noted)
    return ids


def test_packed_motions_are_those_of_the_files_and_read_once(spec: DatasetSpec, reads: list[str]) -> None:
    for _ in range(2):
        clips = load_split(spec, "train")
        assert [clip.id for clip in clips] == ["000000", "000001", "000001@0.5-3", "000002", "000003", "000004"]
        for clip in clips:
            whole = np.load(spec.features_dir / f"{clip.take}.npy")
            first, last = clip.frames or (0, len(whole) // 4 * 4)
            assert isinstance(clip.features, Row)
            np.testing.assert_array_equal(clip.features, whole[first:last])
    assert reads == [f"{number:06d}" for number in range(5)]


def test_datasets_give_the_same_from_the_pack_as_from_memory(spec: DatasetSpec) -> None:
    packed = load_split(spec, "train")
    held = [replace(clip, features=np.array(clip.features)) for clip in packed]
    for make in (lambda clips: WindowDataset(clips, 36, 1, 7), lambda clips: MotionTextDataset(clips, 60, 1)):
        for first, second in zip(make(packed), make(held), strict=True):
            assert first["motion"].equal(second["motion"])


def test_a_file_that_changes_is_packed_anew(spec: DatasetSpec, reads: list[str]) -> None:
    load_split(spec, "train")
    before = (spec.features_dir / "000003.npy").stat()
    changed = write(spec, "000003", 9, length=70)
    os.utime(spec.features_dir / "000003.npy", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    np.testing.assert_array_equal(pack_motions(spec, ["000003"])["000003"], changed)
    (spec.features_dir / "000000.npy").unlink()
    found = pack_motions(spec, ["000000", "000001"])
    assert found["000000"] == "without a motion file" and len(found["000001"]) == 50
    kept = sum(chunk.stat().st_size for chunk in spec.cache_dir.glob("motions_263/*.safetensors"))
    assert (50 + 70) * 263 * 4 < kept < (50 + 70) * 263 * 4 + 10_000, "what is of no use is removed"


def test_a_file_that_is_mended_is_used(spec: DatasetSpec) -> None:
    (spec.features_dir / "000002.npy").write_bytes(b"cut")
    write(spec, "000004", 4)[0, 0] = np.nan
    assert [clip.take for clip in load_split(spec, "train")].count("000002") == 0
    assert pack_motions(spec, ["000002"]) == {"000002": "unreadable"}
    write(spec, "000002", 2)
    assert len(pack_motions(spec, ["000002"])["000002"]) == 60


def test_a_complete_cache_is_used_by_those_who_cannot_write_it(
    spec: DatasetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a file of the dataset is of no use, and so never becomes a motion."""
    write(spec, "000004", 4)[0, 0] = np.nan
    (spec.features_dir / "000002.npy").write_bytes(b"cut")
    found = pack_motions(spec, ["000001", "000002"])
    monkeypatch.setattr("storage.row_store.RowStore._alone", lambda store: pytest.fail("the cache is written"))
    again = pack_motions(spec, ["000001", "000002"])
    assert np.array_equal(again["000001"], found["000001"]) and again["000002"] == found["000002"] == "unreadable"


def test_a_folder_that_cannot_be_written_has_its_cache_in_the_users(
    spec: DatasetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    monkeypatch.setattr("data.specs.os.access", lambda path, mode: False)
    load_split(spec, "train")
    assert not (spec.root / "cache").exists()
    assert spec.cache_dir.parent == tmp_path / "own" / "remomask" and list(spec.cache_dir.iterdir())
    assert spec.cache_dir != replace(spec, root=tmp_path / "other" / "HumanML3D").cache_dir
