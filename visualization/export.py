"""Motion files -> animation files, pages and videos: `python -m visualization.export --dir IN --out OUT --formats bvh`.

A motion's caption is the first line of NAME.txt beside NAME.npy, or what the demo's result.json says of it.
"""

from options.command_line import parse
from options.export import MotionExportOptions
from utils.errors import run_script


def main() -> None:
    """Options -> motions -> files."""
    options = parse(MotionExportOptions, description=__doc__)

    from dataclasses import replace

    from data.motions.folder import format_of_motions, motion_paths
    from data.motions.reader import MotionReader
    from pipeline.export_settings import blender_hint, export_settings
    from pipeline.motions import read_bodies, read_motion_folder
    from storage.files import result_folder
    from visualization.formats import export_folder

    bodies = read_bodies(options.body_model)
    form = format_of_motions(motion_paths(options.dir).values(), options.joint_type)
    reader = MotionReader(options.reading, form=form, bodies=bodies)
    motions = read_motion_folder(options.dir, reader)
    if options.fps:
        motions = {name: replace(motion, fps=options.fps) for name, motion in motions.items()}
    size = (options.width, options.height) if options.width else None
    settings = export_settings(options.files, form, options.formats, size=size)
    with result_folder(options.out) as folder:
        export_folder(motions, folder, options.formats, options.compare, settings)
    rates = {motion.fps or form.fps for motion in motions.values()}
    if hint := blender_hint(options.formats, replace(settings, fps=min(rates))):
        print(hint)


if __name__ == "__main__":
    run_script(main)
