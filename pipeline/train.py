"""What the scripts of all trainings do. Torch-free until the options are right: mistakes show at once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from engine.settings import require_tracker
from options.command_line import parse
from options.presets import PRESETS
from options.stages import as_in_source
from pipeline.runs import runs_of
from storage.files import remove_abandoned, result_folder
from storage.lock import FolderLock
from utils.shares import is_first_process
from utils.slurm import adopt_slurm


def train(schema: type, description: str | None) -> None:
    """The command line of a stage's script -> its training.

    Args:
        schema: of `options.stages`.
        description: what the script does, for --help.
    """
    adopt_slurm()
    underlying = partial(as_in_source, schema)
    options = parse(schema, presets=PRESETS[schema.stage], description=description, underlying=underlying)
    require_tracker(options.train.tracker)
    with alone(runs_of(options.run).path(options.run.name)) as guard:
        from pipeline.stages import harness

        harness(options).fit(guard)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[Callable[[], None]]:
    """Takes the folder of a run for one training, whose first process does so for all; yields `FolderLock.check`.

    Unfinished files of one that was killed are removed.

    Raises:
        UserError: another training has it, or it cannot be written.
    """
    if not is_first_process():
        yield lambda: None
        return
    for place in (folder, folder / "model", folder / "events"):
        remove_abandoned(place)  # before anything else: the disk may be full of them
    with result_folder(folder), FolderLock(folder) as lock:
        for left in folder.glob("model/.*.tar"):  # of other machines and former versions; nobody else writes there
            left.unlink()
        if lock.remark:
            with contextlib.suppress(OSError):
                print(lock.remark, flush=True)
        yield lock.check
