"""What a data set of one's own costs as its clips grow: made of joint files, checked, and its first and second start.

The clips are those of `mini` at other speeds, each with a caption of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.curves import Cost, in_own_process, memory
from benchmarks.figures import spent
from benchmarks.library_size import WORDS

THEORY = {
    "preparation, s": 1.0,
    "check, s": 1.0,
    "packing, s": 1.0,
    "encoding captions, s": 1.0,
    "preparation again, s": 1.0,
    "check again, s": 1.0,
    "second start, s": 1.0,
    "files and cache, MB": 1.0,
    "own memory of a start, MB": 1.0,
}
FRAMES = (60, 120)
SPEEDS = (0.8, 1.1)
CAPTION_WORDS = 10


def write_clips(folder: Path, count: int) -> None:
    """Writes joints/NAME.npy (T, 22, 3) in metres and texts/NAME.txt."""
    from data.clips import load_split
    from data.specs import get_spec
    from utils.representation import features_to_joints

    source = [np.asarray(clip.features) for clip in load_split(get_spec("mini"), "train", captions=False)]
    source = [features_to_joints(features) for features in source if len(features) >= FRAMES[0]]
    for name in ("joints", "texts"):
        (folder / name).mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(count):
        joints, speed = source[number % len(source)], generator.uniform(*SPEEDS)
        times = np.arange(min(int((len(joints) - 1) / speed), FRAMES[1])) * speed
        first = times.astype(int)
        share = (times - first)[:, None, None]
        moved = (1 - share) * joints[first] + share * joints[first + 1]
        np.save(folder / "joints" / f"{number:06d}.npy", moved.astype(np.float32))
        text = " ".join(WORDS[word] for word in generator.integers(0, len(WORDS), CAPTION_WORDS))
        (folder / "texts" / f"{number:06d}.txt").write_text(f"{text}\n")


def measure(folder: Path, count: int) -> dict[str, Cost]:
    """The costs of so many clips, which are written into a folder that is not there yet."""
    write_clips(folder, count)
    costs = in_own_process(_made, folder) | in_own_process(_started, folder)
    again = {"preparation": "preparation again", "check": "check again", "start": "second start"}
    # In new processes: what the first ones held is no help.
    repeated = in_own_process(_made, folder) | in_own_process(_started, folder)
    costs |= {f"{new}, s": repeated[f"{name}, s"] for name, new in again.items()}
    size = sum(path.stat().st_size for path in (folder / "set").rglob("*") if path.is_file()) / 1e6
    return {name: cost for name, cost in costs.items() if name in THEORY} | {"files and cache, MB": Cost(size)}


def _timed(job: Callable[[], object]) -> Cost:
    clock, processor = spent(job)
    return Cost(processor, clock)


def _made(folder: Path) -> dict[str, Cost]:
    """prepare_dataset.py and data.check."""
    from data.check.folder import check_folder
    from data.specs import get_spec
    from options.prepare import PrepareOptions
    from pipeline.preparation import prepare_dataset

    places = {"motion_dir": folder / "joints", "text_dir": folder / "texts", "out": folder / "set"}
    options = PrepareOptions(**{name: str(place) for name, place in places.items()}, contact_sheet=0)
    costs = {"preparation, s": _timed(lambda: prepare_dataset(options))}
    return costs | {"check, s": _timed(lambda: check_folder(get_spec(str(folder / "set"))))}


def _started(folder: Path) -> dict[str, Cost]:
    """What training does before its first step: motions and captions read, captions encoded."""
    import torch

    from data.clips import load_split
    from data.specs import get_spec
    from models.text_encoder import TextFeatureStore, build_text_encoder

    spec = get_spec(str(folder / "set"))
    encoder = build_text_encoder("minilm", torch.device("cpu"))
    before, held = memory()[0], []
    packing = _timed(lambda: held.extend(load_split(spec, "train") + load_split(spec, "val")))
    texts = [caption.text for clip in held for caption in clip.captions]
    encoding = _timed(lambda: held.append(TextFeatureStore(encoder, texts, spec.cache_dir)))
    return {
        "packing, s": packing,
        "encoding captions, s": encoding,
        "start, s": Cost(packing.amount + encoding.amount, packing.clock + encoding.clock),
        "own memory of a start, MB": Cost(max(memory()[0] - before, 0.1)),
    }
