"""Evaluates the 2D RVQ-VAE (protocol vq): reconstruction errors, FID and codebook use beside the real motions."""

from options.command_line import parse
from options.evaluation import EvalVQOptions
from utils.errors import run_script
from utils.schema import to_dict


def main() -> None:
    """Options -> RVQ-VAE -> table."""
    options = parse(EvalVQOptions, description=__doc__)

    from data.specs import require_split
    from pipeline.evaluation.run import Evaluation
    from pipeline.loader import load_run
    from pipeline.runs import report_folder, runs_of
    from utils.device import choose_device

    runs = runs_of(options.run)
    spec, device = runs.spec, choose_device(options.run.gpu_id)
    require_split(spec, options.protocol.split)
    run = runs.open(options.run.name, "vq")
    vq = load_run(run, options.which_epoch, device)
    evaluation = Evaluation(spec, options.protocol, vq, options.run.checkpoints_dir, device)
    folder = report_folder(run.folder)
    if run.folder.parent.name != spec.name:
        folder /= spec.name
    evaluation.run([], "protocol vq (reconstruction)", folder, to_dict(options))


if __name__ == "__main__":
    run_script(main)
