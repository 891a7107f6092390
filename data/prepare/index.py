"""HumanML3D's index.csv: what stretch of what AMASS take each clip is. Those of CMU's are cut from CMU's own files."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from data.motions.cmu import Take, take_of
from data.motions.folder import companions
from data.prepare.sources import Refusal, Source, clip_name, files_below
from storage.files import opened, read_text
from storage.limits import LARGEST_BVH, LONGEST_HEADER
from utils.errors import UserError, listed

COLUMNS = ("source_path", "start_frame", "end_frame", "new_name")
PREFERRED = (".amc", ".bvh", ".npz", ".npy")  # of several files of a take
_FRAME = re.compile(r"\d{1,9}", re.ASCII)
_PAIR = re.compile(r"(\d+)_(\d+)_([a-z]+)\d*", re.ASCII | re.IGNORECASE)  # subjects of a take of two, and who it is


@dataclass(frozen=True)
class Row:
    """A clip of the index: frames `crop` of one of `takes`, the one that `performer` made where these are two."""

    name: str
    source: str
    takes: tuple[Take, ...]
    performer: str
    crop: tuple[int, int | None]


@dataclass(frozen=True)
class Index:
    """CMU's rows of an index, those that cannot be understood, and how many there are of each other data set."""

    rows: tuple[Row, ...]
    refused: tuple[Refusal, ...]
    others: Counter[str]

    @property
    def names(self) -> frozenset[str]:
        """Clips of CMU's takes."""
        return frozenset(row.name for row in self.rows)

    @property
    def remarks(self) -> list[tuple[str, str]]:
        """One on the rows that are left out."""
        told = listed([f"{name} {count:,}" for name, count in self.others.most_common()], ", ", 5)
        return [("", f"rows of the index that are not CMU's: {told}")] if told else []


def read_index(path: Path) -> Index:
    """Reads an index with the columns `source_path,start_frame,end_frame,new_name`; an end of -1 is the take's.

    Raises:
        UserError: the file is missing, has other columns, or no row of a take of CMU's.
    """
    reader = csv.DictReader(io.StringIO(read_text(path)), strict=True)
    rows: dict[str, Row] = {}
    refused, others = [], Counter()
    try:
        if missing := [column for column in COLUMNS if column not in (reader.fieldnames or ())]:
            raise UserError(f"{path} is no index of HumanML3D: it has no column {missing[0]}")
        for values in reader:
            place = f"{path.name} line {reader.line_num}"
            source, start, end, name = ((values[column] or "").strip() for column in COLUMNS)
            parts = [part for part in source.replace("\\", "/").split("/") if part not in ("", ".")]
            if "cmu" not in map(str.lower, parts[:-1]):
                others[clip_name("".join(parts[parts[:1] == ["pose_data"] :][:1])[:40])] += 1
                continue
            try:
                row = _row(parts, start, end, name)
                if row.name in rows:
                    raise ValueError(f"duplicate name: {row.name} stands in the index before")
                rows[row.name] = row
            except ValueError as error:
                refused.append(Refusal(name, place, str(error)))
    except csv.Error as error:
        raise UserError(f"{path} is not a readable CSV file: line {reader.line_num}: {error}") from error
    if not rows:
        why = f": {refused[0].file}: {refused[0].reason}" if refused else ""
        raise UserError(f"{path} names no usable clip of a take of CMU's{why}")
    return Index(tuple(rows.values()), tuple(refused), others)


def _row(source: Sequence[str], start: str, end: str, name: str) -> Row:
    """A row of the index whose path has these parts. Raises `ValueError` where something cannot be meant."""
    folder, file = source[-2:]
    take = take_of(file)
    if take is None or not name:
        raise ValueError(f"bad row: {file[:80]!r} is no take of CMU's" if name else "bad row: no new_name")
    if not _FRAME.fullmatch(start) or not (end == "-1" or (_FRAME.fullmatch(end) and int(start) < int(end))):
        raise ValueError(f"bad row: frames {start[:20]!r} to {end[:20]!r}")
    pair = _PAIR.fullmatch(folder)
    takes = ((int(pair[1]), take[1]), (int(pair[2]), take[1])) if pair else (take,)
    crop = int(start), None if end == "-1" else int(end)
    return Row(clip_name(name), "/".join(source), takes, pair[3].lower() if pair else "", crop)


def find_takes(index: Index, folder: Path) -> tuple[list[Source], list[Refusal]]:
    """The clips of an index whose takes are among the motions of a folder and of all folders in it, by name; and those
    that are not, one refusal each.

    Raises:
        UserError: the folder is missing.
    """
    files: dict[Take, Path] = {}
    for path in sorted(files_below(folder, PREFERRED), key=_preference):
        if (take := take_of(path)) is not None:
            files.setdefault(take, path)
    sources, refused = [], list(index.refused)
    for row in index.rows:
        there = found = [files[take] for take in row.takes if take in files]
        if row.performer:
            found = [path for path in there if _performer(path).startswith(row.performer)]
        names = ["{:02d}_{:02d}".format(*take) for take in row.takes]
        if len(found) == 1:
            sources.append(Source(row.name, found[0], row.crop, names[0]))
            continue
        why = f"two people: nothing tells in which is {row.performer}," if there else f"missing take: {folder} has no"
        refused.append(Refusal(row.name, row.source, f"{why} {' or '.join(names)}"))
    return sorted(sources, key=lambda source: source.name), refused


def _preference(path: Path) -> tuple[bool, int, int]:
    """Of several files of a take the least: an .amc without its skeleton is of no use."""
    suffix = path.suffix.lower()
    return suffix == ".amc" and not companions(path), PREFERRED.index(suffix), len(path.name)


def _performer(path: Path) -> str:
    """Whose skeleton an .amc names in its first line, `#!OML:ASF H:\\somewhere\\rory3.ASF`: "rory3"; else nothing."""
    try:
        with opened(path, LARGEST_BVH) as file:
            first = file.readline(LONGEST_HEADER).decode("latin-1").strip().lower()
    except UserError:
        return ""
    return PureWindowsPath(first.partition("asf ")[2]).stem if first.startswith("#!oml") else ""
