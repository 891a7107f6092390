"""The README's pictures: there, small, and what docs/make_images.sh makes."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"


def test_pictures_are_small_and_made_by_the_script() -> None:
    script = (ROOT / "docs" / "make_images.sh").read_text("utf-8")
    pictures = sorted(IMAGES.iterdir())
    assert [path.name for path in pictures] == ["comparison.gif", "sequence.png"]
    for path in pictures:
        assert f"docs/images/{path.name}" in script
        assert path.stat().st_size < 300_000
    with Image.open(IMAGES / "comparison.gif") as image:
        assert image.n_frames > 10


def test_pictures_that_the_readme_shows_exist() -> None:
    for name in re.findall(r"docs/images/[\w./-]+", (ROOT / "README.md").read_text("utf-8")):
        assert (ROOT / name).is_file(), name
