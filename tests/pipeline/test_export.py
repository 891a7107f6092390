"""An exported run is a run: its config and weights, small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.export import export_run
from storage.checkpoint import load_state, read_checkpoint, save_checkpoint
from storage.checkpoint_names import resolve_checkpoint
from storage.files import write_json
from utils.errors import UserError
from utils.run import Run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64))
    write_json(tmp_path / "run" / "config.json", {"stage": "vq", "command": "python train_vq.py", "train": {"seed": 1}})
    content = {"model": model.state_dict(), "step": 7, "metrics": {"mpjpe": 0.5}, "config": {}}
    save_checkpoint(tmp_path / "run" / "model" / "net_best_mpjpe.tar", content)
    save_checkpoint(tmp_path / "run" / "model" / "latest.tar", content | {"optimizer": {}})
    return tmp_path / "run"


def test_export_is_half_as_large_and_loads_strictly(run: Path, tmp_path: Path) -> None:
    weights = export_run(run, tmp_path / "out")
    assert weights == tmp_path / "out" / "model" / "net_best_mpjpe.safetensors" == resolve_checkpoint(tmp_path / "out")
    config = Run(tmp_path / "out").config
    assert config["command"] == "python train_vq.py" and config["train"] == {"seed": 1}
    assert config["exported"] == {"checkpoint": "net_best_mpjpe.tar", "step": 7, "metrics": {"mpjpe": 0.5}}
    state = read_checkpoint(weights)["model"]
    assert state["0.weight"].dtype == torch.float16 and state["1.num_batches_tracked"].dtype == torch.int64
    model = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64))
    load_state(model, state, weights)
    original = read_checkpoint(run / "model" / "latest.tar")["model"]
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, original[name], rtol=1e-3, atol=1e-4)


def test_an_exported_run_can_be_exported_again(run: Path, tmp_path: Path) -> None:
    export_run(run, tmp_path / "out")
    export_run(tmp_path / "out", tmp_path / "again")
    assert Run(tmp_path / "again").config == Run(tmp_path / "out").config


def test_mistakes(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is the run itself"):
        export_run(run, run)
    with pytest.raises(UserError, match="no checkpoint 'fid'"):
        export_run(run, tmp_path / "out", "fid")
    save_checkpoint(run / "model" / "net_best_mpjpe.tar", {"weights": {}})
    with pytest.raises(UserError, match="holds no model"):
        export_run(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_command_line(run: Path, tmp_path: Path) -> None:
    command = [sys.executable, "export_run.py", "--out", str(tmp_path / "out"), "--run"]
    result = subprocess.run([*command, str(run)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0 and "net_best_mpjpe.safetensors (0.0 MB)" in result.stdout
    result = subprocess.run([*command, "no/run"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2 and result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
