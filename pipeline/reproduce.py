"""Trains every stage on a prepared dataset, from nothing or from other runs, to a first motion: reproduce_dataset.sh.

Each stage is a command of its own, and goes on where it stopped when all is called again. What each took is kept
beside the runs, for the time that is left.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from data.specs import WEIGHTED, DatasetSpec, get_spec
from models.rag.manifest import MANIFEST
from options.command_line import parse
from options.presets import FINETUNE
from options.reproduce import ReproduceOptions
from pipeline.start import check_start
from storage.files import read_json, read_text, write_json
from utils.errors import UserError, run_script

SHIPPED = Path("pretrained/open")
FEW_CLIPS = 500  # in training; a model that was trained elsewhere knows more than they tell
STARTING = 15.0  # seconds that a training takes besides its steps, where none has told yet
NOTED = 5.0  # seconds after which the time that a stage took is noted again


class Stage(NamedTuple):
    """A step of the way.

    Attributes:
        key: the run's name, or what else it makes.
        words: for the user.
        script: what is called for a training; () for none.
        cost: seconds that it takes beside the others, about.
    """

    key: str
    words: str
    script: tuple[str, ...]
    cost: float


STAGES = (
    Stage("evaluator", "evaluator (it picks checkpoints)", ("train_evaluator.py",), 30),
    Stage("tmr", "retriever", ("-m", "Part_TMR.scripts.train"), 45),
    Stage("vq", "RVQ-VAE", ("train_vq.py",), 250),
    Stage("database", "database", (), 30),
    Stage("mtrans", "masked transformer", ("train_mask_transformer.py",), 400),
    Stage("rtrans", "residual transformer", ("train_res_transformer.py",), 350),
    Stage("length", "length estimator", ("train_length_estimator.py",), 30),
    Stage("motion", "first motion", (), 20),
)
READS = ("--vq_name", "vq", "--database")  # of the transformers

Call = Callable[[Sequence[str], Callable[[float], None]], None]


def run_command(words: Sequence[str], spent: Callable[[float], None]) -> None:
    """Runs a command of the project; says every few seconds, and at the end, how many more it took.

    Raises:
        SystemExit: it failed, with its code; Ctrl-C and SIGTERM are its own to answer.
    """
    since = time.monotonic()
    process = subprocess.Popen([sys.executable, *words])
    former = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        code = None
        while code is None:
            with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):  # a training saves its state first
                code = process.wait(NOTED)
            now = time.monotonic()
            spent(now - since)
            since = now
    finally:
        signal.signal(signal.SIGTERM, former)
    if code:
        raise SystemExit(code if code > 0 else 128 - code)


class Chain:
    """The way from a dataset to a motion.

    Args:
        options: what was asked for.
        environment: LOGS, DATABASE, OUTPUTS, GPU, LIMIT, BATCH, PROMPT, see reproduce_dataset.sh.

    Raises:
        UserError: there is no such dataset, or what it should start from does not fit it.
    """

    def __init__(self, options: ReproduceOptions, environment: Mapping[str, str]) -> None:
        self.options, here = options, Path(options.given_in)
        self.spec = _find_dataset(options.name, here)
        self.source: Path | None = None
        if options.init_from is not None:
            self.source = _meant_from(here, options.init_from)
            for line in check_start(self.source, self.spec):
                print(line)
        told = {name: environment.get(name) or usual for name, usual in (("LOGS", "logs"), ("GPU", "auto"))}
        self.logs, self.database = told["LOGS"], environment.get("DATABASE") or "database"
        self.outputs, self.prompt = environment.get("OUTPUTS") or "outputs", environment.get("PROMPT")
        self.runs = ["--dataset_name", self.spec.argument, "--checkpoints_dir", self.logs, "--gpu_id", told["GPU"]]
        given = {"max_steps": environment.get("LIMIT"), "batch_size": environment.get("BATCH")}
        given |= {"max_epoch": options.epochs or None, "seed": options.seed}
        self.given = [str(word) for name, value in given.items() if value is not None for word in (f"--{name}", value)]
        limited = environment.get("LIMIT")  # then all but the steps is what takes time
        self.costs = {stage.key: 20.0 if limited and stage.script else stage.cost for stage in STAGES}
        self.path = Path(self.logs) / self.spec.name / "reproduce.json"
        self.seconds, self.shares, self.starting = *self._noted(), STARTING

    def run(self, call: Call = run_command) -> None:
        """All stages, one after the other."""
        for number, stage in enumerate(STAGES):
            print(f"== stage {number + 1} of {len(STAGES)}: {stage.words}{self._time_left(number)}", flush=True)
            words, former = self.command(number), self.seconds.get(stage.key, 0.0)
            call(words, lambda seconds, key=stage.key: self._note(key, seconds))
            if (share := self.shares.get(stage.key)) is not None:
                self.starting = max(self.starting, self.seconds[stage.key] - former - share)

    def command(self, number: int) -> list[str]:
        """What the stage of this number is called by."""
        stage = STAGES[number]
        if stage.key == "database":
            known = self.source / "database" if self.source else None
            joined = ["--join", str(known)] if known and (known / MANIFEST).is_file() else []
            built = ["build_rag_database.py", "--name", "tmr", "--vq_name", "vq", "--output", self.database]
            return [*built, *joined, *self.runs]
        if stage.key == "motion":
            seed = [] if self.options.seed is None else ["--seed", str(self.options.seed)]
            shown = ["--ext", "-".join(one.name for one in self.spec.sets), "--output_dir", self.outputs, *seed]
            return ["demo.py", "--text_prompt", self.prompt or _first_caption(self.spec), *self.runs, *shown]
        preset, start = self.options.preset or ("small" if self.source is None else FINETUNE), []
        if self.source is not None:
            if (self.source / stage.key / "config.json").is_file():
                start = ["--init_from", str(self.source / stage.key)]
            else:
                preset = "small"
        reads = [*READS, self.database] if stage.key in ("mtrans", "rtrans") else []
        limit = ["--max_minutes", f"{self._share(number) / 60:.2f}"] if self.options.minutes else []
        named = [*stage.script, "--name", stage.key, "--preset", preset]
        return [*named, *start, *reads, *self.runs, *self.given, *limit]

    def _share(self, number: int) -> float:
        """Seconds that a training may train: its part of what those before it left, less what is no training.

        What was said once holds: a training that ended goes no further, what follows was made with it."""
        if (key := STAGES[number].key) in self.shares:
            return self.shares[key]
        training = [stage for stage in STAGES[number:] if stage.script]
        others = [stage for stage in STAGES[number:] if not stage.script]
        left = self._left(number) - self._cost(others) - self.starting * len(training)
        self.shares[key] = max(1.0, left * self.costs[key] / self._cost(training))
        return self.shares[key]

    def _cost(self, stages: Sequence[Stage]) -> float:
        return sum(self.costs[stage.key] for stage in stages)

    def _left(self, number: int) -> float:
        """Seconds of the time that all may take, less those of the stages before this one."""
        return 60 * self.options.minutes - sum(self.seconds.get(stage.key, 0.0) for stage in STAGES[:number])

    def _time_left(self, number: int) -> str:
        """In words: what is left of the time, or about how long all that is left takes at the pace so far."""
        if self.options.minutes:
            return f" ({max(0.0, self._left(number) / 60):.0f} of {self.options.minutes:g} minutes are left for all)"
        done = [stage for stage in STAGES[:number] if stage.key in self.seconds]
        if not done:
            return ""
        pace = sum(self.seconds[stage.key] for stage in done) / self._cost(done)
        left = pace * self._cost(STAGES[number:])
        return f" (about {max(1, round(left / 60))} minutes are left for all)"

    def _noted(self) -> tuple[dict[str, float], dict[str, float]]:
        """What each stage took, in all calls, and what it may take; a run whose folder was taken away begins anew.

        Raises:
            UserError: the runs were begun with another time.
        """
        gone = {stage.key for stage in STAGES if stage.script and not (self.path.parent / stage.key).is_dir()}
        seconds, shares, minutes = {}, {}, 0.0
        with contextlib.suppress(UserError, TypeError, ValueError, AttributeError, KeyError):
            if self.path.is_file():
                told = read_json(self.path)
                seconds, shares = (
                    {str(key): float(value) for key, value in told[name].items() if key not in gone}
                    for name in ("seconds", "shares")
                )
                minutes = float(told["minutes"])
        if shares and minutes != self.options.minutes:
            raise UserError(
                f"the runs in {self.path.parent} were begun with --minutes {minutes:g}: give it again, or another LOGS"
            )
        return seconds, shares

    def _note(self, key: str, seconds: float) -> None:
        self.seconds[key] = self.seconds.get(key, 0.0) + seconds
        if self.path.parent.is_dir():  # the first stage makes it, or says why it cannot
            told = {"minutes": self.options.minutes, "seconds": self.seconds, "shares": self.shares}
            write_json(self.path, told)

    def advice(self) -> list[str]:
        """A line for who begins from nothing with few clips, where there is something to start from that fits."""
        listed = [one.split_path("train") for one in self.spec.sets]
        if self.source is not None or not all(path.is_file() for path in listed):
            return []
        clips = sum(len(read_text(path).split()) for path in listed)
        with contextlib.suppress(UserError):
            list(check_start(SHIPPED, self.spec))
            if clips < FEW_CLIPS:
                few = f"{clips} clip{'s are' if clips != 1 else ' is'} few to begin from nothing"
                return [f"note: {few}: --init_from {SHIPPED} is quicker and better"]
        return []


def _meant_from(here: Path, name: str) -> Path:
    """A folder as it is meant where the command was given, else by the project's own."""
    path = Path(os.path.expanduser(name))
    return here / path if (here / path).is_dir() else path


