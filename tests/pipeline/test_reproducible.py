"""Two starts of the same commands give the same bits: weights, moments and best checkpoints of every stage."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.mini.folder import write
from options.command_line import parse
from options.library import BuildOptions
from options.presets import PRESETS
from options.stages import EvaluatorOptions, LengthOptions, MaskedOptions, ResidualOptions, RetrieverOptions, VQOptions
from pipeline.library import build_library
from pipeline.stages import harness
from storage.checkpoint import read_checkpoint

ROOT = Path(__file__).parents[2]
TOKENS = "--latent_dim 16 --n_heads 2 --ff_size 16 --n_layers 1 --num_workers 1"
STAGES = {
    "evaluator": (EvaluatorOptions, ""),
    "tmr": (RetrieverOptions, "--queue_size 32"),
    "vq": (VQOptions, "--width 16 --nb_code2d 32 --code_dim2d 8 --window_stride 64 --quantize_dropout_prob 0.5"),
    "mtrans": (MaskedOptions, TOKENS),
    "rtrans": (ResidualOptions, TOKENS),
    "length": (LengthOptions, ""),
}


def digests(data: Path, logs: Path) -> dict[str, str]:
    """Trains all stages for two steps; the digest of each run's checkpoints by their names."""
    runs = ["--dataset_name", str(data), "--checkpoints_dir", str(logs), "--gpu_id", "-1"]
    library = ["--database", str(logs / "database")]
    found = {}
    for name, (schema, flags) in STAGES.items():
        if name == "mtrans":
            build_library(parse(BuildOptions, [*runs, "--name", "tmr", "--vq_name", "vq", "--output", library[1]]))
        inputs = [*library, "--vq_name", "vq"] if name.endswith("trans") else []
        command = ["--name", name, "--preset", "mini", "--max_steps", "2", "--batch_size", "8", *runs, *inputs]
        harness(parse(schema, [*command, *flags.split()], PRESETS[schema.stage])).fit()
        for path in sorted((logs / data.name / name / "model").glob("*.tar")):
            digest = hashlib.sha256()
            _take(read_checkpoint(path), digest)
            found[f"{name}/{path.name}"] = digest.hexdigest()
    return found


def _take(content: Any, digest: Any) -> None:
    """All numbers in nested values, in order; not what the command and the folders are called."""
    if isinstance(content, dict):
        for name, value in content.items():
            if name not in ("config", "seconds", "times"):
                digest.update(str(name).encode())
                _take(value, digest)
    elif isinstance(content, torch.Tensor):
        digest.update(content.contiguous().numpy().tobytes())
    elif isinstance(content, float):
        digest.update(content.hex().encode())


def test_two_starts_of_every_stage_give_the_same_bits(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write(data, n_clips=120, workers=1)  # enough in val to choose checkpoints by
    code = "import json, sys; from pathlib import Path; from tests.pipeline.test_reproducible import digests;"
    code += "print(json.dumps(digests(Path(sys.argv[1]), Path(sys.argv[2]))))"
    command = [sys.executable, "-c", code, str(data), str(tmp_path / "other")]
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    other = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500)
    assert not other.returncode, other.stderr
    torch.manual_seed(5)  # what was drawn before must not matter
    np.random.seed(5)
    found = digests(data, tmp_path / "one")
    assert {name.split("/")[0] for name in found} == set(STAGES) and len(found) >= 12
    assert json.loads(other.stdout.splitlines()[-1]) == found
