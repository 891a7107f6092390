"""From the command line and prompt files to a list of requests."""

from __future__ import annotations

import re

from data.captions import one_line
from storage.files import is_text, read_text
from storage.limits import LONGEST_LINE
from utils.errors import UserError

MAX_PROMPT_CHARACTERS = 2000
MOST_MOTIONS = 1_000_000  # that one command makes
MOST_DIGITS = 6  # of a length in frames
_NUMBERED = re.compile(r"(.*)(#)\s*([+-]?[\d.]+|NA)", re.IGNORECASE)
_COMMENT = re.compile(r"(.*=\s*\d+)\s+#.*")  # behind a length, what follows can only be a comment


def read_requests(
    text_prompt: str | None, text_path: str | None, motion_length: int, repeat_times: int, seed: int
) -> list[tuple[str, int | None, int]]:
    """Prompt, frames (None: estimated) and seed of each motion that is wanted.

    Every prompt comes `repeat_times` times, repetition r with the seed `seed + r`.

    Args:
        text_path: a UTF-8 file of `prompt`, `prompt=frames` or `prompt#frames` lines, where `#NA` asks for an estimated
            length; blank lines and lines that begin with `#` are left out. Any other `#` is part of its prompt.
        motion_length: frames of prompts that name none; 0: estimated.

    Raises:
        UserError: the file is missing, not UTF-8 or has no prompt; a prompt is too long, or a length no number.
    """
    prompts = [(text_prompt, motion_length)] if text_prompt is not None else _read_file(text_path or "", motion_length)
    for text, _ in prompts:
        if not is_text(text):
            raise UserError(f"a prompt is not UTF-8 text: {text[:40]!r}")
        if len(text) > MAX_PROMPT_CHARACTERS:
            raise UserError(
                f"a prompt has {len(text)} characters, at most {MAX_PROMPT_CHARACTERS} are read: {text[:40]}..."
            )
    if len(prompts) * repeat_times > MOST_MOTIONS:
        raise UserError(
            f"{len(prompts)} prompts, --repeat_times {repeat_times}: at most {MOST_MOTIONS:,} motions are made"
        )
    return [
        (one_line(text), length or None, seed + repeat) for text, length in prompts for repeat in range(repeat_times)
    ]


def _read_file(path: str, motion_length: int) -> list[tuple[str, int]]:
    try:
        lines = read_text(path).split("\n")
    except UserError as error:
        raise UserError(f"--text_path {error}") from error
    prompts = []
    for number, line in enumerate(map(str.strip, lines), start=1):
        if line and not line.startswith("#"):
            try:
                prompts.append(_prompt(line, motion_length))
            except ValueError as error:
                raise UserError(f"{path} line {number}: {error}") from error
    if not prompts:
        raise UserError(f"{path} has no prompt: write one a line, as `prompt`, `prompt=frames` or `prompt#frames`")
    return prompts


def _prompt(line: str, motion_length: int) -> tuple[str, int]:
    """Prompt and frames of a line; raises ValueError."""
    if len(line) > LONGEST_LINE:
        raise ValueError(f"the line has {len(line)} characters, at most {LONGEST_LINE} are read")
    commented = _COMMENT.fullmatch(line)
    line = commented[1] if commented else line
    numbered = _NUMBERED.fullmatch(line)
    text, separator, frames = numbered.groups() if numbered else line.rpartition("=")
    if not separator:
        return line, motion_length
    text, frames = text.strip(), frames.strip()
    if not text:
        raise ValueError(f"no prompt before {separator!r}")
    if separator == "#" and frames.upper() == "NA":
        return text, 0
    if not frames.isdecimal() or len(frames) > MOST_DIGITS or int(frames) == 0:
        raise ValueError(f"{frames[:40]!r} is no length in frames (prompt{separator}frames)")
    return text, int(frames)
