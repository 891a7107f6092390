"""From the command line and prompt files to a list of requests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from utils.errors import UserError

MAX_PROMPT_CHARACTERS = 2000


@dataclass(frozen=True)
class Request:
    """One motion that is wanted.

    Attributes:
        text: the prompt.
        motion_length: frames, or None: estimated.
        seed: of the sampling.
        repeat: number of the repetition.
    """

    text: str
    motion_length: int | None
    seed: int
    repeat: int


def read_requests(
    text_prompt: str | None, text_path: str | None, motion_length: int, repeat_times: int, seed: int
) -> list[Request]:
    """Every prompt `repeat_times` times, repetition r with the seed `seed + r`.

    Args:
        text_path: a UTF-8 file of `prompt` or `prompt=frames` lines; blank lines and `#` comments are left out.
        motion_length: frames of prompts that name none; 0: estimated.

    Raises:
        UserError: the file is missing, not UTF-8 or has no prompt; a prompt is too long, or a length no number.
    """
    prompts = [(text_prompt, motion_length)] if text_prompt is not None else _read_file(text_path or "", motion_length)
    for text, _ in prompts:
        if len(text) > MAX_PROMPT_CHARACTERS:
            raise UserError(
                f"a prompt has {len(text)} characters, at most {MAX_PROMPT_CHARACTERS} are read: {text[:40]}..."
            )
    return [
        Request(" ".join(text.split()), length or None, seed + repeat, repeat)
        for text, length in prompts
        for repeat in range(repeat_times)
    ]


def _read_file(path: str, motion_length: int) -> list[tuple[str, int]]:
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"--text_path {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"--text_path {path} is not UTF-8 text") from error
    prompts = []
    for number, line in enumerate(lines, start=1):
        line = line.split("#", 1)[0].strip()
        if not line:
            continue
        text, separator, frames = line.rpartition("=")
        if not separator:
            prompts.append((line, motion_length))
        elif not text.strip():
            raise UserError(f"{path} line {number}: no prompt before '='")
        elif not frames.strip().isdecimal() or int(frames) == 0:
            raise UserError(f"{path} line {number}: {frames.strip()!r} is no length in frames (prompt=frames)")
        else:
            prompts.append((text.strip(), int(frames)))
    if not prompts:
        raise UserError(f"{path} has no prompt: write one a line, as `prompt` or `prompt=frames`")
    return prompts
