"""Runs the cases of one module's kinds in a process of its own, whose memory is limited.

`python -m tests.fuzz.worker tests.fuzz.data_kinds --seed 0 --only bvh --first 17 --cases 1` repeats one case.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.fuzz.kinds import LONGEST_MESSAGE, MEGABYTES, SECONDS, Kind
from utils.errors import UserError

ODD_PLACES = 0.02  # share of the cases in which something that is no file stands in the file's place


class TooSlow(BaseException):
    """The case's time is over; no `except Exception` of a reader takes it."""


def schedule(kinds: tuple[Kind, ...]) -> Iterator[tuple[Kind, int]]:
    """The kinds in turn, by their weights, with each one's case numbers: the same for any number of cases."""
    turn = [kind for kind in kinds for _ in range(kind.weight)]
    random.Random(0).shuffle(turn)
    counts = dict.fromkeys((kind.name for kind in kinds), 0)
    while True:
        for kind in turn:
            yield kind, counts[kind.name]
            counts[kind.name] += 1


def misplace(rng: random.Random, path: Path) -> None:
    """Something else in the place of a file."""
    path.unlink()
    what = rng.randrange(6)
    if what == 0:
        path.mkdir()
    elif what == 1:
        os.mkfifo(path)
    elif what == 2:
        path.symlink_to("/dev/zero")
    elif what == 3:
        path.symlink_to(path)
    elif what == 4:
        path.touch()


def faults(error: BaseException) -> str | None:
    """Why an outcome is none of those that may be; None: it is a refusal as it should be."""
    if not isinstance(error, UserError):
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        own = [f"{Path(each.filename).name}:{each.lineno}" for each in frames if "/tests/" not in each.filename]
        return f"{type(error).__name__}: {str(error)[:200]!r} at {place} by {' '.join(own[:6])}"
    message = str(error)
    if not message or not message.isprintable() or len(message) >= LONGEST_MESSAGE:
        return f"a message of {len(message)} characters that is not one short line: {message[:200]!r}"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            return f"refused only when memory was out: {message[:200]!r}"
        cause = cause.__cause__ or cause.__context__
    return None


def run_case(kind: Kind, valid: Path, names: Sequence[str], number: int, seed: int, folder: Path) -> dict[str, Any]:
    """What comes of one case: a file of `names` in a copy of the folder `valid`, mutated."""
    rng = random.Random(f"{seed} {kind.name} {number}")
    chosen = rng.choice(names)
    shutil.copytree(valid, folder)
    path = folder / chosen
    content = path.read_bytes()
    for mutator in rng.choices(kind.mutators, k=rng.choice((1, 1, 1, 2, 3))):
        with contextlib.suppress(Exception):  # one that takes more memory than there is for itself
            content = mutator(rng, content)
    if rng.random() < ODD_PLACES:
        misplace(rng, path)
    else:
        path.write_bytes(content)
    del content
    gc.collect()
    _reset_peak()
    before, start, problem, outcome = _resident("VmRSS"), time.monotonic(), None, "accepted"
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        kind.door(path)
    except TooSlow as error:
        outcome, problem = "failed", f"over {SECONDS:g} s; {faults(error)}"
    except BaseException as error:  # whatever comes out is what is looked for
        problem = faults(error)
        outcome = "refused" if problem is None else "failed"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    told = {"kind": kind.name, "case": number, "file": chosen, "outcome": outcome, "problem": problem}
    seconds, megabytes = time.monotonic() - start, max(0, _resident("VmHWM") - before)
    shutil.rmtree(folder, ignore_errors=True)
    return told | {"seconds": round(seconds, 4), "megabytes": megabytes}


def _reset_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _resident(key: str) -> int:
    """Megabytes of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next((int(line.split()[1]) >> 10 for line in lines if line.startswith(f"{key}:")), 0)


def _quick_disk() -> str | None:
    """Where folders come and go in no time; None: the usual place."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) and shutil.disk_usage("/dev/shm").free > 1 << 28 else None


def _limit_memory() -> None:
    limit = (_resident("VmData") + MEGABYTES) << 20
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _too_slow(*_: object) -> None:
    raise TooSlow


def main() -> None:
    """Makes the valid files, reads them once, and runs the cases; prints a JSON line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module")
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only")
    options = parser.parse_args()
    kinds = importlib.import_module(options.module).KINDS
    kinds = tuple(kind for kind in kinds if options.only in (None, kind.name))
    told = os.fdopen(os.dup(1), "w", buffering=1)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="fuzz", dir=_quick_disk()) as temporary, open(os.devnull, "w") as nothing:
        home = Path(temporary)
        os.environ["XDG_CACHE_HOME"] = str(home / "home")
        names: dict[str, list[str]] = {}
        with contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing):
            for kind in kinds:
                valid = home / kind.name
                valid.mkdir()
                names[kind.name] = [str(path.relative_to(valid)) for path in kind.make(valid)]
                for number, name in enumerate(names[kind.name]):
                    copy = home / f"{kind.name}{number}"
                    shutil.copytree(valid, copy)
                    kind.door(copy / name)  # a door that refuses the valid file judges nothing
            signal.signal(signal.SIGALRM, _too_slow)
            _limit_memory()
            gc.collect()
            gc.freeze()  # what is there stays: collecting between cases is cheap
            for place, (kind, number) in enumerate(schedule(kinds)):
                if place >= options.first + options.cases:
                    break
                if place >= options.first:
                    # A folder of its own a case: nothing that remembers a path remembers another case's.
                    folder = home / f"case{place}"
                    result = run_case(kind, home / kind.name, names[kind.name], number, options.seed, folder)
                    print(json.dumps(result), file=told)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
