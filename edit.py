"""Directs: changes a motion, tells a story, starts or ends in a pose, goes a way, loops. Results go to outputs/<ext>/.

`python edit.py --source_motion walk.bvh --mask_edit_section 0.3,0.6 --text_prompt "a person jumps"`, or
`python edit.py --story story.txt`.
"""

import sys

from options.command_line import parse
from options.edit import EditOptions
from utils.errors import run_script


def main() -> None:
    """Options -> what is to be done -> files."""
    options = parse(EditOptions, description=__doc__)

    import signal

    from pipeline.directing import EditRun, work_of
    from pipeline.text_to_motion import TextToMotion
    from storage.files import result_folder
    from utils.device import choose_device

    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    run, device = options.run, choose_device(options.run.gpu_id)
    with result_folder(f"{options.output_dir}/{options.ext}") as folder:
        t2m = TextToMotion.load(run.checkpoints_dir, run.dataset_name, device=device, **vars(options.models))
        EditRun(folder, t2m, work_of(options, t2m), options).run()


if __name__ == "__main__":
    run_script(main)
