"""A command reads each run's config once, however many things it opens."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

import data.specs as specs
from data.mini.folder import write
from options.command_line import parse
from options.evaluation import EvalResOptions
from options.presets import PRESETS
from options.stages import MaskedOptions
from pipeline import TextToMotion
from pipeline.evaluation.generators import evaluate_generator
from pipeline.evaluation.run import Evaluation
from pipeline.stages import harness as harness_of_stage

PRETRAINED = Path(__file__).parents[2] / "pretrained"
STAGES = ("vq", "mtrans", "rtrans", "length", "tmr", "evaluator")
# A hook of the interpreter cannot be taken away again, what it calls can: it sees files however they are opened.
WATCH = SimpleNamespace(count=lambda event, arguments: None)
sys.addaudithook(lambda event, arguments: WATCH.count(event, arguments))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each run's config.json was read."""
    counts: Counter[str] = Counter()

    def count(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and isinstance(arguments[0], (str, Path)) and str(arguments[1]).startswith("r"):
            path = Path(arguments[0])
            if path.name == "config.json" and path.parent.name in STAGES:
                counts[path.parent.name] += 1

    monkeypatch.setattr(WATCH, "count", count)
    return counts


@pytest.fixture
def small_mini(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A few clips under the name of the shipped runs' dataset, in a folder of runs."""
    write(tmp_path / "dataset" / "mini", n_clips=60, workers=1)
    small = specs.moved(specs.SPECS["mini"], tmp_path / "dataset" / "mini")
    monkeypatch.setitem(specs.SPECS, "mini", small)
    (tmp_path / "logs" / "mini").mkdir(parents=True)
    for stage in ("tmr", "mtrans", "rtrans", "length", "database"):
        (tmp_path / "logs" / "mini" / stage).symlink_to(PRETRAINED / "mini" / stage)
    (tmp_path / "logs" / "open").symlink_to(PRETRAINED / "open")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "logs"


def test_loading_the_generator(opened: Counter[str]) -> None:
    TextToMotion.load(PRETRAINED)
    assert opened == dict.fromkeys(("vq", "mtrans", "rtrans", "length", "tmr"), 1)


def test_the_training_of_a_transformer(small_mini: Path, opened: Counter[str]) -> None:
    flags = f"--preset mini --name new --vq_name open/vq --checkpoints_dir {small_mini} --gpu_id -1 --max_steps 1"
    options = parse(MaskedOptions, [*flags.split(), "--batch_size", "4"], PRESETS["mtrans"])
    harness = harness_of_stage(options)
    assert opened == {"vq": 1, "tmr": 1}, "no evaluator lies here"
    assert harness.run_dir == small_mini / "mini" / "new" and (harness.run_dir / "config.json").is_file()


def test_an_evaluation_of_several_checkpoints(
    small_mini: Path, opened: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small_mini / "mini" / "rtrans"
    run.unlink()
    (run / "model").mkdir(parents=True)
    (run / "config.json").write_bytes((PRETRAINED / "mini" / "rtrans" / "config.json").read_bytes())
    for name in ("net_epoch_1", "net_epoch_2"):
        weights = next((PRETRAINED / "mini" / "rtrans" / "model").iterdir())
        (run / "model" / f"{name}.safetensors").write_bytes(weights.read_bytes())
    opened.clear()  # of what this test read itself
    loaded = []
    monkeypatch.setattr(Evaluation, "run", lambda self, sources, *_: loaded.append(sources[0].t2m.residual))
    flags = f"--dataset_name mini --checkpoints_dir {small_mini} --gpu_id -1 --traverse_res --split train"
    evaluate_generator(parse(EvalResOptions, flags.split()), "res")
    assert opened == dict.fromkeys(("vq", "mtrans", "rtrans", "length", "tmr", "evaluator"), 1), (
        "the shipped one judges"
    )
    assert len(loaded) == 2 and loaded[0] is not loaded[1], "each checkpoint is read"
