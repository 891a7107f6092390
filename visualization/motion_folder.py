"""Motions with their captions to a folder of exports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from visualization.captioned import CaptionedMotion
from visualization.formats import MOST_COMPARED, ExportSettings, check_comparison, write_comparison, write_motion


def export_folder(
    motions: Mapping[str, CaptionedMotion],
    folder: Path,
    formats: Sequence[str],
    compare: Sequence[str],
    settings: ExportSettings,
) -> list[Path]:
    """Writes every motion in every format into `folder`, with a progress bar, and the comparisons that are wanted.

    Without `settings.frame_rate` each file has its motion's own rate, a comparison the highest of its motions.

    Returns:
        the files.

    Raises:
        UserError: see `write_motion` and `write_comparison`; a comparison that cannot be is found before any file.
    """
    shown = list(motions.values())[:MOST_COMPARED]
    if compare:
        check_comparison(len(shown), compare, settings)
    written: list[Path] = []
    for name, motion in tqdm(motions.items(), desc="exporting", unit="motion"):
        own = replace(settings, fps=motion.fps or settings.fps)
        written += write_motion(folder / name, motion, formats, own).values()
    if compare:
        if len(shown) < len(motions):
            print(f"the comparison shows the first {MOST_COMPARED} of {len(motions)} motions")
        common = replace(settings, fps=max(motion.fps or settings.fps for motion in shown))
        written += write_comparison(folder / "comparison", shown, compare, common).values()
    print(f"{folder}: {len(written)} files of {len(motions)} motions")
    return written
