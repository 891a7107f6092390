"""Every stage through its real command, killed again and again, ends as if nothing had happened.

python -m tests.long.kill_trial --kills 20

makes a small set, runs all stages on it, and runs them again in another folder where SIGKILL strikes: inside writes (by
`storage.faults`, at every place of a write), between steps, and while a command starts. What both folders hold in the
end is compared bit by bit.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine.events import read_records
from storage.checkpoint import read_checkpoint
from storage.faults import PLACES, VARIABLE
from storage.files import TEMPORARY

ROOT = Path(__file__).parents[2]
N_CLIPS = 80
KINDS = ("write", "write", "step", "write", "write", "step", "write", "write", "start", "write")  # of kills, in turn
PATIENCE = 600.0  # seconds for one start
_RUNS = "--dataset_name data --checkpoints_dir logs --gpu_id -1"
_TRAIN = f"{_RUNS} --preset mini --batch_size 16 --max_epoch 16 --save_every 1 --log_every 1 --keep_every 5"
_TOKENS = "--latent_dim 32 --n_heads 2 --ff_size 32 --n_layers 1 --eval_every_e 2 --vq_name vq --database database"


@dataclass(frozen=True)
class Stage:
    """A command, in a folder that holds the set under `data`.

    Attributes:
        name: as the table calls it.
        command: without the interpreter.
        results: folders that it makes.
        writes: about how many files it writes in all; kills are spread over them.
        progress: the file that tells how far it is.
    """

    name: str
    command: str
    results: tuple[str, ...]
    writes: int
    progress: str


def _training(name: str, script: str, flags: str = "") -> Stage:
    folder = f"logs/data/{name}"
    return Stage(name, f"{script} --name {name} {_TRAIN} {flags}", (folder,), 3, f"{folder}/model/latest.tar")


STAGES = (
    Stage(
        "prepare",
        f"{ROOT}/prepare_dataset.py --motion_dir data/new_joints --text_dir data/texts --out prepared --workers 1"
        " --contact_sheet 0",
        ("prepared",),
        12,
        "prepared/.preparation/records.jsonl",
    ),
    _training("evaluator", f"{ROOT}/train_evaluator.py"),
    _training("tmr", "-m Part_TMR.scripts.train"),
    _training("vq", f"{ROOT}/train_vq.py", "--width 16 --nb_code2d 32 --code_dim2d 8 --window_stride 64 --ema 0.9"),
    Stage(
        "database",
        f"{ROOT}/build_rag_database.py --name tmr --vq_name vq --output database {_RUNS}",
        ("database",),
        3,
        "database/data/manifest.json",
    ),
    _training("mtrans", f"{ROOT}/train_mask_transformer.py", _TOKENS),
    _training("rtrans", f"{ROOT}/train_res_transformer.py", _TOKENS),
    _training("length", f"{ROOT}/train_length_estimator.py"),
)


def start(stage: Stage, folder: Path, fault: str = "") -> subprocess.Popen:
    """The stage's command in `folder`, with a fault in one of its writes if one is planned."""
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", VARIABLE)}
    environment |= {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "random", "OMP_NUM_THREADS": "1"}
    environment |= {VARIABLE: fault} if fault else {}
    with open(folder / f"{stage.name}.out", "ab") as output:
        command = [sys.executable, *stage.command.split()]
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)


def finish(stage: Stage, folder: Path) -> float:
    """Runs the command to its end; seconds that it took.

    Raises:
        RuntimeError: it failed.
    """
    started = time.monotonic()
    if code := start(stage, folder).wait(PATIENCE):
        raise RuntimeError(
            f"{stage.name} ended with code {code}:\n{(folder / f'{stage.name}.out').read_text()[-3000:]}"
        )
    return time.monotonic() - started


def kill(stage: Stage, folder: Path, kind: str, draw: random.Random, seconds: float) -> bool:
    """Starts the command and kills it in a write, between steps or while it starts; False if it was quicker.

    Args:
        seconds: that the command took from its start to its end.
    """
    if kind == "write":
        process = start(stage, folder, f"kill@{draw.randint(1, stage.writes)}/{draw.choice(PLACES)}")
        return process.wait(PATIENCE) == -signal.SIGKILL
    process = start(stage, folder)
    if kind == "step":
        _await_changes(folder / stage.progress, draw.randint(1, 2), process)
    time.sleep(draw.uniform(0, 0.03 if kind == "step" else 0.2 * seconds))
    process.kill()
    return process.wait(PATIENCE) == -signal.SIGKILL


def _await_changes(path: Path, count: int, process: subprocess.Popen) -> None:
    """Waits until a file has changed so many times, or the process ends."""

    def stamp() -> int:
        return path.stat().st_mtime_ns if path.is_file() else 0

    last = stamp()
    while count and process.poll() is None:
        time.sleep(0.002)
        try:
            now = stamp()
        except FileNotFoundError:
            continue
        count, last = count - (now != last), now


