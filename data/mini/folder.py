"""The mini dataset as a folder in HumanML3D's layout: what it shows, written by as many processes as are asked for.

The folder also holds `attributes.json` (what each clip shows, for `data.oracle`) and `dataset.json` (format version,
seed). The same seed writes the same bytes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
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
from utils.errors import UserError
from utils.files import read_json, write_json
from utils.formats import get_format
from utils.representation import feature_statistics, joints_to_features

FORMAT_VERSION = 3  # another number makes `ensure` write the folder anew
N_CLIPS = 2400
WORKERS = 2
MAX_FRAMES = 120
SPLITS = ("train", "val", "test")

Recipe = tuple[float, list[dict[str, str]]]


def _segment(**attributes: str | None) -> dict[str, str]:
    return {name: value for name, value in attributes.items() if value is not None}


def _walk(**attributes: str) -> dict[str, str]:
    return _segment(locomotion="walk", direction="forward", **attributes)


_STYLES = (("speed", "slow"), ("speed", "fast"), ("manner", "tired"), ("manner", "happy"), ("manner", "sneaky"))


def _gestures() -> list[dict[str, str]]:
    sided = [
        _segment(arm=arm, side=side)
        for arm in ("wave", "raise", "punch", "throw", "point")
        for side in ("left", "right")
    ]
    both = [_segment(arm=arm, side="both") for arm in ("wave", "raise")]
    legs = [_segment(leg="kick", leg_side=side) for side in ("left", "right")]
    heads = [_segment(head=head) for head in ("nod", "shake", "look_left", "look_right")]
    return [*sided, *both, _segment(arm="clap"), _segment(arm="wave"), *legs, *heads]


def _moves() -> list[dict[str, str]]:
    travel = [
        _walk(),
        _segment(locomotion="walk", direction="backward"),
        _segment(locomotion="jog", direction="forward"),
    ]
    steps = [_segment(locomotion="sidestep", direction=side) for side in ("left", "right")]
    turns = [_segment(locomotion="turn", direction=side) for side in ("left", "right", "around")]
    jumps = [_segment(locomotion="jump", direction=way) for way in ("up", "forward")]
    return [*travel, *steps, *turns, *jumps, _segment(locomotion="squat"), _segment(locomotion="lunge")]


def recipes() -> list[Recipe]:
    """Everything that clips show, with weights: about how many of 2,400 clips show it."""
    result: list[Recipe] = []

    def add(weight: float, *segments: dict[str, str]) -> None:
        result.append((weight, list(segments)))

    for weight, extra in ((55, {}), (50, {"speed": "slow"}), (50, {"speed": "fast"})):
        add(weight, _walk(**extra))
    for weight, manner in ((56, "tired"), (56, "happy"), (60, "sneaky")):
        add(weight, _walk(manner=manner))
    for weight, direction in ((40, None), (48, "backward"), (66, "left"), (66, "right")):
        add(weight, _segment(locomotion="walk", direction=direction))
    for locomotion, ahead, free in (("jog", 35, 22), ("run", 62, 48)):
        add(ahead, _segment(locomotion=locomotion, direction="forward"))
        add(free, _segment(locomotion=locomotion))
    for locomotion, weight in (("walk", 84), ("jog", 16), ("run", 20)):
        for direction in ("clockwise", "counterclockwise", None):
            add(weight, _segment(locomotion=locomotion, path="circle", direction=direction))
    for speed in ("slow", "fast"):
        add(10, _segment(locomotion="walk", path="circle", speed=speed))
    for locomotion, directions in (
        ("sidestep", {"left": 36, "right": 36}),
        ("turn", {"left": 26, "right": 26, "around": 34}),
        ("jump", {"up": 32, "forward": 32, None: 28}),
        ("squat", {None: 44}), ("sit", {None: 74}), ("kneel", {None: 70}), ("stand", {None: 112}),
    ):  # fmt: skip
        for direction, weight in directions.items():
            add(weight, _segment(locomotion=locomotion, direction=direction))
    for side, weight in (("left", 54), ("right", 54), (None, 8)):
        add(weight, _segment(locomotion="lunge", leg_side=side))

    for arm, sides in {
        "wave": {"left": 34, "right": 34, "both": 36, None: 44},
        "raise": {"left": 34, "right": 34, "both": 36, None: 14},
        "clap": {None: 56}, "punch": {"left": 48, "right": 48, None: 12}, "throw": {"left": 48, "right": 48, None: 14},
        "point": {"left": 40, "right": 40, None: 12},
    }.items():  # fmt: skip
        for side, weight in sides.items():
            add(weight, _segment(arm=arm, side=side))
    for side, weight in (("left", 56), ("right", 56), (None, 16)):
        add(weight, _segment(leg="kick", leg_side=side))
    for head in ("nod", "shake", "look_left", "look_right"):
        add(52, _segment(head=head))

    for side in ("left", "right", "both", None):
        add(12, _walk(arm="wave", side=side))
    for side in ("left", "right", "both"):
        add(8, _walk(arm="raise", side=side))
    for side in ("left", "right"):
        add(8, _walk(arm="point", side=side))
        add(8, _walk(head=f"look_{side}"))
    add(16, _walk(arm="clap"))
    add(10, _segment(locomotion="walk", path="circle", arm="wave"))
    add(6, _walk(speed="slow", arm="wave"))

    gestures, moves = _gestures(), _moves()
    ends = [_segment(locomotion="sit"), _segment(locomotion="kneel")]
    styled = [_walk(**{name: value}) for name, value in _STYLES]
    for first, second in product([*moves, *styled], gestures):
        add(1.5, first, second)
        add(1.2, second, first)
    for first, second in product([*moves, *styled], [*moves, *styled, *ends]):
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


def make_entry(index: int, segments: list[dict[str, str]], split: str, seed: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Joints (T, 22, 3), features (T-1, 263) and the text file of one clip, from its own generators."""
    joints = make_clip(segments, np.random.default_rng([seed, 2, index]))
    rows = captions(segments, np.random.default_rng([seed, 3, index]), split == "test")
    text = "".join(f"{caption}#{' '.join(tokens)}#0.0#0.0\n" for caption, tokens in rows)
    return joints, joints_to_features(joints, "mini"), text


