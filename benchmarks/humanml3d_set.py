"""A dataset of HumanML3D's exact size, made of its captions, lengths and splits and of motions of `mini`."""

from __future__ import annotations

import csv
import itertools
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.sets import write_set
from data.clips import load_split, take_of
from data.specs import DatasetSpec, get_spec
from utils.errors import UserError
from utils.formats import get_format
from utils.progress import progress_bar

SOURCES = ("texts.zip", "lengths.csv", "train.txt", "train_val.txt", "test.txt")
UNKNOWN_LENGTHS = (60, 120)  # frames of the clips whose length is not told


def make_set(texts: Path, out: Path) -> DatasetSpec:
    """Writes the folder, unless it is there and complete.

    The captions of the test split are no part of `texts`: its clips get those of training clips.

    Args:
        texts: holds texts.zip (texts/ID.txt), lengths.csv (id, source, frames), train.txt, train_val.txt and test.txt.
        out: the dataset's folder.

    Raises:
        UserError: a file is missing from `texts`.
    """
    if (out / "dataset.json").is_file():
        return get_spec(str(out))
    if missing := [name for name in SOURCES if not (texts / name).is_file()]:
        raise UserError(f"--texts {texts}: {missing[0]} is missing in it")
    train, train_val, test = (
        tuple((texts / f"{name}.txt").read_text().split()) for name in ("train", "train_val", "test")
    )
    in_train = frozenset(train)
    splits = {"train": train, "val": [clip_id for clip_id in train_val if clip_id not in in_train], "test": test}
    with open(texts / "lengths.csv", newline="") as file:
        lengths = {row["id"]: int(row["frames"] or 0) for row in csv.DictReader(file)}
    with zipfile.ZipFile(texts / "texts.zip") as archive:
        captions = {Path(name).stem: archive.read(name).decode() for name in archive.namelist()}
    others = itertools.cycle([captions[clip_id] for clip_id in splits["train"]])
    rows = np.concatenate([clip.features for clip in load_split(get_spec("mini"), "train", captions=False)])
    bar = progress_bar(sum(map(len, splits.values())), f"writing {out}", "clip")

    def clips(ids: Iterable[str]) -> Iterator[tuple[str, np.ndarray, str]]:
        for clip_id in ids:
            generator = np.random.default_rng(zlib.crc32(clip_id.encode()))
            length = lengths[take_of(clip_id)] or int(generator.integers(*UNKNOWN_LENGTHS))
            first = int(generator.integers(len(rows) - length))
            yield clip_id, rows[first : first + length], captions.get(clip_id) or next(others)
            bar.update()

    with bar:
        form, source = get_format("humanml3d"), {"source": "HumanML3D, mini"}
        write_set(out, {split: clips(ids) for split, ids in splits.items()}, form, source, [rows])
    return get_spec(str(out))
