"""Validation shared by processes: the metrics are those of one process, and none waits for an interrupted one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.collate import collate_motions
from engine.judge import FrechetJudge
from engine.length_task import LengthTask
from engine.schedule import seed_everything
from engine.settings import VQLossWeights
from engine.task import Task
from engine.token_tasks import MaskedTask, ResidualTask
from engine.validation import LARGEST_BATCH, validation_batches
from engine.vq_task import VQTask
from models.configs import LengthEstimatorConfig, MaskedTransformerConfig, ResidualTransformerConfig, RVQConfig
from models.length_estimator import LengthEstimator
from models.transformer.condition import ConditionDims
from models.transformer.masked import MaskedTransformer
from models.transformer.residual import ResidualTransformer
from models.vq.rvq import RVQVAE
from tests.engine import test_evaluator_task, test_retriever_task
from tests.engine.test_stage_tasks import CODES, LEVELS, PARTS, SIZES, TOKENS, Captions, MeanEvaluator, decode
from utils.formats import get_format

ROOT = Path(__file__).parents[2]
COUNT, BATCH = 9, 2  # five batches: three and two for two processes


def batches_of(dataset: Any) -> list[dict[str, Any]]:
    rows = [list(range(start, min(start + BATCH, COUNT))) for start in range(0, COUNT, BATCH)]
    return [collate_motions([dataset[row] for row in group]) for group in rows]


def token_batches() -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(CODES, (COUNT, 5, PARTS, LEVELS), generator=generator)
    mask = torch.arange(5) < torch.randint(2, 6, (COUNT, 1), generator=generator)
    numbers = torch.arange(COUNT) % 8
    parts = zip(*(rows.split(BATCH) for rows in (tokens, mask, numbers)), strict=True)
    return [{"tokens": codes, "mask": valid, "caption_index": index} for codes, valid, index in parts]


def stages() -> dict[str, tuple[Task, list[dict[str, Any]]]]:
    """A tiny task of every stage with its validation batches, always the same."""
    rng = np.random.default_rng(0)
    judge = FrechetJudge(MeanEvaluator(), rng.normal(size=(8, 2)))
    dims, tokens = ConditionDims(text=8), token_batches()
    retriever, clips = test_retriever_task.make_task()
    evaluator, _, val = test_evaluator_task.make_task()
    evaluator.validation_texts.clips = np.arange(COUNT)
    evaluator.validation_texts.captions = evaluator.validation_texts.captions[:COUNT]
    retriever.validation_texts.clips = np.arange(COUNT)
    retriever.validation_texts.captions = retriever.validation_texts.captions[:COUNT]
    seed_everything(0)
    vq = RVQVAE(
        RVQConfig(width=8, depth=1, code_dim2d=4, nb_code2d=8, num_quantizers=2, merge_parts="early"),
        get_format("humanml3d"),
    )
    vq.train()(batches_of(clips)[0]["motion"])
    store = test_retriever_task.RandomStore(COUNT)
    length = LengthEstimator(LengthEstimatorConfig(latent_dim=8, n_heads=2, n_layers=1, dropout=0.0), 8)
    masked = MaskedTransformer(MaskedTransformerConfig(**SIZES), dims, TOKENS)
    residual = ResidualTransformer(ResidualTransformerConfig(**SIZES), dims, TOKENS)
    return {
        "vq": (VQTask(vq, VQLossWeights(), judge), batches_of(clips)),
        "mtrans": (MaskedTask(masked, Captions(), decode, judge), tokens),
        "rtrans": (ResidualTask(residual, Captions(), decode, judge), tokens),
        "tmr": (retriever, batches_of(clips)),
        "evaluator": (evaluator, batches_of(val)),
        "length": (LengthTask(length, store, 4), batches_of(clips)),
    }


VALIDATES = """
import json, os, sys, torch
from pathlib import Path
from engine.validation import validate
from tests.engine.test_validation import stages
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
torch.distributed.init_process_group("gloo")
shared = {
    name: validate(task, batches[rank::world], 1, rank, world, -(-len(batches) // world))
    for name, (task, batches) in stages().items()
}
alone = {name: validate(task, batches, 1) for name, (task, batches) in stages().items()}
(Path(sys.argv[1]) / f"{rank}.json").write_text(json.dumps([shared, alone]))
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""

INTERRUPTED = """
import os, signal, sys
from pathlib import Path
from tests.engine.test_harness import SETTINGS, Fit, Harness, Points
from dataclasses import replace
from utils.formats import get_format
rank = int(os.environ["RANK"])
class Stopped(Fit):
    def validate_batch(self, batch, number):
        (Path(sys.argv[1]) / f"validated_{number}").touch()
        if number == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().validate_batch(batch, number)
try:
    Harness(Path(sys.argv[1]) / "run", Stopped(), Points(), Points(40), replace(SETTINGS, ema=0.5), device="cpu").fit()
except SystemExit as error:
    (Path(sys.argv[1]) / f"code_{rank}").write_text(str(error.code))
"""


def launched(script: str, count: int, folder: Path) -> None:
    path = folder / "script.py"
    path.write_text(script)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "utils.launch", "--nproc_per_node", str(count), str(path), str(folder)]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr[-3000:]


def test_batches_do_not_depend_on_what_fits_a_step() -> None:
    assert validation_batches(5, 2) == [[0, 1], [2, 3], [4]] and validation_batches(0, 2) == []
    assert [len(batch) for batch in validation_batches(150, 4096)] == [LARGEST_BATCH, LARGEST_BATCH, 22]


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    launched(VALIDATES, 2, tmp_path)
    (first, alone), (second, _) = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second == alone
    wanted = {"vq": "fid", "mtrans": "fid", "rtrans": "fid", "tmr": "r1", "evaluator": "mirror_rejected"}
    for stage, metric in (wanted | {"length": "frames_off"}).items():
        assert np.isfinite(alone[stage][metric]), stage


@pytest.mark.slow
def test_a_signal_to_one_process_ends_the_validation_of_both(tmp_path: Path) -> None:
    launched(INTERRUPTED, 2, tmp_path)
    assert [(tmp_path / f"code_{rank}").read_text() for rank in (0, 1)] == ["130", "130"]
    assert (tmp_path / "validated_3").is_file() and not (tmp_path / "validated_4").exists()
    assert (tmp_path / "run" / "model" / "latest.tar").is_file()
