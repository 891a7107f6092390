"""Captions and their lines: the one parser, of HumanML3D's files as of plain ones."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.files import read_text
from storage.limits import LATEST_SECOND, LONGEST_LINE, MOST_CAPTIONS
from utils.errors import UserError

OTHER = "OTHER"
_TOKENS = re.compile(r"\s*[^\s/#]+/[A-Z]+(\s+[^\s/#]+/[A-Z]+)*\s*")  # word/POS word/POS ...
_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?(e[+-]?\d+)?|\.\d+|nan|inf)\s*", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Caption:
    """One caption of a clip.

    Attributes:
        text: the sentence.
        tokens: its words as `word/POS`.
        start: first second that it describes.
        end: last second that it describes; start and end both 0 mean the whole clip.
    """

    text: str
    tokens: tuple[str, ...] = ()
    start: float = 0.0
    end: float = 0.0


def parse_caption(line: str, plain: bool = False) -> Caption:
    """A line of a caption file, `caption#word/POS word/POS ...#start#end`. A time of `nan` counts as 0.

    Args:
        line: without its end.
        plain: the sentence alone is a line too. What then follows it after `#` and looks like words with parts of
            speech, like times, or like nothing is no part of it; any other `#` is. A single number is no time.

    Raises:
        ValueError: the line is malformed; says how.
    """
    if len(line) > LONGEST_LINE:
        raise ValueError(f"the line has {len(line)} characters, at most {LONGEST_LINE} are read")
    # From the right: a `#` may occur in a sentence, but not in the fields after it.
    fields = line.rsplit("#", 3)
    if plain and not (len(fields) == 4 and all(map(_NUMBER.fullmatch, fields[2:]))):
        fields = _plain_fields(line)
    elif len(fields) != 4:
        raise ValueError(f"expected caption#words#start#end, got {_shorten(line)!r}")
    text, tokens, start, end = fields
    return Caption(one_line(text), tuple(tokens.split()), seconds(start), seconds(end))


def one_line(text: str) -> str:
    """A sentence with single blanks and nothing that steers a terminal, which a line of a file can hold."""
    return " ".join(_CONTROL.sub(" ", text).split())


def _plain_fields(line: str) -> tuple[str, str, Any, Any]:
    """Sentence, words, start and end of a line that has not all of them."""
    text, tokens, numbers = line, "", []
    while "#" in text and not tokens:
        rest, _, field = text.rpartition("#")
        # `call #5` is a sentence, `he walks#5` and `he walks # 5` are not.
        if _NUMBER.fullmatch(field) and len(numbers) < 2 and not (rest[-1:].isspace() and not field[:1].isspace()):
            numbers.insert(0, field)
        elif _TOKENS.fullmatch(field):
            tokens = field
        elif field.strip():
            break
        text = rest
    for place, field in enumerate(text.split("#")[1:], start=2):
        if _TOKENS.fullmatch(field):
            behind = line.split("#")[place:]
            strange = next((each for each in behind if not _NUMBER.fullmatch(each)), field)
            raise ValueError(f"{strange.strip()!r} is no time in seconds")
    return text, tokens, *(numbers if len(numbers) == 2 else (0.0, 0.0))


def seconds(value: Any) -> float:
    """A time in seconds; `nan` is 0.

    Raises:
        ValueError: it is no such number, or later than anything is.
    """
    try:
        time = float(value)
    except (TypeError, ValueError, OverflowError):
        time = -1.0
    if math.isnan(time):
        return 0.0
    if not 0 <= time <= LATEST_SECOND:
        raise ValueError(f"{str(value).strip()!r:.40} is no time in seconds")
    return time


def caption_lines(path: Path | str) -> list[tuple[int, str]]:
    """The lines of a caption file that are not blank, with their numbers.

    Raises:
        UserError: the file is missing, not UTF-8, or has more lines than a clip can have captions; names it.
    """
    lines = [(number, line) for number, line in enumerate(read_text(path).split("\n"), start=1) if line.strip()]
    if len(lines) > MOST_CAPTIONS:
        raise UserError(f"{path} has {len(lines)} captions, at most {MOST_CAPTIONS} are read of a clip")
    return lines


def read_captions(path: Path | str, plain: bool = False) -> list[Caption]:
    """Reads a caption file, see `parse_caption`. Blank lines and captions are left out.

    Raises:
        UserError: the file is unreadable, see `caption_lines`, or a line is malformed (names file and line).
    """
    captions = []
    for number, line in caption_lines(path):
        try:
            caption = parse_caption(line, plain)
        except ValueError as error:
            raise UserError(f"{path} line {number}: {error}") from error
        if caption.text:
            captions.append(caption)
    return captions


def _shorten(line: str, length: int = 60) -> str:
    """The line's beginning, for an error message."""
    return line if len(line) <= length else line[:length] + "..."
