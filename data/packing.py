"""The motions of a dataset in a few large files: tens of thousands of small ones are read once, not at every start."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from data.specs import DatasetSpec
from storage.arrays import read_array
from storage.row_store import Row, RowStore, digest
from utils.errors import UserError


def pack_motions(spec: DatasetSpec, ids: Sequence[str]) -> dict[str, Row | str]:
    """Feature files in few large files of the dataset's cache, made once: by id the motion (T, D) float32, or what is
    wrong with its file. A file of another size or time is packed anew.
    """
    stats = file_stats(spec.features_dir, ".npy")
    keys = {clip_id: digest(clip_id, f"{stat.st_size} {stat.st_mtime_ns}") for clip_id, stat in stats.items()}
    store = RowStore(spec.cache_dir / f"motions_{spec.format.n_features}", (spec.format.n_features,), np.float32)
    store.keep_only(frozenset(keys.values()))
    there = [clip_id for clip_id in ids if clip_id in keys]

    def read(missing: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        for number in missing:
            features = _read_features(spec, there[number])
            # That a file is of no use is remembered as a motion without frames.
            yield number, np.empty((0, spec.format.n_features), np.float32) if isinstance(features, str) else features

    store.complete([keys[clip_id] for clip_id in there], read, f"packing motions of {spec.name}", "clip")
    packed: dict[str, Row | str] = dict.fromkeys(ids, "without a motion file")
    for clip_id in there:
        motion = store.row(keys[clip_id])
        found = motion if len(motion) else _read_features(spec, clip_id)
        packed[clip_id] = found if isinstance(found, str) else motion
    return packed


def file_stats(folder: Path, suffix: str) -> dict[str, os.stat_result]:
    """By stem, the files of a folder that end so; none where there is no folder."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as files:
        named = [file for file in files if file.name.endswith(suffix)]
        # Of a link to itself DirEntry.is_file raises.
        found = [file for file in named if file.is_file(follow_symlinks=False) or os.path.isfile(file)]
        return {file.name.removesuffix(suffix): file.stat() for file in found}


def _read_features(spec: DatasetSpec, clip_id: str) -> np.ndarray | str:
    """One feature file as (T, D) float32, or why it cannot be used."""
    try:
        features = read_array(spec.features_dir / f"{clip_id}.npy")
    except UserError:
        return "unreadable"
    if features.ndim != 2 or features.shape[1] != spec.format.n_features or features.dtype.kind not in "fiu":
        return f"of another width than {spec.format.n_features}"
    features = features.astype(np.float32, copy=False)
    return features if np.isfinite(features).all() else "not finite"
