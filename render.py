"""Motions -> ray-traced videos or pictures, in Blender or with pip's bpy:

blender --background --python render.py -- --cfg=./configs/render_mld.yaml --dir=test_npy --mode=video
python render.py -- --cfg=./configs/render_mld.yaml --dir=test_npy --mode=sequence
"""

import sys
from pathlib import Path

folder = Path(__file__).resolve().parent  # of the checkout, or the installed package
# Blender does not look there by itself.
sys.path.insert(0, str(folder.parent if (folder / "__init__.py").exists() else folder))

from options.render import parse_render_options, script_arguments  # noqa: E402
from utils.errors import run_script  # noqa: E402


def main() -> None:
    """Options -> motions -> Blender -> files."""
    options = parse_render_options(script_arguments(sys.argv), description=__doc__)

    from pipeline.render_output import render_all

    render_all(options)


if __name__ == "__main__":
    run_script(main)
