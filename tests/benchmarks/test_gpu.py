"""The GPU check at tiny sizes on a CPU, and that each part of it can fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.commands import readme_flags
from benchmarks.gpu import parity
from benchmarks.gpu.__main__ import SECTIONS
from benchmarks.gpu.isolation import run_section
from benchmarks.gpu.report import Row, Section, markdown
from benchmarks.gpu.stages import STAGES, build_stage, stage_options
from benchmarks.gpu.steps import SYNCHRONISED, SyncWatch, covered
from models.configs import PartTMRConfig

ROOT = Path(__file__).parents[2]


def check(*flags: str) -> subprocess.CompletedProcess[str]:
    """The command as users type it, on a machine without a GPU."""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "VIRTUAL_ENV": sys.prefix}
    command = ["bash", "tests/gpu_check.sh", *flags]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)


def test_everything_passes_at_tiny_sizes(tmp_path: Path) -> None:
    done = check("--tiny", "--out", str(tmp_path))
    log = tmp_path / "gpu_check.log"
    assert done.returncode == 0, done.stdout + done.stderr + log.read_text()[-3000:]
    content = json.loads((tmp_path / "gpu_check.json").read_text())
    assert content["passed"] and content["machine"]["device"] == "cpu" and content["machine"]["sizes"] == "tiny"
    assert [section["name"] for section in content["sections"]] == [name for name, *_ in SECTIONS]
    assert all(section["rows"] and not section["failure"] for section in content["sections"])
    table = (tmp_path / "gpu_check.md").read_text()
    for stage in STAGES:
        assert f"| {stage}, fp32 | 8 |" in table and f"| {stage}, bf16 | 8 |" in table
    assert sum(limit for _, limit, *_ in SECTIONS) <= 1800, "more than half an hour"


def test_the_papers_sizes_need_a_gpu(tmp_path: Path) -> None:
    done = check("--out", str(tmp_path / "out"))
    assert done.returncode == 2 and done.stderr.startswith("error: there is no GPU here: --tiny"), done.stderr
    assert len(done.stderr.splitlines()) == 1


SECTIONS_THAT_END_BADLY = """
import os, signal, time
from benchmarks.gpu.report import Row

def good(answer):
    yield Row("first", True, {"answer": answer})

def raises():
    yield Row("first", True)
    raise ValueError("it broke\\nbadly")

def exits():
    raise SystemExit("refused")
    yield

def dies():
    yield Row("first", True)
    os.kill(os.getpid(), signal.SIGKILL)

def hangs():
    yield Row("first", True)
    child = os.fork()
    if child:
        open("{folder}/hanging", "w").write(str(child))
    time.sleep(60)
