"""What preparing a dataset costs: unpacks the motion-capture pack into plain files and times prepare_dataset.py on it.

    python -m benchmarks.preparation --pack ../shared/mocap --folder /tmp/preparation

`--folder` gets joints/NAME.npy, texts/NAME.txt and the dataset. The pack holds all clips in one file: see its README.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.figures import spent


def unpack(pack: Path, folder: Path) -> int:
    """Writes joints (T, 22, 3) in metres and captions as a file a clip; the number of clips."""
    (folder / "joints").mkdir(parents=True, exist_ok=True)
    with np.load(pack / "bandai_joints.npz", allow_pickle=False) as file:
        joints = file["root"][:, None] + file["rel"] * np.float32(file["unit"])
        names, ends = file["names"], np.cumsum(file["lengths"])
    for name, clip in zip(names, np.split(joints, ends[:-1]), strict=True):
        np.save(folder / "joints" / f"{name}.npy", clip.astype(np.float32))
    with zipfile.ZipFile(pack / "texts.zip") as archive:
        archive.extractall(folder)
    return len(names)


def main() -> None:
    """Times both kinds of files, in processes of their own as users start them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pack", type=Path, default=Path("../shared/mocap"))
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    count = unpack(options.pack, options.folder)
    bvh = options.pack / "bvh"
    jobs = {
        f"{len(list(bvh.glob('*.bvh')))} BVH files": [bvh, bvh / "texts", "bvh"],
        f"{count:,} joint clips": [options.folder / "joints", options.folder / "texts", "joints"],
    }
    for label, (motions, texts, name) in jobs.items():
        command = [sys.executable, "prepare_dataset.py", "--motion_dir", motions, "--text_dir", texts, "--restart"]
        command += ["--out", options.folder / f"dataset_{name}", "--min_frames", "36"]
        seconds, busy = spent(partial(subprocess.run, [str(word) for word in command], check=True))
        print(f"{label}: {seconds:.1f} s, {busy:.1f} s of processor time; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
