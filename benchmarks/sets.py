"""Writes the folder of a dataset that a benchmark needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from storage.files import write_json
from utils.motion_format import MotionFormat
from utils.representation import feature_statistics


def write_set(
    folder: Path,
    splits: Mapping[str, Iterable[tuple[str, np.ndarray, str]]],
    form: MotionFormat,
    description: dict[str, Any],
    motions: Iterable[np.ndarray] | None = None,
) -> None:
    """Writes a dataset; its dataset.json comes last, so that a folder which has one is complete.

    Args:
        folder: of the dataset.
        splits: id, features (T, D) and the caption file's text of each clip, by split.
        form: what the motions are.
        description: what dataset.json tells besides rate and joints.
        motions: those that the statistics are of; none: the training split's.
    """
    for name in ("new_joint_vecs", "texts"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for split, clips in splits.items():
        with open(folder / f"{split}.txt", "w", encoding="utf-8") as file:
            for clip_id, features, text in clips:
                np.save(folder / "new_joint_vecs" / f"{clip_id}.npy", features)
                (folder / "texts" / f"{clip_id}.txt").write_text(text, encoding="utf-8")
                file.write(f"{clip_id}\n")
    if motions is None:
        train = (folder / "train.txt").read_text(encoding="utf-8").split()
        motions = (np.load(folder / "new_joint_vecs" / f"{clip_id}.npy") for clip_id in train)
    for name, values in zip(("Mean", "Std"), feature_statistics(motions, form), strict=True):
        np.save(folder / f"{name}.npy", values)
    write_json(folder / "dataset.json", {"fps": form.fps, "joints": form.name, **description})
