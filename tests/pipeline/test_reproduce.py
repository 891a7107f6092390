"""reproduce_dataset.sh: what it calls, what it tells of the way that is left, how it divides a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from options.command_line import parse
from options.reproduce import ReproduceOptions
from pipeline import reproduce
from pipeline.reproduce import STAGES, Chain, main, run_command
from tests.data.test_several import write_set
from utils.errors import UserError

ROOT = Path(__file__).parents[2]
TRAININGS = [stage.key for stage in STAGES if stage.script]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the datasets dataset/a and b, and the shipped models."""
    monkeypatch.chdir(tmp_path)
    write_set(tmp_path / "b", 0)
    write_set(tmp_path / "dataset" / "a", 1)
    (tmp_path / "pretrained").symlink_to(ROOT / "pretrained")
    return tmp_path


class Calls:
    """Takes down commands in the place of running them; each takes as long as it may, or its cost, or `seconds`."""

    def __init__(self, seconds: float | None = None, fails_at: str = "") -> None:
        self.seconds, self.fails_at, self.made = seconds, fails_at, []

    def __call__(self, words: Sequence[str], spent: Callable[[float], None]) -> None:
        self.made.append(list(words))
        if "--preset" in words:
            Path("logs", "a", self.value(words, "--name")).mkdir(parents=True, exist_ok=True)
        if self.fails_at in words and self.fails_at:
            spent(7.0)
            raise SystemExit(130)
        minutes = self.value(words, "--max_minutes")
        usual = STAGES[(len(self.made) - 1) % len(STAGES)].cost
        usual = 60 * float(minutes) + reproduce.STARTING if minutes else usual
        spent(usual if self.seconds is None else self.seconds)

    @staticmethod
    def value(words: Sequence[str], flag: str) -> str | None:
        return words[words.index(flag) + 1] if flag in words else None

    def values(self, flag: str) -> dict[str, str | None]:
        """By run, of the trainings."""
        trained = [words for words in self.made if "--preset" in words]
        return {self.value(words, "--name"): self.value(words, flag) for words in trained}


def go(calls: Calls, line: str, **environment: str) -> list[str]:
    main(calls, line.split(), environment)
    return calls.made


