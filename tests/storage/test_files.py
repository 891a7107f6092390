"""Reading what anybody may have written, and results: usual modes without touching the process, nothing left behind."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from storage import faults
from storage.files import (
    atomic_path,
    give_usual_mode,
    parse_json,
    read_bytes,
    read_json,
    read_text,
    remove_abandoned,
    replaced_folder,
    result_folder,
    write_json,
)
from storage.owner import MACHINE
from utils.errors import LONGEST_MESSAGE, UserError, run_script

GONE, OURS, AFAR = f"4194309-{MACHINE}", f"{os.getpid()}-{MACHINE}", "7-00000000"


@pytest.fixture
def umask() -> int:
    """Of the tests here: others of the group can read."""
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


def test_a_private_file_gets_the_mode_that_the_umask_leaves(
    umask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "private"
    path.touch(mode=0o600)
    with monkeypatch.context() as patched:
        # Another thread would make its files with the umask that is set for a moment.
        patched.setattr(os, "umask", lambda mask: pytest.fail("the umask of the whole process was changed"))
        give_usual_mode(path)
        write_json(tmp_path / "plain.json", {})
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, tmp_path / "plain.json")] == [0o666 & ~umask] * 2
    assert sorted(os.listdir(tmp_path)) == ["plain.json", "private"]


def test_a_failed_block_leaves_no_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for place in (tmp_path / "a" / "b" / "c", tmp_path / "there" / "new", tmp_path / "there"):
        with pytest.raises(UserError, match="refused"), result_folder(place) as folder:
            assert folder == place and place.is_dir()
            raise UserError("refused")
    assert [path.name for path in tmp_path.rglob("*")] == ["there"], "what was there stays"
    with pytest.raises(KeyboardInterrupt), result_folder(tmp_path / "a" / "b") as folder:
        (folder / "result").touch()
        raise KeyboardInterrupt
    assert (tmp_path / "a" / "b" / "result").is_file()
    with result_folder(tmp_path / "kept" / "empty"):
        pass
    assert (tmp_path / "kept" / "empty").is_dir()


class Opaque(Exception):
    """What a library raises that hides the disk's words."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError(122, "Disk quota exceeded"), "Disk quota exceeded"),
        (Opaque("I/O error: No space left on device (os error 28)"), "No space left on device"),
        (OSError("100 requested and 7 written"), "100 requested and 7 written"),
    ],
)
@pytest.mark.parametrize("write", [atomic_path, replaced_folder])
def test_what_the_disk_refuses_is_told_with_the_files_name(
    write: Callable, error: Exception, words: str, tmp_path: Path
) -> None:
    for raised in (error, Opaque("stream error")):
        with pytest.raises(UserError, match=f"^cannot write {tmp_path}/a.npy: {words}$"), write(tmp_path / "a.npy"):
            try:
                raise error
            finally:
                if raised is not error and "space" in words:
                    raise raised  # as torch does when it ends its file
    with pytest.raises(Opaque, match="mistake"), write(tmp_path / "a.npy"):
        raise Opaque("mistake")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", faults.PLACES)
