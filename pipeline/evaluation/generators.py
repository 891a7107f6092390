"""What eval_mask.py and eval_res.py share: runs -> generated rows -> tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from data.clips import Clip
from data.specs import require_split
from models.precision import lower_precision
from options.evaluation import EvalMaskOptions, EvalResOptions
from pipeline.evaluation.kept import KeptScores
from pipeline.evaluation.protocols import Generated, GroundTruthBase
from pipeline.evaluation.run import Evaluation
from pipeline.loader import load_run
from pipeline.runs import Runs, report_folder, runs_of
from pipeline.text_to_motion import TextToMotion
from storage.checkpoint_names import EVERY_CHECKPOINT, matching_checkpoints
from utils.device import choose_device
from utils.schema import to_dict

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
    runs, models, device = runs_of(options.run), options.models, choose_device(options.run.gpu_id)
    spec = runs.spec
    require_split(spec, options.protocol.split)
    targets = _targets(options, protocol, runs)
    t2m = TextToMotion.load(
        options.run.checkpoints_dir,
        options.run.dataset_name,  # not the spec's name, which says nothing of where an own dataset lies
        device=device,
        which_mtrans=options.which_epoch if protocol == "mask" else options.which_ckpt,
        which_rtrans=targets[0][0],
        **({"rtrans_name": None} | vars(models)),
    )
    evaluation = Evaluation(spec, options.protocol, t2m.vq, options.run.checkpoints_dir, device)
    kept: list[KeptScores] = []
    for number, (which_rtrans, folder) in enumerate(targets):
        if number:
            t2m.residual = load_run(t2m.runs["rtrans"], which_rtrans, device)
            lower_precision(t2m.residual.transformer, models.precision)
        sources = _sources(options, protocol, t2m, evaluation.clips)
        title = TITLES[protocol] + (f", checkpoint {which_rtrans}" if which_rtrans else "")
        spread = options.mm_captions, options.mm_motions
        evaluation.run(sources, title, folder, to_dict(options), spread, t2m.fingerprint, kept)
    for scores in kept:
        scores.forget()


def _sources(
    options: EvalMaskOptions | EvalResOptions, protocol: str, t2m: TextToMotion, clips: Sequence[Clip]
) -> list[Generated]:
    """The rows: every retrieval mode, then the sweeps with the first of them."""
    kind = GroundTruthBase if protocol == "gt-base" else Generated
    settings, first = options.sampling, options.retrieval[0]
    suffixes = {mode: "" if mode == "on" else f", retrieval {mode}" for mode in options.retrieval}
    rows = [(suffix, settings, mode) for mode, suffix in suffixes.items()]
    for flag in ("cond_scale", "retrieval_scale", "time_steps"):
        # The residual stage alone has a scale of its own and no passes.
        field = "res_cond_scale" if protocol == "gt-base" and flag == "cond_scale" else flag
        for value in getattr(options, f"sweep_{flag}"):
            rows.append((f"{suffixes[first]}, {field} {value:g}", replace(settings, **{field: value}), first))
    batch_size = options.protocol.batch_size
    return [kind(protocol + suffix, t2m, clips, chosen, mode, batch_size) for suffix, chosen, mode in rows]


def _targets(options: EvalMaskOptions | EvalResOptions, protocol: str, runs: Runs) -> list[tuple[str | None, Path]]:
    """(residual checkpoint, folder of the report) of each evaluation."""
    if protocol == "mask":
        return [(None, report_folder(runs.find(options.models.mtrans_name)))]
    run_dir = runs.find(options.models.rtrans_name)
    folder = report_folder(run_dir)
    if not options.traverse_res:
        return [(options.which_epoch, folder)]
    paths = matching_checkpoints(run_dir, options.which_epoch or EVERY_CHECKPOINT)
    return [(path.name, folder / path.stem) for path in paths]
