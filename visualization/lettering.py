"""Text in pictures: wrapped captions drawn once, counters drawn per frame."""

from __future__ import annotations

import contextlib
import functools

import numpy as np
from PIL import Image, ImageDraw, ImageFont

INK = (44, 52, 66)
FAINT_INK = (122, 132, 148)
# Fonts with more scripts than the one inside Pillow; used, where installed, for captions that need them.
WIDE_FONTS = ("NotoSansCJK-Regular.ttc", "NotoSans-Regular.ttf", "DejaVuSans.ttf", "Arial Unicode.ttf", "arial.ttf")


@functools.lru_cache(maxsize=64)
def _font(size: int, wide: bool) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that every Pillow carries, or a `wide` one of the system's with many scripts, where one is installed."""
    for name in WIDE_FONTS if wide else ():
        with contextlib.suppress(OSError):
            return ImageFont.truetype(name, size)
    return ImageFont.load_default(size)


def font_for(text: str, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A font of `size` pixels that can show `text`."""
    latin = all(ord(character) < 0x250 or 0x2010 <= ord(character) <= 0x2026 for character in text)
    return _font(size, wide=not latin)


def wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float, max_lines: int) -> list[str]:
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
        font = font_for(text, font_size)
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
    font = font_for(text, font_size)
    width, height = int(font.getlength(text)) + 2, round(1.25 * font_size)
    left, top = max(0, right - width), max(0, bottom - height)
    region = Image.fromarray(image[top:bottom, left:right])
    ImageDraw.Draw(region).text((0, 0), text, fill=FAINT_INK, font=font)
    image[top:bottom, left:right] = np.asarray(region)
