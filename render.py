"""Motions -> ray-traced videos or pictures, in Blender or with pip's bpy (`bash setup_render.sh`):

python render.py --dir outputs/demo --mode sequence
python render.py --dir outputs/demo --preview
blender --background --python render.py -- --cfg=./configs/render_mld.yaml --dir=test_npy --mode=video
"""

import sys
from pathlib import Path

folder = Path(__file__).resolve().parent  # of the checkout, or the installed package
# Blender does not look there by itself.
sys.path.insert(0, str(folder.parent if (folder / "__init__.py").exists() else folder))

from options.render import parse_render_options, script_arguments  # noqa: E402
from utils.blender import go_on_in_blender  # noqa: E402
from utils.errors import run_script  # noqa: E402


def main() -> None:
    """Options -> motions -> Blender -> files."""
    arguments = script_arguments(sys.argv)
    options = parse_render_options(arguments, description=__doc__)
    go_on_in_blender(Path(__file__), arguments)

    from pipeline.render_output import render_all

    render_all(options)


if __name__ == "__main__":
    run_script(main)
