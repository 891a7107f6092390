"""Evaluates the 2D RVQ-VAE (protocol vq): reconstruction errors, FID and codebook use beside the real motions."""

from options.command_line import parse
from options.stages import EvalVQOptions
from utils.errors import run_script
from utils.schema import to_dict


def main() -> None:
    """Options -> RVQ-VAE -> table."""
    options = parse(EvalVQOptions, description=__doc__)

    from data.specs import get_spec, require_files
    from pipeline.evaluation.run import Evaluation
    from pipeline.loader import load_vq
    from pipeline.runs import run_folder
    from utils.device import choose_device

    spec = get_spec(options.run.dataset_name)
    require_files(spec, spec.split_path(options.protocol.split))
    device = choose_device(options.run.gpu_id)
    run_dir = run_folder(options.run.checkpoints_dir, spec, options.run.name)
    vq = load_vq(run_dir, options.which_epoch, device)
    evaluation = Evaluation(spec, options.protocol, vq, options.run.checkpoints_dir, device)
    evaluation.run([], "protocol vq (reconstruction)", run_dir / "eval", to_dict(options))


if __name__ == "__main__":
    run_script(main)
