"""Text -> motion: `python demo.py --text_prompt "a person waves"`. Results go to outputs/<ext>/."""

from options.command_line import parse
from options.stages import DemoOptions
from utils.errors import run_script


def main() -> None:
    """Options -> TextToMotion -> files."""
    options = parse(DemoOptions, description=__doc__)

    from pipeline.demo_output import write_results
    from pipeline.prompts import read_requests
    from pipeline.text_to_motion import TextToMotion
    from utils.device import choose_device
    from utils.files import result_folder

    with result_folder(f"{options.output_dir}/{options.ext}") as folder:
        requests = read_requests(
            options.text_prompt, options.text_path, options.motion_length, options.repeat_times, options.seed
        )
        t2m = TextToMotion.load(
            options.checkpoints_dir,
            options.dataset_name,
            options.mtrans_name,
            options.rtrans_name,
            choose_device(options.gpu_id),
            vq_name=options.vq_name,
            retriever_name=options.retriever_name,
            database=options.database,
        )
        motions = t2m.generate(
            [request.text for request in requests],
            [request.motion_length for request in requests],
            [request.seed for request in requests],
            sampling=options.sampling,
            retrieval=not options.no_retrieval,
            deterministic_length=options.deterministic_length,
        )
        write_results(folder, motions, t2m.spec.format, options)


if __name__ == "__main__":
    run_script(main)
