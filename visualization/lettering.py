"""Text in pictures: wrapped captions drawn once, counters drawn per frame."""

from __future__ import annotations

import functools
import importlib.util
import re
import unicodedata
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

from utils.spelling import spelled

INK = (44, 52, 66)
FAINT_INK = (122, 132, 148)
FALLBACK = "DejaVuSans.ttf"  # comes with matplotlib: Greek, Cyrillic, Armenian, Georgian, Hebrew, Arabic
FONT_FOLDERS = (
    "~/.local/share/fonts",
    "~/.fonts",
    "/usr/local/share/fonts",
    "/usr/share/fonts",
    "~/Library/Fonts",
    "/Library/Fonts",
    "/System/Library/Fonts",
    "~/AppData/Local/Microsoft/Windows/Fonts",
    "C:/Windows/Fonts",
)
OTHER_STYLES = re.compile("bold|italic|oblique|black|light|thin|medium|mono|condensed|serif|emoji", re.IGNORECASE)
UNASSIGNED = "\U0010ffff"  # what a font draws for it, it draws for every character that it does not have

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@functools.lru_cache(maxsize=64)
def _font(path: str | None, size: int) -> Font:
    """The font of a file, or the one that every Pillow carries."""
    return ImageFont.truetype(path, size) if path else ImageFont.load_default(size)


@functools.lru_cache(maxsize=1)
def font_files() -> tuple[str, ...]:
    """The font that matplotlib brings, then those of the system: upright ones of usual weight first, of them Noto's."""
    package = importlib.util.find_spec("matplotlib")
    ours = [Path(each, "mpl-data", "fonts", "ttf", FALLBACK) for each in package.submodule_search_locations or ()]
    folders = [Path(folder).expanduser() for folder in FONT_FOLDERS]
    found = sorted(path for folder in folders for kind in ("*.tt[fc]", "*.otf") for path in folder.rglob(kind))
    found.sort(key=lambda path: (bool(OTHER_STYLES.search(path.stem)), not path.stem.lower().startswith("noto")))
    return tuple(str(path) for path in (*ours, *found) if path.is_file())


@functools.lru_cache(maxsize=4096)
def _has(path: str | None, character: str) -> bool:
    """Whether a font can show a character; scripts that join or turn around need a library that Pillow may lack."""
    if character.isspace():
        return True
    joins = unicodedata.bidirectional(character) in ("R", "AL") or unicodedata.category(character)[0] == "M"
    if joins and not features.check("raqm"):
        return False
    try:
        font = _font(path, 24)
        return bytes(font.getmask(character)) != bytes(font.getmask(UNASSIGNED))
    except (OSError, ValueError):  # no font after all, or one of a size that cannot be scaled
        return False


def legible(text: str, size: int) -> tuple[str, Font]:
    """The font of `size` pixels that has most of the characters of `text`, and `text` with the others in ASCII."""
    characters, best, most = set(text), None, -1
    for path in (None, *font_files()) if not text.isascii() else (None,):
        covered = sum(_has(path, character) for character in characters)
        if covered > most:
            best, most = path, covered
        if covered == len(characters):
            return text, _font(path, size)
    shown = "".join(each if _has(best, each) else spelled(each) for each in text)
    return " ".join(shown.split()), _font(best, size)


def wrap(text: str, font: Font, width: float, max_lines: int) -> list[str]:
    """Lines of at most `width` pixels; what does not fit in `max_lines` ends in an ellipsis.

    A single word wider than the picture is broken between characters.
    """
    words: list[str] = []
    for word in text.split():
        while font.getlength(word) > width and len(word) > 1:
            fitting = max(1, next(n for n in range(len(word), 0, -1) if n == 1 or font.getlength(word[:n]) <= width))
            words.append(word[:fitting])
            word = word[fitting:]
        words.append(word)
    lines: list[str] = []
    for word in words:
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    if len(lines) > max_lines:
        lines = lines[:max_lines]
        while lines[-1] and font.getlength(lines[-1] + "…") > width:
            lines[-1] = lines[-1][:-1]
        lines[-1] = lines[-1].rstrip(" ,.;") + "…"
    return lines


class Caption:
    """A block of wrapped, centred text that is laid out once and blended into every frame."""

    def __init__(
        self, text: str, width: int, font_size: int, max_lines: int = 3, colour: tuple[int, int, int] = INK
    ) -> None:
        """`width`: of the picture in pixels; a margin of one font size stays free on both sides."""
        text, font = legible(text, font_size)
        margin = font_size
        lines = wrap(text, font, max(width - 2 * margin, font_size), max_lines)
        spacing = round(1.32 * font_size)
        self.height = spacing * len(lines)
        self._colour = np.array(colour, dtype=np.float32)
        mask = Image.new("L", (width, max(self.height, 1)))
        drawing = ImageDraw.Draw(mask)
        for row, line in enumerate(lines):
            drawing.text(((width - font.getlength(line)) / 2, row * spacing), line, fill=255, font=font)
        self._cover = np.asarray(mask, dtype=np.float32)[..., None] / 255

    def draw(self, image: np.ndarray, top: int) -> None:
        """Blends the text into `image` (H, W, 3) uint8 with its first line at row `top`, in place."""
        rows = min(self.height, image.shape[0] - top)
        if rows <= 0:
            return
        region = image[top : top + rows]
        region[...] = (region + self._cover[:rows] * (self._colour - region) + np.float32(0.5)).astype(np.uint8)


def draw_note(image: np.ndarray, text: str, font_size: int, right: int, bottom: int) -> None:
    """A short right-aligned note (the frame counter) whose lower right corner is at (`right`, `bottom`), in place."""
    text, font = legible(text, font_size)
    width, height = int(font.getlength(text)) + 2, round(1.25 * font_size)
    left, top = max(0, right - width), max(0, bottom - height)
    region = Image.fromarray(image[top:bottom, left:right])
    ImageDraw.Draw(region).text((0, 0), text, fill=FAINT_INK, font=font)
    image[top:bottom, left:right] = np.asarray(region)
