"""Compiled layers: the same losses and files as without, at any size; refusals in one line.

Here the code that is made stays PyTorch's, which takes seconds. COMPILE_WITH=inductor tests that of the option itself.
"""

import os
from dataclasses import replace
from functools import partial, partialmethod
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.gpu.stages import build_stage
from engine.harness import Harness
from engine.schedule import seed_everything
from models.compiling import compile_layers
from storage.checkpoint import read_checkpoint
from utils.errors import UserError

CPU = torch.device("cpu")
BACKEND = os.environ.get("COMPILE_WITH", "aot_eager")


def losses(run_dir: Path, compiled: bool, steps: int) -> list[float]:
    """Of a tiny training, or of what is left of it."""
    seed_everything(0)
    stage = build_stage("mtrans", tiny=True, batches=4, flags=["--dropout", "0"])
    task, found = stage.task, []
    forward = task._loss
    task._loss = lambda *inputs: found.append(forward(*inputs)) or found[-1]
    settings = replace(stage.options.train, compile=compiled, max_steps=steps, max_epoch=9, save_every=1)
    Harness(run_dir, task, stage.dataset, None, settings, stage.collate, CPU).fit()
    return [float(each.loss.detach()) for each in found]


def test_compiled_trainings_are_the_others_but_for_rounding_and_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend=BACKEND))
    monkeypatch.setattr("torch.compile", partial(torch.compile, backend=BACKEND))
    plain, compiled = losses(tmp_path / "plain", False, 6), losses(tmp_path / "compiled", True, 3)
    torch._dynamo.utils.counters.clear()
    compiled += losses(tmp_path / "compiled", True, 5)  # goes on compiled
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 8, "lengths of batches are compiled anew"
    compiled += losses(tmp_path / "compiled", False, 6)  # and without
    assert len(compiled) == len(plain) == 6
    torch.testing.assert_close(compiled, plain, rtol=1e-4, atol=0)
    ours, theirs = (read_checkpoint(tmp_path / name / "model" / "latest.tar") for name in ("compiled", "plain"))
    assert list(ours["model"]) == list(theirs["model"])


def test_models_without_such_layers_and_machines_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="--compile: this stage has no layers"):
        compile_layers(nn.Linear(2, 2), CPU)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("No working C++ compiler found\nand much more")

    monkeypatch.setattr("torch.compile", fail)
    with pytest.raises(UserError, match="cannot compile on this machine: No working C.. compiler found$"):
        compile_layers(build_stage("mtrans", tiny=True).task.model, CPU)