def differences(whole: Path, killed: Path, results: Sequence[str]) -> list[str]:
    """Names of what two folders hold that is not the same."""
    found = []
    for result in results:
        ours, theirs = ({str(path.relative_to(each)) for path in _files(each / result)} for each in (whole, killed))
        if not ours:
            raise RuntimeError(f"there is nothing in {whole / result}")
        found += sorted(ours ^ theirs)
        found += [name for name in sorted(ours & theirs) if not _same(_content(whole, name), _content(killed, name))]
        first, second = (_points(each / result) for each in (whole, killed))
        found += [f"{result}/events"] if first != second else []
        found += [f"{result}/train.log"] if _epochs(whole / result) != _epochs(killed / result) else []
    return found


def _files(folder: Path) -> Iterator[Path]:
    """What is compared; files that were left unfinished too, so that one is a difference."""
    for path in folder.rglob("*"):
        unfinished = TEMPORARY.fullmatch(path.name) is not None
        special = path.name == "train.log" or {"events", "cache"} & set(path.parts)
        if path.is_file() and (unfinished or not special):
            yield path


def _content(folder: Path, name: str) -> Any:
    """What a file says, wherever its folder lies."""
    if name.endswith(".tar"):
        content = read_checkpoint(folder / name)
        content.get("progress", {}).pop("seconds", None)
        content.pop("times", None)
        return content
    return (folder / name).read_bytes().replace(bytes(folder), b"")


def _same(first: Any, second: Any) -> bool:
    """Bitwise equality of nested values."""
    if type(first) is not type(second):
        return False
    if isinstance(first, torch.Tensor):
        pair = [each.contiguous().view(-1).view(torch.uint8) for each in (first, second)]
        return first.shape == second.shape and first.dtype == second.dtype and torch.equal(*pair)
    if isinstance(first, dict):
        return list(first) == list(second) and all(_same(first[name], second[name]) for name in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(_same, first, second))
    return first == second or (isinstance(first, float) and math.isnan(first) and math.isnan(second))


def _points(run: Path) -> list[tuple[str, int, str]]:
    """All points of a run's event files, as they stand there: none may be missing or twice."""
    records = (each for path in run.glob("events/events.*") for _, each in read_records(path.read_bytes()))
    return sorted(
        (value.tag, event.step, value.simple_value.hex()) for event in records for value in event.summary.value
    )


def _epochs(run: Path) -> dict[str, str]:
    """The last summary line of each epoch, but for seconds and memory."""
    log = run / "train.log"
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    return {line.split(" | ")[0]: re.sub(r" \| [\d.]+ s \|.*", "", line) for line in lines if line.startswith("epoch ")}


def trial(folder: Path, stages: Sequence[Stage], kills: int, seed: int) -> list[dict[str, Any]]:
    """Runs the stages both ways; a row of the table a stage. `folder/whole` may hold the set and earlier stages."""
    whole, killed = folder / "whole", folder / "killed"
    if not whole.exists():
        data = [sys.executable, "-m", "data.mini", "--n_clips", str(N_CLIPS), "--workers", "1", "--out", whole / "data"]
        subprocess.run(data, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    if not killed.exists():
        shutil.copytree(whole, killed)
    rows = []
    for number, stage in enumerate(stages):
        seconds, draw = finish(stage, whole), random.Random(seed * 1000 + number)
        struck: list[str] = []
        for _ in range(3 * kills):
            kind = KINDS[len(struck) % len(KINDS)]
            if len(struck) < kills and kill(stage, killed, kind, draw, seconds):
                struck.append(kind)
        finish(stage, killed)
        found = differences(whole, killed, stage.results)
        rows.append(
            {"stage": stage.name, "kills": len(struck), "inside writes": struck.count("write"), "differences": found}
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """As Markdown."""
    lines = ["| stage | kills | of them inside writes | bitwise equal |", "| --- | --- | --- | --- |"]
    for row in rows:
        equal = "yes" if not row["differences"] else f"no: {', '.join(row['differences'][:5])}"
        lines.append(f"| {row['stage']} | {row['kills']} | {row['inside writes']} | {equal} |")
    sums = [sum(row[name] for row in rows) for name in ("kills", "inside writes")]
    equal = sum(not row["differences"] for row in rows)
    return "\n".join([*lines, f"| together | {sums[0]} | {sums[1]} | {equal} of {len(rows)} |"])


def main() -> int:
    """The command line; 1 if a stage ended differently."""
    parser = argparse.ArgumentParser(description="Kill every stage, and compare what becomes of it.")
    parser.add_argument("--kills", type=int, default=20, help="of each stage (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")
    names = [stage.name for stage in STAGES]
    parser.add_argument("--stages", nargs="+", choices=names, default=names, help="later ones need the earlier ones")
    parser.add_argument("--folder", type=Path, help="where to work, and to leave all (default: a temporary folder)")
    options = parser.parse_args()
    chosen = [stage for stage in STAGES if stage.name in options.stages]
    with tempfile.TemporaryDirectory(prefix="kill_trial_") as temporary:
        rows = trial((options.folder or Path(temporary)).resolve(), chosen, options.kills, options.seed)
    print(table(rows))
    return int(any(row["differences"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
