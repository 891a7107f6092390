"""Text -> motion: `python demo.py --text_prompt "a person waves"`. Results go to outputs/<ext>/."""

import sys

from options.command_line import parse
from options.demo import DemoOptions
from utils.errors import run_script


def main() -> None:
    """Options -> TextToMotion -> files."""
    options = parse(DemoOptions, description=__doc__)

    import signal

    from pipeline.demo_output import DemoRun, known_words
    from pipeline.prompts import read_requests
    from pipeline.text_to_motion import TextToMotion
    from storage.files import result_folder
    from utils.device import choose_device

    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    run, device = options.run, choose_device(options.run.gpu_id)

    def load() -> TextToMotion:
        return TextToMotion.load(run.checkpoints_dir, run.dataset_name, device=device, **vars(options.models))

    if options.list_words:
        print(known_words(load()))
        return
    with result_folder(f"{options.output_dir}/{options.ext}") as folder:
        requests = read_requests(
            options.text_prompt, options.text_path, options.motion_length, options.repeat_times, options.seed
        )
        DemoRun(folder, load(), requests, options).run()


if __name__ == "__main__":
    run_script(main)
