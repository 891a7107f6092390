"""Files of results: found by token and known name alone, private, and gone in time."""

from __future__ import annotations

import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.app.results import FILES, ResultStore
from tests.pipeline.app.conftest import Clock

HOUR = 3600.0


@pytest.fixture
def store(clock: Clock) -> Iterator[ResultStore]:
    with ResultStore(HOUR, 3, clock) as made:
        yield made


def add(store: ResultStore, text: str = "x") -> str:
    with store.new() as (token, folder):
        (folder / "motion.bvh").write_text(text)
    return token


def test_a_file_is_found_by_its_token_and_its_name(store: ResultStore) -> None:
    first, second = add(store, "first"), add(store, "second")
    assert store.path(first, "motion.bvh").read_text() == "first"
    assert store.path(second, "motion.bvh").read_text() == "second"
    assert store.path(first, "motion.mp4") is None, "it was never written"
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "secret", "..", "", "motion.bvh/", "./motion.bvh", "motion.bvh\x00", "C:\\x"]
)
def test_no_other_name_opens_anything(store: ResultStore, name: str) -> None:
    token = add(store)
    (store.folder / "secret").write_text("secret")
    for each in (token, "", ".", "..", f"../{store.folder.name}/result_{token}", "/", name):
        assert store.path(each, name) is None
        assert each == token or all(store.path(each, known) is None for known in FILES)


def test_a_failed_result_leaves_nothing(store: ResultStore) -> None:
    with pytest.raises(RuntimeError), store.new() as (token, folder):
        (folder / "motion.bvh").write_text("half")
        assert store.path(token, "motion.bvh") is None, "it can be read before it is complete"
        raise RuntimeError
    assert not list(store.folder.iterdir())


def test_results_leave_when_they_are_old_or_too_many(store: ResultStore, clock: Clock) -> None:
    tokens = [add(store) for _ in range(4)]
    assert [store.path(token, "motion.bvh") is not None for token in tokens] == [False, True, True, True]
    assert len(list(store.folder.iterdir())) == 3
    clock.now = HOUR / 2
    young = add(store)
    clock.now = HOUR + 1
    assert store.path(tokens[3], "motion.bvh") is None and store.path(young, "motion.bvh") is not None
    assert len(list(store.folder.iterdir())) == 1


def test_what_a_killed_process_left_goes_at_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    kill = "import os; from pipeline.app.results import ResultStore; s = ResultStore(9, 9); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", kill], cwd=Path(__file__).parents[3]).returncode == -9
    (tmp_path / "remomask_app_link").symlink_to(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    with ResultStore(HOUR, 3) as first, ResultStore(HOUR, 3) as second:
        add(first)
        folders = {path for path in tmp_path.iterdir() if not path.is_symlink()}
        assert folders == {first.folder, second.folder}, "what another process holds is not abandoned"
    assert [path.name for path in tmp_path.iterdir()] == ["remomask_app_link"]


def test_what_is_removed_before_its_time_is_gone(store: ResultStore) -> None:
    first, second = add(store), add(store)
    store.remove([first, "nobody's"])
    assert not store.holds(first) and store.holds(second) and store.path(first, "motion.bvh") is None
    assert len(list(store.folder.iterdir())) == 1


def test_everything_goes_at_the_end() -> None:
    with ResultStore(HOUR, 3) as store:
        folder = store.folder
        add(store)
        assert folder.is_dir()
    assert not Path(folder).exists()