"""


def running(process: int) -> bool:
    """Whether it does anything; one that no parent has collected yet does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("function", "rows", "failure"),
    [
        ("raises", 1, "ValueError: it broke badly"),
        ("exits", 0, "SystemExit: refused"),
        ("dies", 1, "ended without a word, exit code -9"),
        ("hangs", 1, "took longer than 8 s and was ended"),
    ],
)
def test_a_section_that_ends_badly_is_told(
    function: str, rows: int, failure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ends_badly.py").write_text(SECTIONS_THAT_END_BADLY.replace("{folder}", str(tmp_path)))
    monkeypatch.syspath_prepend(tmp_path)
    log = tmp_path / "log"
    limit = 8.0 if function == "hangs" else 60.0  # time to start on a busy machine
    section = run_section("bad", limit, log, f"ends_badly:{function}")
    assert (len(section.rows), section.failure, section.passed) == (rows, failure, False)
    if function == "hangs":
        assert not running(int((tmp_path / "hanging").read_text())), "a process that it started is still there"
    section = run_section("good", 60.0, log, "ends_badly:good", 42)
    assert section.passed and section.rows == (Row("first", True, {"answer": 42}),)


def test_the_report_shows_what_failed() -> None:
    rows = (Row("a|b", True, {"x": 0.123456}), Row("c", False, {"y": None}, "why\nnot"), Row("d", None))
    page = markdown(
        {"name": "a machine"}, [Section("one", 1.0, 60.0, rows), Section("two", 61.0, 60.0, (), "too late")]
    )
    assert "Failed: one, two" in page and "**too late**" in page
    assert "| a/b | 0.1235 | - | yes |  |" in page and "| c | - | - | **NO** | why not |" in page
    passed = Section("three", 1.0, 60.0, (Row("d", None), Row("e", True)))
    assert passed.passed and "Everything passed." in markdown({}, [passed])


def test_sizes_are_those_of_the_readmes_commands() -> None:
    assert "--batch_size" in readme_flags("run_mtrans.sh") and readme_flags("no_such_script.sh") == []
    for name, script in (("vq", "run_rvq.sh"), ("mtrans", "run_mtrans.sh"), ("rtrans", "run_rtrans.sh")):
        flags, options = readme_flags(script), stage_options(name, tiny=False)
        assert options.train.batch_size == int(flags[flags.index("--batch_size") + 1])
    assert stage_options("tmr", tiny=False).model == PartTMRConfig()
    assert stage_options("tmr", tiny=True).model.part_dim < PartTMRConfig().part_dim


def test_work_side_by_side_counts_once() -> None:
    assert covered([(5.0, 7.0), (0.0, 2.0), (1.0, 3.0), (1.5, 1.6)]) == 5.0
    assert covered([]) == 0.0


def test_a_synchronisation_is_noted_with_its_place() -> None:
    watch = SyncWatch(torch.device("cpu"))
    with watch.watching():
        with watch.allowed():
            pass
        for _ in range(2):
            warnings.warn(SYNCHRONISED, stacklevel=1)
        warnings.warn("something else", stacklevel=1)
    (place, count), *others = watch.found.items()
    assert place.startswith("tests/benchmarks/test_gpu.py:") and count == 2 and not others


def test_another_device_gets_the_same_random_numbers() -> None:
    def drawn() -> list[torch.Tensor]:
        rows = torch.zeros(3)
        return [torch.rand(3), torch.randint(9, (3,)), torch.randperm(3), torch.rand_like(rows), rows.exponential_()]

    torch.manual_seed(0)
    expected = [*drawn(), torch.rand(2)]
    torch.manual_seed(0)
    with parity.SameRandomNumbers():
        torch.rand(3, device="meta"), torch.randint(9, (3,), device="meta"), torch.randperm(3, device="meta")
        rows = torch.zeros(3, device="meta")
        assert torch.rand_like(rows).device.type == rows.exponential_().device.type == "meta"
    assert torch.equal(torch.rand(2), expected[-1]), "another device draws numbers of its own"
    torch.manual_seed(0)
    with parity.SameRandomNumbers():
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(drawn(), expected, strict=False))


def test_other_losses_tokens_and_scores_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([{"loss": 1.0, "gradient": 1.0}, {"loss": 1.0002, "gradient": 1.0}] * len(STAGES))
    monkeypatch.setattr(parity, "losses_of", lambda *_: next(values))
    rows = list(parity.loss_rows(True, "cpu"))
    assert len(rows) == len(STAGES) and not any(row.passed for row in rows)

    codes, joints = [torch.zeros(5, 6, 3)] * 4, [np.zeros((20, 22, 3))] * 4
    answers = iter(
        [(codes, joints), ([*codes[:3], codes[3] + 1], joints), (codes, joints), (codes, [j + 1 for j in joints])]
    )
    monkeypatch.setattr(parity, "generated", lambda *_: next(answers))
    assert [row.passed for _ in range(2) for row in parity.generation_rows(True, "cpu")] == [False, False]


def test_data_are_the_same_at_every_start() -> None:
    first, second = (build_stage("tmr", tiny=True).batch() for _ in range(2))
    assert first["texts"] == second["texts"] and torch.equal(first["motion"], second["motion"])
    assert first["mask"].all(dim=1).tolist()[:2] == [True, False], "no sample is padded"
