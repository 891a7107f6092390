"""The retriever's command lines on a tiny dataset: train, evaluate, build the database, add to it, search."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from utils.errors import run_script

SMALL = (
    "--preset mini --part_dim 16 --motion_layers 1 --motion_ff_size 16 --text_dim 16 --embed_dim 12 --batch_size 6"
    " --queue_size 8 --max_epoch 2 --eval_every_e 1 --lr 1e-3 --gpu_id -1"
)


class Outcome(NamedTuple):
    """What a command line did."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture
def run(
    tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Runs a module's command line beside the dataset, in this process."""
    monkeypatch.chdir(tiny_dataset.parent)

    def call(module: str, *arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", [module, *arguments])
        with pytest.raises(SystemExit) as ended:
            run_script(importlib.import_module(module).main)
        return Outcome(ended.value.code, *capfd.readouterr())

    return call


def succeeded(outcome: Outcome) -> str:
    assert outcome.code == 0, outcome.stderr
    return outcome.stdout


def test_the_whole_way(tiny_dataset: Path, run: Callable[..., Outcome]) -> None:
    folder = tiny_dataset.parent
    dataset = ["--dataset_name", "tiny"]
    succeeded(run("Part_TMR.scripts.train", *SMALL.split(), *dataset))
    run_dir = folder / "logs" / "tiny" / "tmr"
    assert json.loads((run_dir / "config.json").read_text())["model"]["part_dim"] == 16

    table = succeeded(run("Part_TMR.scripts.test", *dataset, "--gpu_id", "-1"))
    results = json.loads((run_dir / "eval" / "eval_test.json").read_text())
    assert "small_batches" in table and set(results["all"]["text_to_motion"]) == {"R1", "R2", "R3", "R5", "R10", "MedR"}

    missing = run("Part_TMR.scripts.search", "--text", "a person waves", *dataset)
    assert missing.code == 2 and "build_rag_database.py" in missing.stderr
    assert "12 motions, 24 captions" in succeeded(run("build_rag_database", *dataset))
    search = ["Part_TMR.scripts.search", *dataset, "--k", "3", "--json"]
    found = json.loads(succeeded(run(*search, "--text", "a person waves")))
    assert len(found) == 3 and found[0]["score"] >= found[1]["score"]

    np.save(folder / "mine.npy", np.load(tiny_dataset / "new_joint_vecs" / "000003.npy") * 2)
    add = ["build_rag_database", *dataset, "--add", "mine.npy"]
    unnamed = run(*add)
    assert unnamed.code == 2 and "has no caption" in unnamed.stderr
    assert "13 motions, 25 captions" in succeeded(run(*add, "--caption", "somebody does my trick"))
    found = json.loads(succeeded(run(*search, "--motion", "mine.npy")))
    assert found[0]["id"] == "mine" and found[0]["score"] == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Part_TMR.scripts.search", "--text", " "], "--text is empty"),
        (["Part_TMR.scripts.search"], "either --text or --motion"),
        (["build_rag_database", "--caption", "x"], "--add"),
        (["Part_TMR.scripts.test", "--dataset_name", "tiny"], "run tmr does not exist"),
    ],
)
def test_mistakes_are_one_line(run: Callable[..., Outcome], arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.code == 2 and message in result.stderr and result.stderr.count("\n") == 1
