"""What every stage costs at HumanML3D's size: starts, memory, and what a training step waits for its data.

    python -m benchmarks.humanml3d_size --texts FOLDER --out FOLDER [--stages evaluator tmr ...]

FOLDER of texts: see `benchmarks.humanml3d_set`; `--out` gets the dataset, runs and results. The stages run as users run
them, in the order of reproduce_dataset.sh, at the widths of a small preset: what is measured is the way of the data. A
first start finds what former stages left in the cache, the first of all finds none; the second start is that of another
run of the same stage. With `--kill_after SECONDS` the first start of all is killed once and given again.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.figures import table
from benchmarks.humanml3d_set import make_set
from benchmarks.start_probe import STARTS_ONLY
from storage.files import read_json, write_json
from utils.errors import run_script

STEPS = 5
TRAINED = {
    "evaluator": ["train_evaluator.py"],
    "tmr": ["Part_TMR.scripts.train"],
    "vq": ["train_vq.py"],
    "mtrans": ["train_mask_transformer.py", "--vq_name", "vq"],
    "rtrans": ["train_res_transformer.py", "--vq_name", "vq"],
    "length": ["train_length_estimator.py"],
}
ORDER = ("check", "evaluator", "tmr", "vq", "database", "mtrans", "rtrans", "length", "tmr_test", "eval_vq", "eval_res")


def command(stage: str, again: bool, dataset: Path, out: Path, preset: str) -> list[str]:
    """The script and arguments of a stage."""
    runs = ["--dataset_name", str(dataset), "--checkpoints_dir", str(out / "logs"), "--gpu_id", "-1"]
    if stage in TRAINED:
        library = ["--database", str(out / "database")] if stage.endswith("trans") else []
        limits = ["--preset", preset, "--max_steps", str(STEPS), "--name", stage + "_again" * again]
        return [*TRAINED[stage], *runs, *library, *limits]
    once = ["--ext", "size", "--repeat_times", "1"]
    return {
        "check": ["data.check", "--dataset_name", str(dataset)],
        "database": ["build_rag_database.py", *runs, "--vq_name", "vq", "--output", str(out / "database")],
        "tmr_test": ["Part_TMR.scripts.test", *runs, "--ext", "size"],
        "eval_vq": ["eval_vq.py", *runs, *once],
        # The test split has three times as many motions to generate.
        "eval_res": ["eval_res.py", *runs, *once, "--split", "val", "--mm_captions", "0"],
    }[stage]


def run(words: list[str], out: Path, kill_after: float = 0.0) -> dict[str, float]:
    """Runs a command and returns its figures; one that is killed has none."""
    figures_path = out / "figures.json"
    figures_path.unlink(missing_ok=True)
    print("$ python", *words, flush=True)
    started = time.time()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.start_probe", str(figures_path), *words])
    if kill_after:
        try:
            process.wait(kill_after)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return {}
    # The check of a dataset ends with 1 where it finds something.
    if process.wait() not in (0, 1):
        raise SystemExit(f"{words[0]} ended with {process.returncode}")
    seconds = time.time() - started
    found = read_json(figures_path)
    ready = found["ready"] or {"time": started + seconds, "processor": found["processor"]}
    steps = next((each for each in found["loaders"] if each["batches"] == STEPS), None)
    figures = {
        "start_s": ready["time"] - started,
        "start_cpu_s": ready["processor"],
        "whole_s": seconds,
        "whole_cpu_s": found["processor"],
        "peak_gb": found["peak_gb"],
    }
    if steps is not None:
        figures["loader_percent"] = 100 * steps["waiting"] / (steps["waiting"] + steps["working"])
    return figures


def format_table(results: dict[str, dict[str, Any]]) -> str:
    """Markdown; starts as wall-clock seconds and, in brackets, processor seconds."""
    rows = []
    for stage, both in results.items():
        first, second = both["first"], both["second"]
        starts = [f"{each['start_s']:.0f} s ({each['start_cpu_s']:.0f})" for each in (first, second)]
        loader = f"{second['loader_percent']:.1f}" if "loader_percent" in second else ""
        peak = max(first["peak_gb"], second["peak_gb"])
        rows.append([f"`{stage}`", *starts, f"{peak:.2f}", loader])
    return table(["stage", "first start", "second start", "peak memory, GB", "loader, % of a step"], rows)


def main() -> None:
    """Dataset, stages, table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True, help="folder of HumanML3D's captions, lengths and splits")
    parser.add_argument(
        "--out", type=Path, required=True, help="gets the dataset (5 GB), its cache (6 GB) and the runs"
    )
    parser.add_argument("--preset", default="small", help="decides the widths")
    parser.add_argument("--stages", nargs="+", choices=ORDER, default=ORDER)
    parser.add_argument(
        "--kill_after", type=float, default=0.0, help="seconds after which the first start is killed once"
    )
    parser.add_argument("--starts_only", action="store_true", help="end each training before its validation")
    options = parser.parse_args()
    if options.starts_only:
        os.environ[STARTS_ONLY] = "1"
    dataset = make_set(options.texts, options.out / "set").root.resolve()
    out = options.out.resolve()
    results_path = out / "results.json"
    results = read_json(results_path) if results_path.is_file() else {}
    for stage in (stage for stage in ORDER if stage in options.stages):
        if stage in TRAINED:
            for again in (False, True):
                shutil.rmtree(out / "logs" / dataset.name / (stage + "_again" * again), ignore_errors=True)
        if options.kill_after and stage == next(each for each in ORDER if each in options.stages and each in TRAINED):
            run(command(stage, False, dataset, out, options.preset), out, options.kill_after)
        first, second = (run(command(stage, again, dataset, out, options.preset), out) for again in (False, True))
        results[stage] = {"first": first, "second": second, "load": os.getloadavg()}
        write_json(results_path, results)
    print(format_table({stage: results[stage] for stage in ORDER if stage in results}))
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; in brackets seconds of processor time")


if __name__ == "__main__":
    run_script(main)
