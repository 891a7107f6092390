"""The pictures of the documentation: there, small, and made by a command that stands beside them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"


def test_pictures_are_small_and_made_by_commands() -> None:
    script = (ROOT / "docs" / "make_images.sh").read_text("utf-8")
    growth = (ROOT / "docs" / "growth.md").read_text("utf-8")
    assert "python -m benchmarks.growth" in growth and "--picture_dir docs/images" in growth
    for path in IMAGES.iterdir():
        where = f"images/{path.name}"
        assert where in (growth if path.name.startswith("growth_") else script), path.name
        assert path.stat().st_size < 300_000
    with Image.open(IMAGES / "comparison.gif") as image:
        assert image.n_frames > 10
