"""What a check found: kinds of findings, and the report that is printed and saved."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

SHOWN_NAMES = 5
CHOICE = re.compile(r"\{(.*?)\|(.*?)\}")

Severity = Literal["problem", "note"]
Found = tuple[str, str]  # kind, name


@dataclass(frozen=True)
class Kind:
    """One class of findings.

    Attributes:
        severity: a problem loses or spoils data; a note is something that published datasets have and that the readers
            cope with as documented.
        text: what is said of findings, with `{of one|of several}` where that differs.
    """

    severity: Severity
    text: str

    def said(self, count: int) -> str:
        """The text for so many findings."""
        return CHOICE.sub(lambda choice: choice[1 if count == 1 else 2], self.text)


# In the order in which they are reported.
KINDS: dict[str, Kind] = {
    "missing": Kind("problem", "part{|s} of the folder {is|are} missing"),
    "unknown-key": Kind("note", "key{|s} of dataset.json {means|mean} nothing"),
    "unreadable-split": Kind("problem", "split file{|s} cannot be read"),
    "empty-split": Kind("problem", "split{ lists|s list} no clip"),
    "unused-split": Kind(
        "note",
        "split{ lists|s list} no clip: nothing is evaluated on {it|them}, and without val the last checkpoint is kept",
    ),
    "unusable-split": Kind("problem", "split{ has|s have} no usable clip, which stops loading"),
    "repeated-id": Kind("note", "id{ stands|s stand} repeatedly in a split"),
    "overlap": Kind("problem", "id{ is|s are} in several splits"),
    "leak": Kind("problem", "performance{ is|s are} in several splits by {its|their} mirrored or cropped clips"),
    "unlisted": Kind("note", "motion{ is|s are} in no split"),
    "no-motion": Kind("problem", "listed clip{ has|s have} no motion file"),
    "unreadable-motion": Kind("problem", "motion file{|s} cannot be read"),
    "wrong-shape": Kind("problem", "motion{ has|s have} another shape"),
    "not-finite": Kind("problem", "motion{ has|s have} NaN or infinite values"),
    "too-short": Kind("note", "clip{ is|s are} too short and left out"),
    "too-long": Kind(
        "note",
        "clip{ is|s are} too long: cropped in training, left out of validation and test, windows in the RAG database",
    ),
    "units": Kind("problem", "unit{|s} of length {is|are} wrong"),
    "height": Kind("problem", "motion{ has an implausible root height|s have implausible root heights}"),
    "speed": Kind("problem", "{motion's root jumps|motions' roots jump}"),
    "contacts": Kind("problem", "motion{ has|s have} contacts other than 0 and 1"),
    "rotations": Kind("problem", "motion{ has|s have} rotation columns that are no rotations"),
    "joints": Kind("problem", "{motion's|motions'} joints are not those of {its file|their files} in new_joints"),
    "unreadable-joints": Kind("problem", "file{|s} in new_joints cannot be used"),
    "same-motion-across": Kind("problem", "motion{ is|s are} in several splits under other names"),
    "same-motion": Kind("note", "motion{ has|s have} several names in a split"),
    "statistics": Kind("problem", "statistics file{ is|s are} unusable"),
    "statistics-fit": Kind("problem", "group{|s} of columns {does|do} not fit Mean.npy and Std.npy"),
    "no-text": Kind("problem", "listed clip{ has|s have} no caption file"),
    "encoding": Kind("problem", "caption file{ is|s are} not UTF-8 text"),
    "malformed-line": Kind("problem", "caption line{ is|s are} malformed, which stops loading"),
    "empty-caption": Kind("problem", "caption{ is|s are} empty"),
    "no-caption": Kind("problem", "caption file{ has|s have} no caption"),
    "no-words": Kind("problem", "caption{ lacks its|s lack their} word/POS fields"),
    "no-pos": Kind("problem", "caption{ has|s have} words without a part of speech"),
    "reversed-tag": Kind("problem", "time tag{ ends before it starts|s end before they start}"),
    "outside-tag": Kind("problem", "time tag{ lies outside of its clip|s lie outside of their clips}"),
    "nan-tag": Kind("note", "time tag{ is|s are} NaN, read as 0"),
    "short-tag": Kind(
        "note", "time tag{ is|s are} shorter than a clip may be: {its caption is|their captions are} left out"
    ),
    "repeated-caption": Kind("note", "caption{ stands|s stand} repeatedly in a file"),
}


def grouped(findings: Iterable[Found], severity: Severity) -> dict[str, tuple[str, ...]]:
    """Kind -> names, each once, in the order of `KINDS`."""
    names: dict[str, dict[str, None]] = {kind: {} for kind in KINDS}
    for kind, name in findings:
        names[kind][name] = None
    return {kind: tuple(each) for kind, each in names.items() if each and KINDS[kind].severity == severity}


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
                {"kind": kind, "count": len(names), "text": KINDS[kind].said(len(names)), "names": list(names)}
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
    return f"  {len(names):>6} {KINDS[kind].said(len(names))}: {shown}"


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.2f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"
