"""`python -m pipeline.inspect`: what a folder is and what beside it fits, told quickly and without a model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.inspect import inspect, lines
from pipeline.loader import load_run
from storage.checkpoint import read_model, save_checkpoint, save_safetensors
from storage.files import read_json, write_json
from utils.errors import UserError
from utils.formats import get_format
from utils.run import Run

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "pretrained" / "open"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A copy of the shipped runs that a test may change."""
    shutil.copytree(SHIPPED, tmp_path / "open")
    return tmp_path / "open"


def changed(path: Path, **entries: Any) -> None:
    write_json(path, read_json(path) | entries)


def answers(folder: Path) -> dict[str, tuple[bool | None, str | None]]:
    return {other["name"]: (other["fits"], other["reason"]) for other in inspect(folder)["beside"]}


def another(runs: Path, stage: str) -> None:
    """A run beside that has other weights."""
    shutil.copytree(runs / stage, runs / f"{stage}_2")
    weights = next((runs / f"{stage}_2" / "model").iterdir())
    state = dict(read_model(weights))
    name = next(name for name, value in state.items() if value.is_floating_point() and value.ndim > 1)
    save_safetensors(weights, state | {name: state[name] + 1})


def test_fingerprints_are_those_that_others_know() -> None:
    known = read_json(SHIPPED / "database" / "manifest.json")
    assert Run(SHIPPED / "vq").hash == known["tokenizer"]["hash"] == Run(SHIPPED / "mtrans").tokens.vq_hash
    assert Run(SHIPPED / "tmr").hash == known["retriever"]["hash"] == load_run(Run(SHIPPED / "tmr")).hash
    assert Run(SHIPPED / "evaluator").hash == load_run(Run(SHIPPED / "evaluator")).fingerprint


def test_a_shipped_run_is_told_without_torch() -> None:
    code = f"import runpy, sys; sys.argv = ['inspect', {str(SHIPPED / 'mtrans')!r}, '--json']\n"
    code += "try: runpy.run_module('pipeline.inspect', run_name='__main__')\n"
    code += "finally: assert 'torch' not in sys.modules"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    told = json.loads(result.stdout)
    assert told["weights"] == "net_best_loss.safetensors" and told["checkpoints"][0]["step"] == 2464
    model = load_run(Run(SHIPPED / "mtrans"))
    assert told["checkpoints"][0]["numbers"] == sum(value.numel() for value in model.state_dict().values())
    trained, needs = told["trained"], told["needs"]
    assert trained["dataset"] == "open" and trained["seed"] == 1234 and "--preset open" in trained["command"]
    assert trained["format"] == "humanml3d: 22 joints, 20 frames a second, 263 columns"
    assert needs["vq"] == f"vq {Run(SHIPPED / 'vq').hash}" and needs["text encoder"] == "minilm"
    assert needs["retriever"] == f"tmr {Run(SHIPPED / 'tmr').hash}"
    assert needs["library"] == "2604 motions, 8171 captions"
    assert {other["name"]: other["fits"] for other in told["beside"]} == dict.fromkeys(
        ("database", "evaluator", "length", "rtrans", "tmr", "vq"), True
    )


def test_what_does_not_fit_says_why(runs: Path) -> None:
    library = {"retriever_hash": Run(runs / "tmr").hash, "motions": 3, "captions": 4}
    changed(runs / "mtrans" / "config.json", library=library)
    another(runs, "vq")
    another(runs, "tmr")
    shutil.copytree(runs / "database", runs / "database_2")
    made_by = {"name": "vq_2", "hash": Run(runs / "vq_2").hash}
    changed(runs / "database_2" / "manifest.json", tokenizer=made_by)
    shutil.copytree(runs / "database", runs / "database_kit")
    changed(runs / "database_kit" / "manifest.json", format=get_format("kit").to_json())
    length = runs / "length" / "config.json"
    changed(length, model=read_json(length)["model"] | {"text_encoder": "clip"})
    changed(runs / "evaluator" / "config.json", format=get_format("kit").to_json())
    changed(runs / "rtrans" / "config.json", stage="dance")
    (runs / "notes").mkdir()
    told = answers(runs / "mtrans")
    assert told["vq"] == told["tmr"] == told["database"] == (True, None) and "notes" not in told
    for name, words in (
        ("vq_2", "was trained on tokens of the RVQ-VAE"),
        ("tmr_2", "was trained with the retriever"),
        ("database_2", "holds tokens of the RVQ-VAE"),
        ("length", "different text encoders: mtrans with minilm, length with clip"),
        ("evaluator", "different formats: 22 joints, not 21"),
        ("database_kit", "different formats: 22 joints, not 21"),
        ("rtrans", "there is no stage 'dance'"),
    ):
        fits, reason = told[name]
        assert fits is False and words in reason and "\n" not in reason
    assert inspect(runs / "mtrans")["needs"]["retriever"] == f"tmr {library['retriever_hash']}"
    told = answers(runs / "database_2")
    assert told["vq_2"] == told["tmr"] == (True, None) and told["database"] == (None, "of the same stage")
    assert not told["tmr_2"][0] and "was made by the retriever tmr" in told["tmr_2"][1]
    assert any(line.startswith("   no    tmr_2") for line in lines(inspect(runs / "database_2")))


def test_a_training_that_goes_on(runs: Path) -> None:
    model = runs / "vq" / "model"
    state, known = dict(read_model(next(model.iterdir()))), Run(runs / "vq").hash
    shutil.rmtree(model)
    save_checkpoint(model / "latest.tar", {"model": state, "step": 7, "config": {}, "optimizer": {}})
    save_checkpoint(model / "net_best_fid.tar", {"model": state, "step": 5, "metrics": {"fid": 0.25}, "config": {}})
    (model / "net_best_mpjpe.tar").write_bytes(b"damaged")
    told = inspect(runs / "vq")
    assert told["weights"] == "net_best_fid.tar" and told["trained"]["steps"] == 5 and told["hash"] == known
    found = {checkpoint["file"]: checkpoint for checkpoint in told["checkpoints"]}
    assert found["net_best_fid.tar"]["metrics"] == {"fid": 0.25} and found["latest.tar"]["step"] == 7
    assert found["net_best_fid.tar"]["numbers"] == sum(value.numel() for value in state.values())
    text = "\n".join(lines(told))
    assert " * net_best_fid.tar: " in text and "step 5, fid 0.25" in text
    assert "net_best_mpjpe.tar: 0.0 MB, damaged: " in text


def test_a_run_without_weights(runs: Path) -> None:
    shutil.rmtree(runs / "vq" / "model")
    told = inspect(runs / "vq")
    assert told["weights"] is told["hash"] is None and told["checkpoints"] == []
    fits, reason = answers(runs / "mtrans")["vq"]
    assert not fits and "has no checkpoint" in reason


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "neither a run"), ("{", "not valid JSON"), ("[]", "must hold an object"), ('{"stage": 3}', "no stage 3")],
)
def test_bad_folders_are_named(content: str | None, words: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=words):
        inspect(tmp_path)


@pytest.mark.parametrize(("arguments", "words"), [([], "FOLDER is required"), (["nowhere"], "is neither a run")])
def test_mistakes_are_one_line(arguments: list[str], words: str) -> None:
    command = [sys.executable, "-m", "pipeline.inspect", *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2 and words in result.stderr and result.stderr.count("\n") == 1
