"""What eval_mask.py and eval_res.py share: runs -> generated rows -> tables."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from data.specs import get_spec, require_files
from options.schema import to_dict
from options.stages import EvalMaskOptions, EvalResOptions
from pipeline.evaluation.protocols import Generated, GroundTruthBase
from pipeline.evaluation.run import Evaluation
from pipeline.runs import run_folder
from pipeline.text_to_motion import TextToMotion
from utils.device import choose_device
from utils.run_files import list_checkpoints, matching_checkpoints

TITLES = {
    "mask": "protocol mask (text -> base tokens)",
    "res": "protocol res (text -> base -> residual: the full pipeline)",
    "gt-base": "protocol gt-base (ground-truth base tokens + residual: a diagnosis, not a text-to-motion result)",
}


def evaluate_generator(options: EvalMaskOptions | EvalResOptions, protocol: Literal["mask", "res", "gt-base"]) -> None:
    """Evaluates one masked transformer, alone or with each residual checkpoint asked for.

    Raises:
        UserError: dataset, runs, checkpoints or database are missing or do not fit.
    """
    spec = get_spec(options.run.dataset_name)
    require_files(spec, spec.split_path(options.protocol.split))
    device = choose_device(options.run.gpu_id)
    for which_rtrans, folder in _targets(options, protocol, spec.name):
        t2m = TextToMotion.load(
            options.run.checkpoints_dir,
            spec.name,
            options.mtrans_name,
            None if protocol == "mask" else options.rtrans_name,
            device,
            vq_name=options.vq_name,
            retriever_name=options.retriever_name,
            database=options.database,
            which_mtrans=options.which_epoch if protocol == "mask" else options.which_ckpt,
            which_rtrans=which_rtrans,
        )
        evaluation = Evaluation(spec, options.protocol, t2m.vq, options.run.checkpoints_dir, device)
        kind = GroundTruthBase if protocol == "gt-base" else Generated
        name = protocol if options.retrieval == "on" else f"{protocol}, retrieval {options.retrieval}"
        source = kind(name, t2m, evaluation.clips, options.sampling, options.retrieval, options.protocol.batch_size)
        title = TITLES[protocol] + (f", checkpoint {which_rtrans}" if which_rtrans else "")
        evaluation.run([source], title, folder, to_dict(options))


def _targets(
    options: EvalMaskOptions | EvalResOptions, protocol: str, dataset_name: str
) -> list[tuple[str | None, Path]]:
    """(residual checkpoint, folder of the report) of each evaluation."""
    if protocol == "mask":
        return [(None, run_folder(options.run.checkpoints_dir, dataset_name, options.mtrans_name) / "eval")]
    run_dir = run_folder(options.run.checkpoints_dir, dataset_name, options.rtrans_name)
    if not options.traverse_res:
        return [(options.which_epoch, run_dir / "eval")]
    names = list_checkpoints(run_dir)
    if options.which_epoch is not None:
        names = [path.name for path in matching_checkpoints(run_dir, options.which_epoch)]
    return [(name, run_dir / "eval" / Path(name).stem) for name in names]
