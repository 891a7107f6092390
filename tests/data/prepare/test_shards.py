"""A preparation in shares: the same files as those of one process, whoever is killed meanwhile."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data.prepare import run as run_module
from data.prepare.journal import Journal
from data.prepare.shards import ShardJournal, holds
from options.command_line import parse
from options.prepare import PrepareOptions
from pipeline.preparation import prepare_dataset
from tests.data.prepare.bodies import walking_body
from utils.errors import UserError
from utils.shares import Share

CLIPS = 12


@pytest.fixture
def prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Prepares motions, two of which are the same and one bad, into a folder of the given parent: the folder's name is
    in what is written."""
    motions = tmp_path / "motions"
    motions.mkdir()
    for number in range(CLIPS):
        np.save(motions / f"clip{number}.npy", walking_body(2.2, seed=number).joints())
    shutil.copy(motions / "clip3.npy", motions / "twin.npy")
    np.save(motions / "bad.npy", np.full((60, 22, 3), np.nan))
    (tmp_path / "captions.csv").write_text("".join(f"{path.stem},someone walks\n" for path in motions.iterdir()))

    def call(parent: str, *arguments: str) -> int:
        (tmp_path / parent).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / parent)
        fixed = ["--motion_dir", "../motions", "--captions", "../captions.csv", "--out", "set", "--mirror"]
        return prepare_dataset(parse(PrepareOptions, [*fixed, "--workers", "1", "--contact_sheet", "2", *arguments]))

    return call


def contents(folder: Path) -> dict[str, bytes]:
    """All files but the settings, which say where they are."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "settings.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def killed_after(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the preparation die with so many clips done."""
    make, made = run_module.make_clip, []

    def dying(*arguments: object, **named: object) -> object:
        if len(made) == count:
            raise KeyboardInterrupt
        made.append(make(*arguments, **named))
        return made[-1]

    monkeypatch.setattr(run_module, "make_clip", dying)


@pytest.mark.parametrize("count", [2, 3])
def test_shards_make_the_same_dataset(count: int, prepare: Callable[..., int], tmp_path: Path, monkeypatch) -> None:
    assert prepare("one") == 1, "a clip was refused"
    with pytest.raises(UserError, match="lacks 14 clips|no shard"):
        prepare("many", "--merge")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        killed_after(2, patched)
        prepare("many", "--shard", f"1/{count}")
    folder = tmp_path / "many" / "set" / ".preparation" / f"shard-1-of-{count}"
    with open(folder / "records.jsonl", "a") as journal:
        journal.write('{"name": "cut o')
    for number in range(2, count + 1):
        monkeypatch.setenv("RANK", str(number - 1))
        monkeypatch.setenv("WORLD_SIZE", str(count))
        assert prepare("many") == 0
    with pytest.raises(UserError, match=rf"finish the shards 1/{count} by"):
        prepare("many", "--merge")
    assert not (tmp_path / "many" / "set" / "dataset.json").exists()
    assert prepare("many", "--shard", f"1/{count}") == 0
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Journal, "compact", lambda self: exec("raise KeyboardInterrupt"))
        prepare("many", "--merge")
    assert prepare("many", "--merge") == 1
    assert contents(tmp_path / "many" / "set") == contents(tmp_path / "one" / "set")
    assert prepare("many", "--merge") == 1, "again"
    monkeypatch.delenv("RANK")
    assert prepare("many") == 1 and contents(tmp_path / "many" / "set") == contents(tmp_path / "one" / "set")


def test_shards_that_do_not_fit_are_named(prepare: Callable[..., int], tmp_path: Path) -> None:
    folder = tmp_path / "many" / "set" / ".preparation"
    prepare("many", "--shard", "1/3")
    prepare("many", "--shard", "3/3")
    with pytest.raises(UserError, match=r"set \(shard 3/3\) was prepared with --max_speed 15.0, not 9.0"):
        prepare("many", "--shard", "3/3", "--max_speed", "9")
    prepare("many", "--shard", "2/3", "--max_speed", "9")
    with pytest.raises(UserError, match=r"set \(shard 2/3\) was prepared with --max_speed 9.0, not 15.0"):
        prepare("many", "--merge")
    shutil.rmtree(folder / "shard-2-of-3")
    with pytest.raises(UserError, match=r"lacks the shards 2/3$"):
        prepare("many", "--merge")
    prepare("many", "--shard", "2/3", "--restart")
    shutil.move(folder / "shard-3-of-3", tmp_path / "kept")
    shutil.copytree(folder / "shard-2-of-3", folder / "shard-3-of-3")
    with pytest.raises(UserError, match="shard-3-of-3 holds .* of another shard than 3/3"):
        prepare("many", "--merge")
    shutil.rmtree(folder / "shard-3-of-3")
    shutil.move(tmp_path / "kept", folder / "shard-3-of-3")
    shutil.copytree(folder / "shard-2-of-3", folder / "shard-1-of-2")
    with pytest.raises(UserError, match="shards of 2 and of 3"):
        prepare("many", "--merge")
    shutil.rmtree(folder / "shard-1-of-2")
    assert prepare("many", "--merge") == 1
    # A clip that comes later is made by its shard; the others have nothing to do.
    np.save(tmp_path / "motions" / "new.npy", walking_body(2.2, seed=40).joints())
    with open(tmp_path / "captions.csv", "a") as table:
        table.write("new,someone walks on\n")
    number = next(n for n in (1, 2, 3) if holds(Share(n, 3), "new"))
    with pytest.raises(UserError, match="no shard of"):
        prepare("many", "--merge")
    prepare("many", "--shard", f"{number}/3")
    assert prepare("many", "--merge") == 1 and (tmp_path / "many" / "set" / "texts" / "new.txt").is_file()


def test_a_journal_has_one_writer(tmp_path: Path) -> None:
    settings = {"fps": 20.0}
    with ShardJournal(tmp_path / "set", Share(1, 2)).opened(settings, False):
        with ShardJournal(tmp_path / "set", Share(2, 2)).opened(settings, False):
            pass
        for other in (ShardJournal(tmp_path / "set", Share(1, 2)), Journal(tmp_path / "set")):
            with pytest.raises(UserError, match="another process is preparing"), other.opened(settings, False):
                pass
    with Journal(tmp_path / "set").opened(settings, False):
        code = "import sys; from pathlib import Path; from utils.shares import Share\n"
        code += "from utils.errors import run_script; from data.prepare.shards import ShardJournal as J\n"
        code += "run_script(lambda: J(Path(sys.argv[1]), Share(1, 2)).opened({}, False).__enter__() and 0)"
        command = [sys.executable, "-c", code, str(tmp_path / "set")]
        refused = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": os.getcwd()})
        assert refused.returncode == 2 and "another process is preparing" in refused.stderr
