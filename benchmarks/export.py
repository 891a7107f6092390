"""What exporting costs and loses: `python -m benchmarks.export`, or with `--dir FOLDER` on joints files of your own.

Without --dir the motions are clips of the mini dataset whose path is made 15 per cent too long for their steps, so that
their feet slide as those of generated motions do. Foot skate is how far heels and toes move along the ground from one
frame to the next while they are in contact (`visualization.contacts`): in the contacts of the raw joints, where feet
that slide far must also catch up, and in the exported motion's own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.figures import spent
from data.motions.folder import motion_paths
from data.motions.reader import MotionReader
from options.command_line import parse
from pipeline.motions import read_all
from utils.bvh import read_bvh
from utils.errors import run_script
from utils.formats import get_format
from utils.schema import option
from visualization.bvh import write_bvh
from visualization.captioned import CaptionedMotion
from visualization.contacts import detect_contacts
from visualization.gltf import write_glb
from visualization.html import write_html
from visualization.sequence import render_sequence
from visualization.video import render_video

FPS, FRAMES, DRIFT = 20.0, 120, 0.15


@dataclass(frozen=True)
class Options:
    """benchmarks/export.py"""

    dir: str | None = option(None, "folder of joints (T, 22, 3) as .npy; none: clips of the mini dataset")
    motions: int = option(100, "how many of them at most", minimum=1)
    seed: int = option(0, "of the mini dataset", minimum=0)


def mini_motions(count: int, seed: int) -> list[np.ndarray]:
    """Clips of the mini dataset, played forth and back until they have 120 frames: (120, 22, 3) each."""
    from data.mini.folder import plan  # noqa: PLC0415 - only without --dir
    from data.mini.motion import make_clip  # noqa: PLC0415

    motions = []
    for index, (segments, _) in enumerate(plan(max(count, 20), seed)[:count]):
        joints = make_clip(segments, np.random.default_rng([seed, index])).astype(np.float64)
        motions.append(np.concatenate([joints, joints[-2:0:-1], joints])[:FRAMES])
    return motions


def measure(job: Callable[[], object]) -> str:
    """Seconds on the clock and of the processor (the video encoder's included) of one call."""
    clock, busy = spent(job)
    return f"{clock:7.2f} s  {busy:7.2f} s of the processor"


def exported(path: Path, joints: np.ndarray, foot_locking: bool) -> np.ndarray:
    """Joints (T, 22, 3) in metres by forward kinematics of the written file."""
    motion = read_bvh(write_bvh(path, joints, FPS, foot_locking=foot_locking))
    order = [motion.names.index(name) for name in get_format("humanml3d").joint_names]
    return motion.positions()[:, order] / 100


def skate(joints: np.ndarray, contacts: np.ndarray) -> np.ndarray:
    """Horizontal steps of feet that stand, metres a frame."""
    skeleton = get_format("humanml3d")
    feet = joints[:, [*skeleton.left_foot, *skeleton.right_foot]]
    return np.linalg.norm(np.diff(feet[..., [0, 2]], axis=0), axis=-1)[contacts[1:] & contacts[:-1]]


def quality(folder: Path, motions: list[np.ndarray]) -> None:
    """Prints joint error without and foot skate with foot locking, of the files as another program reads them."""
    errors, raw, locked, own, knees = [], [], [], [], []
    for joints in motions:
        contacts = detect_contacts(joints, FPS)
        errors.append(np.linalg.norm(exported(folder / "a.bvh", joints, False) - joints, axis=-1))
        after = exported(folder / "a.bvh", joints, True)
        raw.append(skate(joints, contacts))
        locked.append(skate(after, contacts))
        own.append(skate(after, detect_contacts(after, FPS)))
        for hip, knee, ankle in ((1, 4, 7), (2, 5, 8)):
            bones = np.linalg.norm(after[0, knee] - after[0, hip]) + np.linalg.norm(after[0, ankle] - after[0, knee])
            knees.append((np.linalg.norm(after[:, ankle] - after[:, hip], axis=-1) / bones).max())
    error, before, then, theirs = (
        100 * np.concatenate([part.ravel() for part in parts]) for parts in (errors, raw, locked, own)
    )
    print(f"BVH read back: joint error   mean {error.mean():.3f} cm, largest {error.max():.2f} cm")
    print(f"foot skate, a frame          raw {before.mean():.3f} cm")
    for label, values in (("raw contacts", then), ("own contacts", theirs)):
        share = before.mean() / max(values.mean(), 1e-9)
        print(f"  feet locked, {label}  {values.mean():.3f} cm: 1/{share:.1f} of it")
    print(f"straightest leg, locked      {100 * max(knees):.1f} % of its length")


def main() -> None:
    """Motions -> files in a temporary folder -> figures."""
    options = parse(Options, description=__doc__)
    if options.dir is not None:
        motions = [motion.joints for motion in read_all(MotionReader(), motion_paths(options.dir)).values()][
            : options.motions
        ]
    else:
        motions = mini_motions(options.motions, options.seed)
        for joints in motions:
            joints[..., [0, 2]] += DRIFT * joints[:, :1, [0, 2]]
    first, words = motions[0], "a person walks in a circle and waves with the left hand"
    print(f"{len(motions)} motions of {min(map(len, motions))} to {max(map(len, motions))} frames at {FPS:g} a second")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        several = (motions * 3)[:3]

        def all_bvh() -> None:
            for index, joints in enumerate(motions):
                write_bvh(folder / f"{index}.bvh", joints, FPS, foot_locking=True)

        print(f"all as BVH, feet locked      {measure(all_bvh)}")
        panels = [CaptionedMotion(joints, words, retrieved=[("000001", words, 0.9)] * 4) for joints in several]
        jobs: dict[str, Callable[[], Path]] = {
            "a.mp4": lambda: render_video(folder / "a.mp4", [first], FPS, words),
            "a.gif": lambda: render_video(folder / "a.gif", [first], FPS, words),
            "three.mp4": lambda: render_video(folder / "three.mp4", several, FPS, words, labels=["a", "b", "c"]),
            "a.png": lambda: render_sequence(folder / "a.png", first, FPS, words),
            "a.bvh": lambda: write_bvh(folder / "a.bvh", first, FPS, foot_locking=True),
            "a.glb": lambda: write_glb(folder / "a.glb", first, FPS, foot_locking=True),
            "a.html": lambda: write_html(folder / "a.html", panels[:1], FPS),
            "three.html": lambda: write_html(folder / "three.html", panels, FPS),
        }
        for label, job in jobs.items():
            print(f"{label:28s} {measure(job)}, {(folder / label).stat().st_size / 1000:7.0f} kB")
        quality(folder, motions)


if __name__ == "__main__":
    run_script(main)
