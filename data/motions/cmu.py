"""What the files of CMU's motion capture database (mocap.cs.cmu.edu) do not say: how fast their takes were captured.

An .amc tells no frame rate. Most takes have 120 frames a second, some 60; most conversions to BVH claim 120 for all.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

Take = tuple[int, int]  # subject and trial

# The numbers of the subjects all of whose takes have one rate, and of the takes of the others.
_SUBJECTS = {
    60: "60-62 75 79-80 93 103 106-107 115 141 143",
    120: "1-2 5-13 15-32 35-41 43 45-47 49 54-56 63-64 70 73 76 78 82-83 85-87 91 94 102 105 108 111 113-114 118 120"
    " 122-128 131-133 135-138 140 142 144",
}
_TRIALS = {
    74: {60: "1-8 10-20", 120: "9"},
    77: {60: "1-20 22-27 29-34", 120: "21 28"},
    84: {60: "1-8 10-20", 120: "9"},
    88: {60: "5-11", 120: "3"},
    89: {60: "1", 120: "2"},
    90: {60: "8 11", 120: "1-7 12-16 18-19 22-36"},
    139: {60: "1-19 22-27 29-34", 120: "21"},
}
_CLAIMED = 120.0  # by conversions, whatever is true
_MARKS = {"lhipjoint", "lbuttock"}  # joints that only CMU's own skeleton and the conversion for Daz have
_NAME = re.compile(r"0*(\d{1,3})_0*(\d{1,3})(?!\d)", re.ASCII)


def take_of(path: Path | str) -> Take | None:
    """The take that a file's name begins with, such as `01_02.amc` or `86_11_poses.npz`."""
    found = _NAME.match(Path(path).name)
    return (int(found[1]), int(found[2])) if found else None


def _among(number: int, ranges: str) -> bool:
    bounds = (each.partition("-") for each in ranges.split())
    return any(int(first) <= number <= int(last or first) for first, _, last in bounds)


def captured_rate(take: Take | None) -> float | None:
    """Frames a second at which a take was captured; None of takes of which it is not known."""
    if take is None:
        return None
    number, rates = (take[1], _TRIALS[take[0]]) if take[0] in _TRIALS else (take[0], _SUBJECTS)
    return next((float(rate) for rate, ranges in rates.items() if _among(number, ranges)), None)


def true_rate(path: Path, joints: Collection[str], claimed: float | None) -> float | None:
    """Frames a second of a file with CMU's `joints`: as its take was captured where the file claims nothing, or claims
    120 as conversions do that only copied the frames. Any other file's are those that it claims.
    """
    known = captured_rate(take_of(path)) if _MARKS & {each.lower() for each in joints} else None
    copied = claimed is None or abs(claimed - _CLAIMED) < 1
    return known if known is not None and copied else claimed
