"""What is gained by starting from the runs of another dataset, where there are few own clips?

`python -m tests.long.fine_tuning --source pretrained/open --bvh FOLDER --out FOLDER [--steps N] [--stages vq mtrans]`:
BVH files with captions in FOLDER/texts become a dataset of which 30 % of the takes are for validation. Each stage is
then trained three times, with equal sizes and equally many steps: not at all (what the source knows of such clips),
from the source by preset finetune, and from nothing by the schedule of preset small. Transformers that start from
nothing read the adapted tokens and library too, so that their losses compare. Prints a table as Markdown.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from options import stages
from options.command_line import flags_of
from options.presets import FINETUNE, PRESETS
from storage.checkpoint import read_checkpoint
from utils.run import Run

SCRIPTS = {
    "tmr": (["-m", "Part_TMR.scripts.train"], stages.RetrieverOptions, "r1"),
    "vq": (["train_vq.py"], stages.VQOptions, "mpjpe"),
    "mtrans": (["train_mask_transformer.py"], stages.MaskedOptions, "loss"),
    "rtrans": (["train_res_transformer.py"], stages.ResidualOptions, "loss"),
    "length": (["train_length_estimator.py"], stages.LengthOptions, "loss"),
}
STILL = {"lr": 0.0, "max_steps": 1}  # a validation of what the source knows


def call(*words: object) -> float:
    """Runs a command of the project; processor seconds.

    Raises:
        SystemExit: it failed.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run([sys.executable, *map(str, words)], stdout=sys.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if result.returncode not in (0, 1):  # 1: some clips were refused
        raise SystemExit(f"failed: {words}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def flags(values: dict[str, Any]) -> list[str]:
    """Options as a command line has them."""
    words: list[str] = []
    for name, value in values.items():
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        else:
            words += [f"--{name}", *map(str, value if isinstance(value, (list, tuple)) else [value])]
    return words


def sizes(run: Run, schema: Any) -> dict[str, Any]:
    """The options of a run that say what is trained."""
    told = {name: run.value(*flag.path) for name, flag in flags_of(schema).items()}
    skipped = {name for name, flag in flags_of(schema).items() if flag.path[0] in stages.OWN_GROUPS}
    return {name: value for name, value in told.items() if name not in skipped and value is not None}


def main() -> None:
    """Prints a row a stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--bvh", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=0, help="0: as many as preset finetune takes")
    parser.add_argument("--stages", nargs="+", choices=SCRIPTS, default=list(SCRIPTS))
    parser.add_argument("--flags", default="", help="more for the runs that start from the source, in quotes")
    given = parser.parse_args()
    data, library = given.out / "mine", given.out / "database"
    prepared = ["--motion_dir", given.bvh, "--text_dir", given.bvh / "texts", "--out", data, "--contact_sheet", 0]
    call("prepare_dataset.py", *prepared, "--min_frames", 36, "--split", "0.7,0.3,0")
    places = ["--dataset_name", data, "--checkpoints_dir", given.out / "logs", "--gpu_id", -1]
    print("| stage | validated | source as it is | from the source | from nothing | share | steps | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for stage, (script, schema, metric) in SCRIPTS.items():
        measured = stage in given.stages
        if not measured and (stage == "length" or not {"mtrans", "rtrans"} & set(given.stages)):
            continue  # nothing that is measured needs it
        if stage == "mtrans":
            call("build_rag_database.py", *places, "--vq_name", "vq", "--output", library)
        source, reads = given.source / stage, ["--database", library] if stage in ("mtrans", "rtrans") else []
        steps = {"max_steps": given.steps, "min_steps": given.steps} if given.steps else {}
        adapted = ["--preset", FINETUNE, "--init_from", source]
        still = STILL | ({"mu": 1.0} if stage == "vq" else {})
        trainings = {stage: [*adapted, *flags(steps if measured else still), *given.flags.split()]}
        if measured:
            kept = ("max_epoch", "min_steps", "eval_every_e", "warm_up_iter", "window_size", "window_stride")
            tuned = {name: value for name, value in PRESETS[stage][FINETUNE].items() if name in kept}
            own = sizes(Run(source), schema) | tuned | steps
            trainings |= {
                f"{stage}_still": [*adapted, *flags(still)],
                f"{stage}_nothing": ["--preset", "small", *flags(own)],
            }
        seconds, found = {}, {}
        for name, chosen in trainings.items():
            seconds[name] = call(*script, *places, *reads, "--name", name, *chosen)
            best = read_checkpoint(given.out / "logs" / data.name / name / "model" / f"net_best_{metric}.tar")
            found[name] = best["metrics"][metric]
        if measured:
            last = given.steps or PRESETS[stage][FINETUNE]["min_steps"]
            values = [found[f"{stage}_still"], found[stage], found[f"{stage}_nothing"]]
            told = [*(f"{value:.4g}" for value in values), f"{values[1] / values[2]:.2f}", str(last)]
            print(f"| {stage} | {metric} | {' | '.join(told)} | {seconds[stage]:.0f} |", flush=True)
            (given.out / f"{stage}.json").write_text(json.dumps({"metrics": found, "seconds": seconds}, indent=2))


if __name__ == "__main__":
    main()
