"""Reads Biovision hierarchies (.bvh): any skeleton, channels in any order, position channels on any joint."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from storage.limits import LARGEST_BVH, MOST_NODES
from utils.errors import UserError
from utils.hierarchy import LARGEST, Hierarchy, Node, assemble, read_lines, read_number

_CHANNEL = re.compile(r"([xyz])(position|rotation)", re.IGNORECASE)
_FRAMES = re.compile(r"\s*frames\s*:\s*(\S+)\s*", re.IGNORECASE)
_FRAME_TIME = re.compile(r"\s*frame\s+time\s*:\s*(\S+)\s*", re.IGNORECASE)


def read_bvh(path: Path | str) -> Hierarchy:
    """Reads a .bvh file.

    Raises:
        UserError: the file is missing or is not a complete BVH file; says what is wrong, and in which line.
    """
    lines = read_lines(path, LARGEST_BVH)
    try:
        return _parse(lines)
    except ValueError as error:
        raise UserError(f"{path} is not a complete BVH file: {error}") from error


def _parse(lines: list[str]) -> Hierarchy:
    """Raises ValueError that says what is wrong."""
    start = next((number for number, line in enumerate(lines) if line.strip().upper() == "MOTION"), None)
    if start is None:
        raise ValueError("there is no line MOTION")
    nodes = _read_header(lines[:start])
    columns = sum(len(node.channels or ()) for node in nodes)
    values, fps = _read_motion(lines, start + 1, columns)
    return assemble(nodes, values, fps)


class _Words:
    """The header's words, one after the other, with their lines."""

    def __init__(self, lines: list[str]) -> None:
        spaced = ((number, line.replace("{", " { ").replace("}", " } ")) for number, line in enumerate(lines, start=1))
        self._words = [(word, number) for number, line in spaced for word in line.split()]
        self._next = 0
        self.line = 0

    def peek(self) -> str | None:
        """The next word, None at the end."""
        return self._words[self._next][0] if self._next < len(self._words) else None

    def take(self, what: str) -> str:
        """The next word; `what` is what is expected there."""
        if self._next == len(self._words):
            raise ValueError(f"the header ends where {what} should follow")
        word, self.line = self._words[self._next]
        self._next += 1
        return word

    def expect(self, wanted: str) -> None:
        """Takes the word `wanted`."""
        word = self.take(wanted)
        if word.upper() != wanted:
            raise ValueError(f"line {self.line}: {word[:40]!r} stands where {wanted} should")

    def vector(self) -> list[float]:
        """Takes three numbers."""
        return [read_number(self.take("a number"), self.line) for _ in range(3)]

    def name(self) -> str:
        """Takes the words up to the next bracket."""
        words = []
        while self.peek() not in ("{", None):
            words.append(self.take("a name"))
        if not words or self.peek() is None:
            raise ValueError(f"line {self.line}: a joint without a name or without a bracket")
        return " ".join(words)


def _read_header(lines: list[str]) -> list[Node]:
    words = _Words(lines)
    words.expect("HIERARCHY")
    words.expect("ROOT")
    nodes = [Node(words.name(), -1)]
    words.expect("{")
    stack, columns = [0], 0
    while stack:
        node, word = nodes[stack[-1]], words.take("}").upper()
        if word == "}":
            if node.offset is None:
                raise ValueError(f"line {words.line}: joint {node.name} has no OFFSET")
            stack.pop()
        elif word == "JOINT":
            if len(nodes) == MOST_NODES:
                raise ValueError(f"line {words.line}: more than {MOST_NODES} joints")
            nodes.append(Node(words.name(), stack[-1]))
            stack.append(len(nodes) - 1)
            words.expect("{")
        elif word == "OFFSET":
            node.offset = words.vector()
        elif word == "CHANNELS":
            if node.channels is not None:
                raise ValueError(f"line {words.line}: joint {node.name} has CHANNELS twice")
            node.channels = _read_channels(words, columns)
            columns += len(node.channels)
        elif word == "END":
            words.name()
            words.expect("{")
            words.expect("OFFSET")
            node.end = words.vector()
            words.expect("}")
        else:
            raise ValueError(f"line {words.line}: {word[:40]!r} is not understood")
    if words.peek() is not None:
        raise ValueError(f"{words.peek()[:40]!r} follows the end of the root; one root is read")
    return nodes


def _read_channels(words: _Words, column: int) -> list[tuple[str, str, int]]:
    count = words.take("the number of channels")
    if not count.isascii() or not count.isdigit() or int(count[:3]) > 6:
        raise ValueError(f"line {words.line}: {count[:40]!r} is no number of channels from 0 to 6")
    channels = []
    for place in range(int(count)):
        word = words.take("a channel")
        found = _CHANNEL.fullmatch(word)
        if found is None:
            raise ValueError(f"line {words.line}: {word[:40]!r} is no channel")
        channel = (found[1].upper(), found[2].lower(), column + place)
        if channel[:2] in [other[:2] for other in channels]:
            raise ValueError(f"line {words.line}: channel {word} stands twice")
        channels.append(channel)
    return channels


def _read_motion(lines: list[str], start: int, columns: int) -> tuple[np.ndarray, float]:
    """The numbers (T, columns) after line `start`, and the frame rate."""
    rest = [number for number in range(start, len(lines)) if lines[number].strip()][:2]
    found = [pattern.fullmatch(lines[number]) for pattern, number in zip((_FRAMES, _FRAME_TIME), rest, strict=False)]
    if len(found) < 2 or None in found:
        raise ValueError("MOTION must be followed by the lines Frames: and Frame Time:")
    count, fps = found[0][1], _frame_rate(found[1][1], rest[1] + 1)
    if not count.isascii() or not count.isdigit() or len(count) > 9 or not int(count):
        raise ValueError(f"line {rest[0] + 1}: {count[:40]!r} is no number of frames")
    frames, body = int(count), lines[rest[1] + 1 :]
    if not columns:
        raise ValueError("no joint has a channel")
    words = " ".join(body).split()
    if len(words) != frames * columns:
        raise ValueError(
            f"the header promises {frames} frames of {columns} numbers, that is {frames * columns}, but "
            f"{len(words)} follow ({len(words) / columns:.2f} frames)"
        )
    try:
        values = np.array(words, dtype=np.float64)
    except ValueError:
        for number, line in enumerate(body, start=rest[1] + 2):
            for word in line.split():
                read_number(word, number)
        raise
    values = values.reshape(frames, columns)
    bad = ~(np.abs(values) <= LARGEST)
    if bad.any():
        frame, column = np.argwhere(bad)[0]
        raise ValueError(f"frame {frame} holds {values[frame, column]:g}")
    return values, fps


def _frame_rate(word: str, line: int) -> float:
    """Frames a second; a frame time that is a whole rate rounded to the digits written is that whole rate."""
    seconds = read_number(word, line)
    if not 1e-4 <= seconds <= 10:
        raise ValueError(f"line {line}: a frame time of {word[:40]} seconds")
    fps = 1 / seconds
    digits = len(word.partition(".")[2]) if "e" not in word.lower() else 0
    whole = max(round(fps), 1)
    return float(whole) if digits and abs(seconds - 1 / whole) < 10.0**-digits else fps