def test_a_file_is_old_or_new_wherever_a_write_ends(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, former = tmp_path / "a.txt", tmp_path / "former.txt"
    path.write_text("old")
    monkeypatch.setattr(faults, "_numbers", itertools.count(1))
    monkeypatch.setenv(faults.VARIABLE, f"full@1/{place}")
    with pytest.raises(UserError), atomic_path(path, former) as temporary:
        temporary.write_text("new")
    there = {each.name: each.read_text() for each in tmp_path.iterdir()}
    kept = {"between": {"former.txt": "old"}, "after": {"a.txt": "new", "former.txt": "old"}}
    assert there == kept.get(place, {"a.txt": "old"})


def test_what_is_abandoned_is_removed_and_what_was_set_aside_comes_back(tmp_path: Path) -> None:
    for name in (f".a.{GONE}.tar", f".a.{OURS}.tar", f".a.{AFAR}.tar", f".b.{AFAR}", ".hidden", ".note.7.tar", "a.tar"):
        (tmp_path / name).touch()
    os.utime(tmp_path / f".b.{AFAR}", (0, 0))
    (tmp_path / f".base.x1y2.{GONE}" / "new").mkdir(parents=True)
    for name in (f".base.x1y2.{GONE}", f".there.x1y2.{GONE}"):
        (tmp_path / name / "old").mkdir(parents=True)
        (tmp_path / name / "old" / "row").write_text("old")
    (tmp_path / "there").mkdir()
    with replaced_folder(tmp_path / "other"):
        pass
    remaining = [f".a.{OURS}.tar", f".a.{AFAR}.tar", ".hidden", ".note.7.tar", "a.tar", "base", "there", "other"]
    assert sorted(os.listdir(tmp_path)) == sorted(remaining) and not os.listdir(tmp_path / "there")
    assert (tmp_path / "base" / "row").read_text() == "old"
    remove_abandoned(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("9" * 5000, "a number of 5000 digits"),
        ('{"a": [12345678901234567890]}', "a number of 20 digits"),
        ("[NaN]", "NaN is no finite number"),
        ("[-Infinity]", "-Infinity is no finite number"),
        ('{"a": 1e999}', "1e999 is no finite number"),
        ("[" * 65 + "]" * 65, "nested more than 64 deep"),
        ('{"a":' * 100_000, "is not valid JSON"),
        ('{"a": 1, "b": 2, "a": 3}', "'a' stands twice in one object"),
        (r'{"a": ["\ud800"]}', "is not valid JSON"),
        (r'{"\udfff": 1}', "is not valid JSON"),
        (b'"\xff"', "is not valid JSON"),
        ("", "is not valid JSON"),
    ],
)
def test_json_that_is_refused(text: str | bytes, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        parse_json(text if isinstance(text, bytes) else text.encode(), "a.json")
    assert str(error.value).startswith("a.json is not valid JSON: ")


def test_json_that_is_read() -> None:
    deep = "[" * 63 + "]" * 63
    text = f'\ufeff{{"a": [-9223372036854775808, 1.5e-3, "\\ud83d\\ude00"], "b": {{"a": null}}, "deep": {deep}}}'
    found = parse_json(text.encode(), "a.json")
    assert found["a"] == [-(2**63), 0.0015, "\U0001f600"] and found["b"] == {"a": None}


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    with open(tmp_path / "large", "wb") as file:
        file.truncate(1 << 40)
    places = ["pipe", "folder", "zero", "loop", "large", "a\0b", "x" * 300, "\ud800", "missing"]
    for place in places:
        for reader in (read_bytes, read_json, read_text):
            with pytest.raises(UserError, match="cannot be read|does not exist|at most [0-9,]+ are read"):
                reader(tmp_path / place)


def test_messages_are_one_short_printable_line(capsys: pytest.CaptureFixture[str]) -> None:
    told = str(UserError("a.json: " + "x" * 100_000 + "\n: give  another \x1b[31m \udcff\0"))
    assert told.startswith("a.json: xxx") and told.endswith(r"xxx : give another \x1b[31m \udcff\x00")
    assert len(told) == LONGEST_MESSAGE and told.isprintable()
    assert len(str(UserError("\0" * 100_000))) <= LONGEST_MESSAGE
    assert str(UserError("größer als 5 µm")) == "größer als 5 µm"

    def script() -> None:
        open("a" * 5000)  # noqa: SIM115

    with pytest.raises(SystemExit) as exit_info:
        run_script(script)
    assert exit_info.value.code == 2 and "File name too long" in (said := capsys.readouterr().err)
    assert said.startswith("error: ") and said.count("\n") == 1 and len(said) < LONGEST_MESSAGE + 10
