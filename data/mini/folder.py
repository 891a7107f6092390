"""The mini dataset as a folder in HumanML3D's layout: what it shows, written by as many processes as are asked for.

The folder also holds `attributes.json` (what each clip shows, for `data.oracle`) and `dataset.json` (format version,
seed). The same seed writes the same bytes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from data.mini.captions import captions
from data.mini.motion import make_clip
from storage.files import read_json, replaced_folder, write_json
from utils.errors import UserError
from utils.formats import get_format
from utils.representation import feature_statistics, joints_to_features

FORMAT_VERSION = 3  # another number makes `ensure` write the folder anew
N_CLIPS = 2400
WORKERS = 2
MAX_FRAMES = 120
SPLITS = ("train", "val", "test")

Recipe = tuple[float, list[dict[str, str]]]


def recipes() -> list[Recipe]:
    """Everything that clips show, with weights: about how many of 2,400 clips show it."""
    table = read_json(Path(__file__).with_name("recipes.json"))
    result: list[Recipe] = [(weight, [segment]) for weight, segment in table["alone"]]

    def add(weight: float, *segments: dict[str, str]) -> None:
        result.append((weight, list(segments)))

    gestures, ends, moves = table["gestures"], table["ends"], table["moves"] + table["styled"]
    for first, second in product(moves, gestures):
        add(1.5, first, second)
        add(1.2, second, first)
    for first, second in product(moves, moves + ends):
        if first["locomotion"] != second["locomotion"]:
            add(1.1, first, second)
    for first, second in product(ends, gestures):
        if "leg" not in second:
            add(0.9, first, second)
            add(0.9, second, first)
    for first, second in product(gestures, gestures):
        if _kinds(first) != _kinds(second):
            add(0.25, first, second)
    return result


def _kinds(segment: dict[str, str]) -> str:
    return segment.get("arm") or segment.get("leg") or segment["head"].split("_")[0]


def plan(n_clips: int, seed: int) -> list[tuple[list[dict[str, str]], str]]:
    """The segments and the split of every clip, in order of clip numbers.

    Clips are spread evenly over the recipes and, within a recipe, over the splits (80/5/15).
    """
    chosen = recipes()
    ends = np.cumsum([weight for weight, _ in chosen])
    picks = np.searchsorted(ends, (np.arange(n_clips) + 0.5) * ends[-1] / n_clips)
    pattern = ["train"] * 20
    pattern[7] = "val"
    for place in (3, 10, 17):
        pattern[place] = "test"
    planned = [(chosen[pick][1], pattern[index % 20]) for index, pick in enumerate(picks)]
    order = np.random.default_rng([seed, 1]).permutation(n_clips)
    return [planned[index] for index in order]


def _write_entry(folder: Path, seed: int, job: tuple[int, list[dict[str, str]], str]) -> np.ndarray:
    """Joints (T, 22, 3), features (T-1, 263) and the text file of one clip, from its own generators."""
    index, segments, split = job
    joints = make_clip(segments, np.random.default_rng([seed, 2, index]))
    features = joints_to_features(joints, "mini")
    rows = captions(segments, np.random.default_rng([seed, 3, index]), split == "test")
    text = "".join(f"{caption}#{' '.join(tokens)}#0.0#0.0\n" for caption, tokens in rows)
    name = f"{index:06d}"
    np.save(folder / "new_joints" / f"{name}.npy", joints, allow_pickle=False)
    np.save(folder / "new_joint_vecs" / f"{name}.npy", features, allow_pickle=False)
    (folder / "texts" / f"{name}.txt").write_text(text, encoding="utf-8")
    return features


def _entries(folder: Path, seed: int, jobs: list, workers: int) -> Iterator[np.ndarray]:
    write = partial(_write_entry, folder, seed)
    if workers <= 1:
        yield from map(write, jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(write, jobs, chunksize=32)


def write(out: Path, seed: int = 0, n_clips: int = N_CLIPS, workers: int = WORKERS) -> None:
    """Writes the whole folder, in a temporary folder beside it first; an older folder of ours is replaced.

    Raises:
        UserError: `out` exists and is not a mini dataset, or cannot be written.
    """
    out = Path(out)
    if n_clips < 20:
        raise UserError(f"--n_clips {n_clips}: at least 20 clips are needed to fill every split")
    if out.exists() and not _may_be_replaced(out):
        raise UserError(f"{out} exists and is not a mini dataset: remove it or choose another --out")
    if seed < 0:
        raise UserError(f"--seed must not be negative, it is {seed}")
    with replaced_folder(out) as temporary:
        _fill(temporary, seed, n_clips, workers)


def _may_be_replaced(out: Path) -> bool:
    """Whether it is an empty folder or a mini dataset; a user's dataset has a dataset.json of another name."""
    return out.is_dir() and (not any(out.iterdir()) or _description(out).get("name") == "mini")


def _description(folder: Path) -> dict[str, Any]:
    """What dataset.json says; nothing if there is none, or it is unreadable."""
    try:
        content = read_json(folder / "dataset.json")
    except UserError:
        return {}
    return content if isinstance(content, dict) else {}


def _fill(folder: Path, seed: int, n_clips: int, workers: int) -> None:
    for name in ("new_joints", "new_joint_vecs", "texts"):
        (folder / name).mkdir()
    jobs = [(index, segments, split) for index, (segments, split) in enumerate(plan(n_clips, seed))]
    train, names = [], {split: [] for split in SPLITS}
    for (index, _, split), features in zip(jobs, _entries(folder, seed, jobs, workers), strict=True):
        names[split].append(f"{index:06d}")
        if split == "train":
            train.append(features)
    statistics = feature_statistics(train, get_format("mini"))
    for file, values in zip(("Mean.npy", "Std.npy"), statistics, strict=True):
        np.save(folder / file, values, allow_pickle=False)
    for split in SPLITS:
        (folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in names[split]), encoding="utf-8")
    write_json(folder / "attributes.json", {f"{index:06d}": {"segments": segments} for index, segments, _ in jobs})
    description = {
        "name": "mini",
        "format_version": FORMAT_VERSION,
        "seed": seed,
        "n_clips": n_clips,
        "fps": 20,
        "joints": "humanml3d",
        "max_frames": MAX_FRAMES,
        "command": f"python -m data.mini --seed {seed} --n_clips {n_clips}",
    }
    write_json(folder / "dataset.json", description)


def ensure(root: Path) -> None:
    """Makes the dataset at `root` if it is missing or of another format version; a present one is left alone."""
    if _description(Path(root)).get("format_version") == FORMAT_VERSION:
        return
    print(f"making the mini dataset in {root} (under a minute) ...", file=sys.stderr, flush=True)
    # In a process of its own: worker processes started from here would run the caller's script again, which has no
    # reason to guard its main part.
    finished = subprocess.run(
        [sys.executable, "-m", __package__, "--out", str(root), "--n_clips", str(N_CLIPS), "--workers", str(WORKERS)],
        # It finds the modules that this process finds, and none of the folder where the user stands before them.
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)), "PYTHONSAFEPATH": "1"},
        stdout=subprocess.DEVNULL,
    )
    if finished.returncode:
        raise UserError(f"the mini dataset could not be made in {root}")
