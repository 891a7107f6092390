"""Files and folders of results: usual modes without touching the process, and nothing left after a refusal."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from utils.errors import UserError
from utils.files import give_usual_mode, result_folder, write_json


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
