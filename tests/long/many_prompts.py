"""Thousands of prompts through demo.py, stopped again and again: `python -m tests.long.many_prompts --prompts 10000`.

Says how long it took, how much memory it held after 100, 1,000 and all prompts, and whether anything was lost or, with
--twice, differs from a run that nothing stopped.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
POLL_SECONDS = 0.05
MARKS = (100, 1000)
WORDS = (
    ("a person", "a man", "a woman", "someone", "the figure"),
    ("walks", "runs", "jumps", "kicks", "waves", "sits down", "turns", "claps", "crouches", "throws"),
    ("slowly", "quickly", "calmly", "tiredly", "carefully"),
    ("to the left", "to the right", "forward", "backwards", "in a circle", "on the spot"),
    ("", "and then stands still", "and then waves", "and then jumps", "and then bows", "and then walks away", "twice"),
)


@dataclass
class Trial:
    """What was seen.

    Attributes:
        resident: megabytes that a process held on average while it made the motions up to this number.
    """

    seconds: float = 0.0
    peak: float = 0.0
    first: float = 0.0
    kills: list[str] = field(default_factory=list)
    resident: dict[int, list[float]] = field(default_factory=dict)

    @property
    def memory(self) -> str:
        """In words."""
        parts = [f"{sum(each) / len(each):.0f} MB up to {mark}" for mark, each in sorted(self.resident.items())]
        return f"memory {', '.join(parts)}, at most {self.peak:.0f} MB"


def prompts(count: int) -> list[str]:
    """Different prompts: combinations of words, then the same with a number of steps."""
    combined = (" ".join(filter(None, each)) for each in itertools.product(*WORDS))
    sentences = list(itertools.islice(combined, count))
    random.Random(0).shuffle(sentences)
    return [
        sentences[number % len(sentences)] + (f" {number // len(sentences)} times" * (number >= len(sentences)))
        for number in range(count)
    ]


def lines(folder: Path) -> list[str]:
    """Keys of the motions that the journal has, in the order in which they were made."""
    path = folder / "result.jsonl"
    return (
        re.findall(r'^\{"key": "(\w+)".*\}$', path.read_text(encoding="utf-8"), re.MULTILINE) if path.exists() else []
    )


def memory(process: int) -> tuple[float, float]:
    """Megabytes that a process holds, and the most that it ever held."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0, 0.0
    found = (re.search(rf"{name}:\s+(\d+) kB", status) for name in ("VmRSS", "VmHWM"))
    now, most = (int(match[1]) / 1024 if match else 0.0 for match in found)
    return now, most


class Journal:
    """Counts a journal's lines as it grows, without reading it again."""

    def __init__(self, folder: Path) -> None:
        self.path, self.place, self.count = folder / "result.jsonl", 0, 0

    def grown(self) -> int:
        """Motions that are there."""
        if self.path.exists():
            with open(self.path, "rb") as file:
                file.seek(self.place)
                content = file.read()
            self.place += len(content)
            self.count += content.count(b'{"key": ')
        return self.count


