"""Captions and their lines: the one parser, of HumanML3D's files as of plain ones."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files import read_bytes

OTHER = "OTHER"
_TOKENS = re.compile(r"\s*[^\s/#]+/[A-Z]+(\s+[^\s/#]+/[A-Z]+)*\s*")  # word/POS word/POS ...
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*(e[+-]?\d+)?|\.\d+|nan|inf)\s*", re.IGNORECASE)


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
    # From the right: a `#` may occur in a sentence, but not in the fields after it.
    fields = line.rsplit("#", 3)
    if plain and not (len(fields) == 4 and all(map(_NUMBER.fullmatch, fields[2:]))):
        fields = _plain_fields(line)
    elif len(fields) != 4:
        raise ValueError(f"expected caption#words#start#end, got {_shorten(line)!r}")
    text, tokens, start, end = fields
    return Caption(one_line(text), tuple(tokens.split()), seconds(start), seconds(end))


def one_line(text: str) -> str:
    """A sentence with single blanks, which a line of a file can hold."""
    return " ".join(text.replace("\0", " ").split())


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
        ValueError: it is no such number.
    """
    try:
        time = float(value)
    except (TypeError, ValueError):
        time = -1.0
    if math.isnan(time):
        return 0.0
    if not 0 <= time < math.inf:
        raise ValueError(f"{str(value).strip()!r:.40} is no time in seconds")
    return time


def read_text(path: Path | str) -> str:
    """A UTF-8 text file, with or without a byte order mark; its lines end in `\\n`.

    Raises:
        UserError: the file is missing or not UTF-8; names it.
    """
    content = read_bytes(path)
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error}") from error
    if "\0" in text:  # UTF-16 without its mark is UTF-8 too
        raise UserError(f"{path} is not UTF-8 text: it holds zeros")
    return text


def caption_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a caption file that are not blank, with their numbers."""
    return ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())


def read_captions(path: Path | str, plain: bool = False) -> list[Caption]:
    """Reads a caption file, see `parse_caption`. Blank lines and captions are left out.

    Raises:
        UserError: the file is missing or not UTF-8 (names the file), or a line is malformed (names file and line).
    """
    captions = []
    for number, line in caption_lines(read_text(path)):
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