def _write_entry(folder: Path, seed: int, job: tuple[int, list[dict[str, str]], str]) -> np.ndarray:
    index, segments, split = job
    joints, features, text = make_entry(index, segments, split, seed)
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
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise UserError(f"cannot write to {out.parent}: {error.strerror}") from error
    try:
        _fill(temporary, seed, n_clips, workers)
        temporary.chmod(0o755)
        _replace(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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


def _replace(temporary: Path, out: Path) -> None:
    """Puts the finished folder in place; if another process was quicker, its folder stays."""
    if out.exists():
        aside = Path(tempfile.mkdtemp(prefix=f".{out.name}-old-", dir=out.parent))
        out.rename(aside / out.name)
        shutil.rmtree(aside)
    try:
        temporary.rename(out)
    except OSError:
        if not (out / "dataset.json").is_file():
            raise


def _fill(folder: Path, seed: int, n_clips: int, workers: int) -> None:
    for name in ("new_joints", "new_joint_vecs", "texts"):
        (folder / name).mkdir()
    planned = plan(n_clips, seed)
    jobs = [(index, segments, split) for index, (segments, split) in enumerate(planned)]
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
    command = f"python -m data.mini --seed {seed} --n_clips {n_clips}"
    write_json(
        folder / "dataset.json",
        {
            "name": "mini",
            "format_version": FORMAT_VERSION,
            "seed": seed,
            "n_clips": n_clips,
            "fps": 20,
            "joints": "humanml3d",
            "max_frames": MAX_FRAMES,
            "command": command,
        },
    )


def ensure(root: Path) -> None:
    """Makes the dataset at `root` if it is missing or of another format version; a present one is left alone."""
    if _description(Path(root)).get("format_version") == FORMAT_VERSION:
        return
    print(f"making the mini dataset in {root} (under a minute) ...", file=sys.stderr, flush=True)
    # In a process of its own: worker processes started from here would run the caller's script again, which has no
    # reason to guard its main part.
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    finished = subprocess.run(
        [sys.executable, "-m", "data.mini", "--out", str(root), "--n_clips", str(N_CLIPS), "--workers", str(WORKERS)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.DEVNULL,
    )
    if finished.returncode:
        raise UserError(f"the mini dataset could not be made in {root}")