def test_each_stage_says_where_it_is_and_what_is_left(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = go(Calls(), "a")
    lines = capsys.readouterr().out.splitlines()
    heads = [line for line in lines if line.startswith("== ")]
    assert heads[0] == "== stage 1 of 8: evaluator (it picks checkpoints)" and heads[2].startswith(
        "== stage 3 of 8: RVQ"
    )
    assert all("minutes are left for all)" in head for head in heads[1:]) and len(heads) == len(made) == 8
    left = [int(head.rpartition("about ")[2].split()[0]) for head in heads[1:]]
    assert left == [19, 18, 14, 13, 7, 1, 1]
    assert lines[0] == "note: 3 clips are few to begin from nothing: --init_from pretrained/open is quicker and better"
    assert lines[-1] == "made in 19 minutes: the runs in logs/a, the library in database/a"
    assert made[-1][:3] == ["demo.py", "--text_prompt", "a person of a walks"]


def test_settings_reach_every_training(place: Path) -> None:
    calls = Calls(1)
    made = go(calls, "a tuned --epochs 4 --seed 9", LIMIT="2", BATCH="3", GPU="-1", LOGS="logs", PROMPT="a jump")
    wanted = {"preset": "tuned", "max_epoch": "4", "seed": "9", "max_steps": "2", "batch_size": "3", "gpu_id": "-1"}
    for flag, value in (wanted | {"max_minutes": None, "init_from": None}).items():
        assert calls.values(f"--{flag}") == dict.fromkeys(TRAININGS, value)
    assert Calls.value(made[-1], "--text_prompt") == "a jump" and Calls.value(made[-1], "--seed") == "9"


@pytest.mark.parametrize("minutes", [4, 20, 120])
def test_all_stages_together_keep_to_a_time(minutes: int, place: Path) -> None:
    calls = Calls()
    go(calls, f"a --minutes {minutes}")
    given = {key: float(value) for key, value in calls.values("--max_minutes").items()}
    fixed = sum(stage.cost for stage in STAGES if not stage.script) / 60
    starts = reproduce.STARTING * len(given) / 60
    assert sum(given.values()) + starts + fixed == pytest.approx(minutes, abs=0.1)
    assert given["mtrans"] == max(given.values()) and min(given.values()) > 0


def test_stages_that_took_longer_cost_those_that_follow(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls = Calls(400)
    go(calls, "a --minutes 20")
    given = {key: float(value) for key, value in calls.values("--max_minutes").items()}
    assert given["length"] == pytest.approx(1 / 60, abs=0.01), "the time is over: as little as can be"
    assert "(20 of 20 minutes are left for all)" in (told := capsys.readouterr().out) and "(0 of 20 minutes" in told


def test_what_an_interrupted_way_took_counts(place: Path) -> None:
    with pytest.raises(SystemExit) as end:
        go(Calls(fails_at="train_vq.py"), "a --minutes 20")
    assert end.value.code == 130
    former = Chain(parse(ReproduceOptions, ["a", "--minutes", "20"]), {})
    assert former.seconds["vq"] == 7.0 and former.seconds["tmr"] > 30
    again = Calls(0.0)
    go(again, "a --minutes 20")
    given = {key: 60 * float(value) for key, value in again.values("--max_minutes").items()}
    for stage, share in former.shares.items():
        assert given[stage] == pytest.approx(share, abs=1), "a training that ended goes no further"
    assert given["mtrans"] < 1200 - sum(former.seconds.values())
    (place / "logs" / "a" / "tmr").rmdir()
    anew = Chain(parse(ReproduceOptions, ["a", "--minutes", "20"]), {})
    assert "tmr" not in anew.seconds and "tmr" not in anew.shares and "vq" in anew.shares


def test_runs_of_another_time_are_refused(place: Path) -> None:
    """More would change what the later runs were made with; a time can be set where none was."""
    go(Calls(1), "a")
    go(Calls(1), "a --minutes 20")
    for line in ("a", "a --minutes 30"):
        with pytest.raises(UserError, match="logs/a were begun with --minutes 20: give it again, or another LOGS"):
            go(Calls(), line)
    (place / "logs" / "a" / "reproduce.json").write_text("[]")
    go(Calls(1), "a --minutes 30")


def test_names_and_paths_are_one_set(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever folder they are meant from; with a share, and with several."""
    monkeypatch.setenv("HOME", str(place))
    (place / "elsewhere").mkdir()
    (place / "link").symlink_to(place / "b")

    def found(name: str, given_in: object = ".") -> str:
        return Chain(parse(ReproduceOptions, [name, "--given_in", str(given_in)]), {}).spec.argument

    assert {found(name) for name in ("b", "./b", "b/", "dataset/../b", "link", "~/b", str(place / "b"))} == {"b"}
    assert {found(name) for name in ("a", "dataset/a", "./dataset//a/", f"{place}/dataset/a")} == {"dataset/a"}
    assert found("../b", place / "elsewhere") == "b"
    assert found("../link:3,a:1", place / "elsewhere") == found("a:1,b:3") == "dataset/a:1,b:3"


@pytest.mark.parametrize(
    "line, words",
    [
        ("nowhere", "nowhere is no prepared dataset: neither nowhere nor dataset/nowhere holds a dataset.json"),
        ("a,nowhere", "a,nowhere is no prepared dataset"),
        ("a --init_from nowhere", "--init_from nowhere is not a folder with the runs of all stages"),
        ("a --init_from pretrained", "name a folder in it: open"),
    ],
)
def test_mistakes_are_told_before_anything_is_done(line: str, words: str, place: Path) -> None:
    calls = Calls()
    with pytest.raises(UserError) as error:
        go(calls, line)
    assert words in str(error.value) and not calls.made and not (place / "logs").exists()


@pytest.mark.parametrize(
    "line, words",
    [
        ("--minutes 3", "NAME is required"),
        ("a huge", "PRESET: must be one of small, mini, base, tuned, paper, finetune, not 'huge'"),
        ("a small b", "unrecognized arguments: b"),
        ("a --minutes soon", "--minutes: must be float, not 'soon'"),
        ("a --minutes 0.2", "--minutes must be 0 or at least 1, not 0.2"),
        ("a --minutes -5", "--minutes must be 0 or at least 1"),
        ("a --epochs -1", "--epochs must be at least 0, not -1"),
        ("a --seed -1", "--seed must be at least 0"),
        ("a --init_from", "--init_from: expected one argument"),
        ("a --minute 5", "unrecognized arguments: --minute 5"),
    ],
)
def test_mistakes_in_flags(line: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(ReproduceOptions, line.split())
    error = capsys.readouterr().err
    assert end.value.code == 2 and words in error and error.count("\n") == 1


def test_a_command_that_fails_ends_the_way_with_its_code() -> None:
    spent: list[float] = []
    with pytest.raises(SystemExit) as end:
        run_command(["-c", "import sys, time; time.sleep(0.3); sys.exit(3)"], spent.append)
    assert end.value.code == 3 and sum(spent) >= 0.3
    run_command(["-c", ""], spent.append)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_waits_for_the_training_to_save(sent: signal.Signals, tmp_path: Path) -> None:
    """It is the training's to answer; its code is that of the whole."""
    stage = (
        "import signal, sys, time, pathlib\n"
        "def stop(*_): time.sleep(0.5); pathlib.Path('saved').touch(); sys.exit(130)\n"
        "[signal.signal(each, stop) for each in (signal.SIGTERM, signal.SIGINT)]\n"
        "pathlib.Path('ready').touch(); time.sleep(60)"
    )
    code = f"from pipeline.reproduce import run_command; run_command(['-c', {stage!r}], lambda _: None)"
    command = [sys.executable, "-c", code]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True)
    while not (tmp_path / "ready").exists():
        assert process.poll() is None
        time.sleep(0.05)
    if sent == signal.SIGINT:
        os.killpg(process.pid, sent)  # Ctrl-C reaches both
    else:
        process.send_signal(sent)
    assert process.wait(30) == 130 and (tmp_path / "saved").exists()
