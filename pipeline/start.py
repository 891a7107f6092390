"""Whether the runs in a folder can be what the training of a dataset starts from; the first thing that hinders is told.

`python -m pipeline.start pretrained/open --dataset_name mine`, which `reproduce_dataset.sh --init_from` asks before
anything is written. No model is built.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data.specs import DatasetSpec, get_spec
from models.rag.manifest import MANIFEST
from options.command_line import parse
from options.inspect import StartOptions
from options.stages import TokenInputs
from pipeline.inspect import WORDS
from storage.shipped import locate
from utils import fits
from utils.errors import UserError, run_script
from utils.run import Run

NEEDED = ("vq", "tmr", "mtrans", "rtrans", "length")  # one goes by what the others know; an evaluator stands alone


def source_runs(folder: Path) -> dict[str, Run]:
    """The runs of a folder that have the names of their stages.

    Raises:
        UserError: one that is needed is missing or broken.
    """
    runs = {name: Run(folder / name).of_stage(name) for name in WORDS if (folder / name / "config.json").is_file()}
    if missing := [name for name in NEEDED if name not in runs]:
        shared = runs["mtrans"].section("inputs", TokenInputs).vq_name if "mtrans" in runs else ""
        if missing == ["vq"] and "/" in shared:
            raise UserError(f"--init_from {folder}: its motions are in tokens of {shared}: start from that folder")
        others = sorted(path.parent.parent.name for path in folder.glob("*/vq/config.json"))
        told = f"it lacks {', '.join(missing)}" if runs else f"it has none of {', '.join(NEEDED)}"
        inside = f"; name a folder in it: {', '.join(others)}" if others else ""
        raise UserError(f"--init_from {folder} is not a folder with the runs of all stages: {told}{inside}")
    return runs


def check_start(folder: Path, spec: DatasetSpec) -> Iterator[str]:
    """Lines about what is not there and need not be.

    Raises:
        UserError: the runs do not fit each other or the dataset.
    """
    runs = source_runs(folder)
    for run in runs.values():
        spec.check_run(run)
        run.checkpoint()
    vq, retriever, length = runs["vq"], runs["tmr"], runs["length"]
    fits.check_text_encoders([runs["mtrans"], runs["rtrans"], length])
    for name in ("mtrans", "rtrans"):
        fits.check_tokens(runs[name], vq, vq.hash)
        fits.check_retriever(runs[name], retriever, retriever.hash)
    most, unit = length.value("model", "max_steps_length"), spec.format.unit_length
    if type(most) is int and spec.max_frames // unit >= most:
        raise UserError(
            f"{length.folder} knows lengths under {most * unit} frames, the dataset {spec.argument} has up to"
            f" {spec.max_frames}: prepare it with --max_frames {(most - 1) * unit}"
        )
    if not (folder / "database" / MANIFEST).is_file():
        yield f"note: there is no {folder / 'database'}: the library will hold the motions of {spec.argument} alone"
    if "evaluator" not in runs:
        yield f"note: there is no {folder / 'evaluator'}: the evaluator starts from nothing, with preset small"


def main() -> None:
    """Options -> nothing, notes, or the one error."""
    options = parse(StartOptions, description=__doc__)
    for line in check_start(locate(options.folder), get_spec(options.dataset_name)):
        print(line)


if __name__ == "__main__":
    run_script(main)