def _find_dataset(name: str, here: Path) -> DatasetSpec:
    """The dataset, or several, of names and paths.

    Raises:
        UserError: one is missing, or they cannot be one.
    """

    def found(part: str) -> str:
        place = _meant_from(here, part)
        return str(place) if (place / "dataset.json").is_file() else part

    told = found(name)
    if told == name and "," in name:
        parts = []
        for part in map(str.strip, name.split(",")):
            weighted = re.fullmatch(WEIGHTED, part) if found(part) == part else None
            parts.append(f"{found(weighted[1])}:{weighted[2]}" if weighted else found(part))
        told = ",".join(parts)
    try:
        return get_spec(told)
    except UserError as error:
        if not str(error).startswith("unknown dataset"):
            raise
        raise UserError(
            f"{name} is no prepared dataset: neither {name} nor dataset/{name} holds a dataset.json;"
            " see prepare_dataset.py"
        ) from error


def _first_caption(spec: DatasetSpec) -> str:
    """What the first clip of the test split is called; of few clips test has none."""
    from data.captions import read_captions
    from data.clips import read_split

    for split in ("test", "val", "train"):
        for one in spec.sets:
            for clip_id in read_split(one.split_path(split)):
                path = one.texts_dir / f"{clip_id}.txt"
                if path.is_file() and (captions := read_captions(path)):
                    return captions[0].text
    raise UserError(f"no clip of {spec.argument} has a caption")


def main(call: Call = run_command, words: Sequence[str] | None = None, environment: Any = os.environ) -> None:
    """Options -> every stage -> where all of it lies."""
    chain = Chain(parse(ReproduceOptions, words, description=__doc__), environment)
    for line in chain.advice():
        print(line)
    chain.run(call)
    name, took = chain.spec.name, sum(chain.seconds.values()) / 60
    print(f"made in {took:.0f} minutes: the runs in {chain.logs}/{name}, the library in {chain.database}/{name}")


if __name__ == "__main__":
    run_script(main)
