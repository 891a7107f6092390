"""Text of any script in ASCII, for where its own letters cannot be had: names of files, pictures without a font."""

from __future__ import annotations

import re
import unicodedata

from anyascii import anyascii


def spelled(text: str) -> str:
    """ASCII that is said roughly like `text`; what is written without spaces gets them."""
    return "".join(
        f"{anyascii(each)} " if each.isalpha() and unicodedata.east_asian_width(each) == "W" else anyascii(each)
        for each in text
    )


def slugify(text: str, max_length: int = 60) -> str:
    """A file name made from free text: lower-case letters, digits, single underscores; never empty.

    Other scripts are spelled in ASCII.
    """
    slug = re.sub(r"[^a-z0-9]+", "_", spelled(text).lower()).strip("_")[:max_length].rstrip("_")
    return slug or "motion"
