"""python -m data.mini --out dataset/mini --seed 0: writes the mini dataset."""

from __future__ import annotations

import argparse
from pathlib import Path

from data.mini.folder import N_CLIPS, WORKERS, write
from utils.errors import run_script


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Write the procedural mini dataset as a HumanML3D folder.")
    parser.add_argument("--out", type=Path, default=Path("dataset/mini"), help="folder to write (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=0, help="the same seed writes the same files (default: %(default)s)"
    )
    parser.add_argument("--n_clips", type=int, default=N_CLIPS, help="number of clips (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=WORKERS, help="processes (default: %(default)s)")
    options = parser.parse_args()
    write(options.out, options.seed, options.n_clips, options.workers)
    print(f"{options.n_clips} clips in {options.out}")


if __name__ == "__main__":
    run_script(main)
