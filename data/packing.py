"""The motions of a dataset in a few large files: tens of thousands of small ones are read once, not at every start."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np

from data.specs import DatasetSpec
from utils.arrays import UNREADABLE_ARRAY
from utils.progress import progress_bar
from utils.row_store import Row, RowStore, digest


def pack_motions(spec: DatasetSpec, ids: Sequence[str]) -> dict[str, Row | str]:
    """Feature files in few large files of the dataset's cache, made once: by id the motion (T, D) float32, or what is
    wrong with its file. A file of another size or time is packed anew.
    """
    with os.scandir(spec.features_dir) as files:
        found = {file.name[:-4]: file.stat() for file in files if file.name.endswith(".npy")}
    keys = {clip_id: digest(clip_id, f"{stat.st_size} {stat.st_mtime_ns}") for clip_id, stat in found.items()}
    store = RowStore(spec.cache_dir / f"motions_{spec.format.n_features}", (spec.format.n_features,), np.float32)
    store.keep_only(frozenset(keys.values()))
    names = {keys[clip_id]: clip_id for clip_id in ids if clip_id in keys}

    def read(missing: list[bytes]) -> Iterator[tuple[bytes, np.ndarray]]:
        with progress_bar(len(missing), f"packing motions of {spec.name}", "clip") as bar:
            for key in missing:
                features = _read_features(spec, names[key])
                faulty = isinstance(features, str)
                # That a file is of no use is remembered as a motion without frames.
                yield key, np.empty((0, spec.format.n_features), np.float32) if faulty else features
                bar.update()

    store.complete(names, read)
    packed: dict[str, Row | str] = dict.fromkeys(ids, "without a motion file")
    for key, clip_id in names.items():
        motion = store.row(key)
        found = motion if len(motion) else _read_features(spec, clip_id)
        packed[clip_id] = found if isinstance(found, str) else motion
    return packed


def _read_features(spec: DatasetSpec, clip_id: str) -> np.ndarray | str:
    """One feature file as (T, D) float32, or why it cannot be used."""
    try:
        features = np.load(spec.features_dir / f"{clip_id}.npy", allow_pickle=False)
    except FileNotFoundError:
        return "without a motion file"
    except UNREADABLE_ARRAY:
        return "unreadable"
    if features.ndim != 2 or features.shape[1] != spec.format.n_features or features.dtype.kind not in "fiu":
        return f"of another width than {spec.format.n_features}"
    features = features.astype(np.float32, copy=False)
    return features if np.isfinite(features).all() else "not finite"
