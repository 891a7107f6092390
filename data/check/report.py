"""What a check found: kinds of findings, and the report that is printed and saved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

SHOWN_NAMES = 5

Severity = Literal["problem", "note"]


@dataclass(frozen=True)
class Kind:
    """One class of findings.

    Attributes:
        severity: a problem loses or spoils data; a note is something that published datasets have and that the readers
            cope with as documented.
        one, many: what is said of one finding and of several.
    """

    severity: Severity
    one: str
    many: str


# In the order in which they are reported.
KINDS: dict[str, Kind] = {
    "missing": Kind("problem", "part of the folder is missing", "parts of the folder are missing"),
    "unknown-key": Kind("note", "key of dataset.json means nothing", "keys of dataset.json mean nothing"),
    "unreadable-split": Kind("problem", "split file cannot be read", "split files cannot be read"),
    "empty-split": Kind("problem", "split lists no clip", "splits list no clip"),
    "unusable-split": Kind(
        "problem",
        "split has no usable clip, which stops loading",
        "splits have no usable clip, which stops loading",
    ),
    "repeated-id": Kind("note", "id stands repeatedly in a split", "ids stand repeatedly in a split"),
    "overlap": Kind("problem", "id is in several splits", "ids are in several splits"),
    "leak": Kind(
        "problem",
        "performance is in several splits by its mirrored or cropped clips",
        "performances are in several splits by their mirrored or cropped clips",
    ),
    "unlisted": Kind("note", "motion is in no split", "motions are in no split"),
    "no-motion": Kind("problem", "listed clip has no motion file", "listed clips have no motion file"),
    "unreadable-motion": Kind("problem", "motion file cannot be read", "motion files cannot be read"),
    "wrong-shape": Kind("problem", "motion has another shape", "motions have another shape"),
    "not-finite": Kind("problem", "motion has NaN or infinite values", "motions have NaN or infinite values"),
    "too-short": Kind("note", "clip is too short and left out", "clips are too short and left out"),
    "too-long": Kind(
        "note",
        "clip is too long: cropped in training, left out of validation and test, windows in the RAG database",
        "clips are too long: cropped in training, left out of validation and test, windows in the RAG database",
    ),
    "units": Kind("problem", "unit of length is wrong", "units of length are wrong"),
    "height": Kind("problem", "motion has an implausible root height", "motions have implausible root heights"),
    "speed": Kind("problem", "motion's root jumps", "motions' roots jump"),
    "contacts": Kind("problem", "motion has contacts other than 0 and 1", "motions have contacts other than 0 and 1"),
    "rotations": Kind(
        "problem",
        "motion has rotation columns that are no rotations",
        "motions have rotation columns that are no rotations",
    ),
    "joints": Kind(
        "problem",
        "motion's joints are not those of its file in new_joints",
        "motions' joints are not those of their files in new_joints",
    ),
    "unreadable-joints": Kind("problem", "file in new_joints cannot be used", "files in new_joints cannot be used"),
    "same-motion-across": Kind(
        "problem", "motion is in several splits under other names", "motions are in several splits under other names"
    ),
    "same-motion": Kind("note", "motion has several names in a split", "motions have several names in a split"),
    "statistics": Kind("problem", "statistics file is unusable", "statistics files are unusable"),
    "statistics-fit": Kind(
        "problem",
        "group of columns does not fit Mean.npy and Std.npy",
        "groups of columns do not fit Mean.npy and Std.npy",
    ),
    "no-text": Kind("problem", "listed clip has no caption file", "listed clips have no caption file"),
    "encoding": Kind("problem", "caption file is not UTF-8 text", "caption files are not UTF-8 text"),
    "malformed-line": Kind(
        "problem",
        "caption line is malformed, which stops loading",
        "caption lines are malformed, which stops loading",
    ),
    "empty-caption": Kind("problem", "caption is empty", "captions are empty"),
    "no-caption": Kind("problem", "caption file has no caption", "caption files have no caption"),
    "no-words": Kind("problem", "caption lacks its word/POS fields", "captions lack their word/POS fields"),
    "no-pos": Kind(
        "problem", "caption has words without a part of speech", "captions have words without a part of speech"
    ),
    "reversed-tag": Kind("problem", "time tag ends before it starts", "time tags end before they start"),
    "outside-tag": Kind("problem", "time tag lies outside of its clip", "time tags lie outside of their clips"),
    "nan-tag": Kind("note", "time tag is NaN, read as 0", "time tags are NaN, read as 0"),
    "short-tag": Kind(
        "note",
        "time tag is shorter than a clip may be: its caption is left out",
        "time tags are shorter than a clip may be: their captions are left out",
    ),
    "repeated-caption": Kind("note", "caption stands repeatedly in a file", "captions stand repeatedly in a file"),
}


class Findings:
    """Collects names under kinds, each name once."""

    def __init__(self) -> None:
        self._names: dict[str, dict[str, None]] = {}

    def add(self, kind: str, name: str) -> None:
        """Notes one finding of a kind of `KINDS`."""
        if kind not in KINDS:
            raise KeyError(kind)
        self._names.setdefault(kind, {})[name] = None

    def extend(self, found: Iterable[tuple[str, str]]) -> None:
        """Notes several (kind, name)."""
        for kind, name in found:
            self.add(kind, name)

    def of(self, severity: Severity) -> dict[str, tuple[str, ...]]:
        """Kind -> names, in the order of `KINDS`."""
        return {
            name: tuple(self._names[name])
            for name, kind in KINDS.items()
            if kind.severity == severity and name in self._names
        }


@dataclass(frozen=True)
class SplitSummary:
    """What a split holds.

    Attributes:
        ids: listed clips, each counted once.
        clips: those that loading uses: readable, with a caption, not too short, in validation and test not too long.
        captions: of the usable clips.
        seconds: length of the usable clips.
    """

    ids: int
    clips: int
    captions: int
    seconds: float


@dataclass(frozen=True)
class Report:
    """The result of a check.

    Attributes:
        dataset, folder: what was checked.
        splits: by name.
        problems, notes: kind -> names.
    """

    dataset: str
    folder: str
    splits: Mapping[str, SplitSummary]
    problems: Mapping[str, tuple[str, ...]]
    notes: Mapping[str, tuple[str, ...]]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, with all names."""

        def plain(found: Mapping[str, tuple[str, ...]]) -> list[dict[str, Any]]:
            return [
                {"kind": kind, "count": len(names), "text": _said(kind, len(names)), "names": list(names)}
                for kind, names in found.items()
            ]

        return {
            "dataset": self.dataset,
            "folder": self.folder,
            "fine": not self.problems,
            "splits": {name: vars(summary) for name, summary in self.splits.items()},
            "problems": plain(self.problems),
            "notes": plain(self.notes),
        }


def format_report(report: Report) -> str:
    """The report as text: a line a split, a line a class of findings with up to five names."""
    lines = [f"{report.dataset} in {report.folder}"]
    for name, summary in report.splits.items():
        lines.append(
            f"  {name}: {summary.ids:,} ids, {summary.clips:,} usable, {summary.captions:,} captions,"
            f" {_duration(summary.seconds)}"
        )
    for title, found in (("problems", report.problems), ("notes (loading copes with these)", report.notes)):
        if found:
            lines.append(f"{title}:")
            lines += [_line(kind, names) for kind, names in found.items()]
    if report.problems:
        kinds = len(report.problems)
        lines.append(f"{kinds} kind{'s' * (kinds > 1)} of problems")
    else:
        lines.append("no problem found")
    return "\n".join(lines)


def _line(kind: str, names: tuple[str, ...]) -> str:
    shown = "; ".join(names[:SHOWN_NAMES]) + ("; ..." if len(names) > SHOWN_NAMES else "")
    return f"  {len(names):>6} {_said(kind, len(names))}: {shown}"


def _said(kind: str, count: int) -> str:
    return KINDS[kind].one if count == 1 else KINDS[kind].many


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.2f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"