def run(command: list[str], folder: Path, trial: Trial, stop_at: int, by: signal.Signals, deadline: float) -> int:
    """One start of the demo, stopped when so many motions are there or it is late; returns its exit code."""
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    journal = Journal(folder)
    before = journal.grown()
    while process.poll() is None:
        now, most = memory(process.pid)
        there = journal.grown()
        trial.peak = max(trial.peak, most)
        if there > before and not trial.first:
            trial.first = time.monotonic() - started
        if there > before and now:
            mark = next((mark for mark in MARKS if there <= mark), there // MARKS[-1] * MARKS[-1] + MARKS[-1])
            trial.resident.setdefault(mark, []).append(now)
        if there >= stop_at or (time.monotonic() > deadline and there > before):
            process.send_signal(by)
            stop_at, deadline = sys.maxsize, math.inf
        time.sleep(POLL_SECONDS)
    trial.seconds += time.monotonic() - started
    error = process.stderr.read()
    if process.returncode not in (0, *(-each for each in SIGNALS), *(128 + each for each in SIGNALS)):
        sys.exit(f"the demo ended with {process.returncode}: {error}")
    return process.returncode


def motions(folder: Path) -> Iterator[tuple[str, bytes]]:
    """The files of a result by name, without what depends on the time or the folder's own name."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "result.jsonl" and not path.name.startswith("."):
            yield str(path.relative_to(folder)), path.read_bytes().replace(str(folder.parent).encode(), b"OUT")


def main() -> None:
    """Prompts -> demo, stopped and repeated -> one line of figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=10000)
    parser.add_argument("--kills", type=int, default=9)
    parser.add_argument("--time_steps", type=int, default=1, help="few: the files count here, not the motions")
    parser.add_argument("--minutes", type=float, default=math.inf, help="then it ends with as many as there are")
    parser.add_argument("--formats", nargs="+", default=["npy"])
    parser.add_argument("--seed", type=int, default=0, help="of the moments at which it is stopped")
    parser.add_argument("--out", type=Path, help="kept; else a temporary folder is used")
    parser.add_argument("--twice", action="store_true", help="also without a stop, and compare")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = options.out or Path(temporary)
        out.mkdir(parents=True, exist_ok=True)
        listed = prompts(options.prompts)
        (out / "prompts.txt").write_text("\n".join(listed) + "\n", encoding="utf-8")

        def command(place: Path) -> list[str]:
            flags = ["--text_path", out / "prompts.txt", "--output_dir", place, "--time_steps", options.time_steps]
            return [sys.executable, "demo.py", *map(str, flags), "--gpu_id", "-1", "--formats", *options.formats]

        chance, trial, folder = random.Random(options.seed), Trial(), out / "stopped" / "demo"
        deadline = time.monotonic() + 60 * options.minutes
        first = len(lines(folder))
        code = 1
        for number in range(options.kills + 1):
            by, before = SIGNALS[number % len(SIGNALS)], lines(folder)
            stop_at = len(before) + 1 + chance.randrange(2 * options.prompts // max(options.kills, 1))
            stop_at, by = (stop_at, by) if number < options.kills else (sys.maxsize, signal.SIGTERM)
            code = run(command(folder.parent), folder, trial, stop_at, by, deadline)
            if lost := set(before) - set(lines(folder)):
                sys.exit(f"{len(lost)} motions were lost")
            if code == 0:
                break
            trial.kills.append(by.name)
            if time.monotonic() > deadline:
                break
        made = lines(folder)
        samples = json.loads((folder / "result.json").read_text(encoding="utf-8"))["samples"]
        places = {prompt: number for number, prompt in enumerate(listed)}
        order = [places[sample["prompt"]] for sample in samples]
        if len(samples) < len(set(made)):
            # After a SIGKILL the index may lack what the journal has; the next start adds it.
            print(f"result.json is {len(set(made)) - len(samples)} motions behind the journal")
        assert order == sorted(order) and (code or len(order) == options.prompts), "result.json misses or mixes prompts"
        for sample in samples:
            joints = np.load(folder / sample["files"]["joints"])
            assert len(joints) == sample["motion_length"] and np.isfinite(joints).all(), sample
        print(
            f"{len(samples)} of {options.prompts} prompts, {len(made) - first} of them now in {trial.seconds:.0f} s,"
            f" the first after {trial.first:.1f} s; stopped by {', '.join(trial.kills) or 'nothing'};"
            f" {len(made) - len(set(made))} made twice, nothing lost; {trial.memory}"
        )
        if options.twice:
            other, reference = out / "whole" / "demo", Trial()
            run(command(other.parent), other, reference, sys.maxsize, signal.SIGTERM, math.inf)
            same = dict(motions(other)) == dict(motions(folder))
            print(f"without a stop {reference.seconds:.0f} s, {reference.memory}")
            if not same:
                sys.exit("the results differ from those of a run that nothing stopped")
            print("every file is the same, byte for byte")


if __name__ == "__main__":
    main()
