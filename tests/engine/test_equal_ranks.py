"""Every stage computes the same whatever the number of processes: gradients, losses, metrics, queues, codebooks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from data.collate import collate_motions
from engine.schedule import seed_everything
from engine.settings import VQLossWeights
from engine.task import Task
from engine.token_tasks import MaskedTask, ResidualTask
from engine.vq_task import VQTask
from models.configs import MaskedTransformerConfig, ResidualTransformerConfig, RVQConfig
from models.transformer.condition import ConditionDims
from models.transformer.masked import MaskedTransformer
from models.transformer.residual import ResidualTransformer
from models.vq.rvq import RVQVAE
from tests.engine import test_evaluator_task, test_retriever_task
from tests.engine.test_stage_tasks import SIZES, TOKENS, Captions, decode
from tests.engine.test_validation import launched, stages, token_batches
from utils.formats import get_format
from utils.processes import Draws, place

SAMPLES, STEPS = 8, 3
TOLERANCE = 1e-5  # of a tensor's largest value, or of FLOOR of the stage's largest gradient: some have none but noise
FLOOR = 1e-3
LOCAL = {"metric/token_spread"}  # of the first samples of each process


def collate_trimmed(items: list[dict[str, Tensor]]) -> dict[str, Any]:
    """Token batches as long as their longest sample: processes see different padding."""
    batch = {name: torch.stack([item[name] for item in items]) for name in items[0]}
    steps = int(batch["mask"].sum(dim=1).max())
    return {**batch, "tokens": batch["tokens"][:, :steps], "mask": batch["mask"][:, :steps], "texts": None}


def trainings() -> dict[str, tuple[Task, list[Any], Callable[[list[Any]], Any]]]:
    """A tiny task of every kind, the samples of a batch, and how they are collated."""
    torch.manual_seed(0)
    rows = [dict(zip(batch, values, strict=True)) for batch in token_batches() for values in zip(*batch.values())]  # noqa: B905
    dims, sizes = ConditionDims(text=8), SIZES | {"dropout": 0.0}
    withheld = {"cond_drop_prob": 0.2, "text_drop_prob": 0.2}
    masked = MaskedTransformer(MaskedTransformerConfig(**sizes, **withheld), dims, TOKENS)
    residual = ResidualTransformer(ResidualTransformerConfig(**sizes, **withheld), dims, TOKENS)
    config = RVQConfig(width=8, depth=1, code_dim2d=4, nb_code2d=32, num_quantizers=3, merge_parts="early")
    vq = RVQVAE(config, get_format("humanml3d"))
    evaluator, sided, _ = test_evaluator_task.make_task()
    retriever = test_retriever_task.make_task
    queue, clips = retriever(lambda_part=0.5, learn_temperature=True)
    windows = [{"motion": clips[row]["motion"][:16]} for row in range(SAMPLES)]
    texts = [clips[row] for row in range(SAMPLES)]
    return {
        "vq": (VQTask(vq, VQLossWeights(drift_weight=0.1)), windows, collate_motions),
        "mtrans": (MaskedTask(masked, Captions(), decode), rows, collate_trimmed),
        "rtrans": (ResidualTask(residual, Captions(), decode), rows, collate_trimmed),
        "tmr queue": (queue, texts, collate_motions),
        "tmr in batch": (retriever(lambda_part=0.5, queue_size=0)[0], texts, collate_motions),
        "evaluator": (evaluator, [sided[row] for row in range(SAMPLES)], collate_motions),
        "length": (stages()["length"][0], texts, collate_motions),
    }


def step_of(task: Task, samples: list[Any], collate: Callable[[list[Any]], Any], number: int) -> dict[str, Any]:
    """Gradients and means of the losses that this process and the others find in their shares of the samples."""
    rank, world = place()
    seed_everything(1, number, rank=rank)
    batch = collate(samples[:SAMPLES][rank::world])
    if "texts" not in batch:
        batch |= fetch(batch) if (fetch := task.host_fetcher()) else {}
    wrapped = DistributedDataParallel(task, **task.distributed) if world > 1 else task
    task.zero_grad()
    losses = wrapped(batch)
    task.weighted_sum(losses).backward()
    task.after_step()
    found = {name: loss.detach().clone() for name, loss in losses.items() if name not in LOCAL}
    if world > 1:
        for loss in found.values():
            distributed.all_reduce(loss)
            loss /= world
    gradients = {f"gradient of {name}": each.grad for name, each in task.named_parameters() if each.grad is not None}
    return found | gradients


def results() -> dict[str, dict[str, Tensor]]:
    """By stage, all that three steps compute, and the state that they leave."""
    found = {}
    for stage, (task, samples, collate) in trainings().items():
        task.train()
        rows: dict[str, Tensor] = {}
        for number in range(STEPS):
            for name, value in step_of(task, samples, collate, number).items():
                rows[f"{name} of step {number}"] = value.clone()
        found[stage] = rows | {name: value.clone() for name, value in task.state_dict().items()}
    return found


def largest(values: Tensor) -> float:
    """Of the absolute values, where there are any."""
    return float(values.double().nan_to_num().abs().max())


def compare(folder: str) -> None:
    """One of two processes."""
    alone = results()
    distributed.init_process_group("gloo")
    shared = results()
    worst = {}
    for stage, expected in alone.items():
        assert expected.keys() == shared[stage].keys()
        floor = FLOOR * max(largest(value) for name, value in expected.items() if name.startswith("gradient"))
        differences = {
            name: largest(shared[stage][name].double() - value.double()) / max(largest(value), floor)
            for name, value in expected.items()
        }
        name = max(differences, key=differences.get)
        worst[stage] = [name, differences[name]]
    (Path(folder) / f"{place()[0]}.json").write_text(json.dumps(worst))
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_compute_what_one_computes(tmp_path: Path) -> None:
    launched("import sys\nfrom tests.engine.test_equal_ranks import compare\ncompare(sys.argv[1])", 2, tmp_path)
    for rank in (0, 1):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert len(found) == 7
        for stage, (name, difference) in found.items():
            assert difference < TOLERANCE, f"{stage}: {name} differs by {difference:.2e}"


def test_draws_depend_on_the_sample_and_on_nothing_else() -> None:
    device = torch.device("cpu")
    whole = Draws(6, device, seed=1).uniform(5, 3)
    halves = [Draws(3, device, seed=1) for _ in range(2)]
    for rank, half in enumerate(halves):
        half.rank, half.world = rank, 2
    shares = [half.uniform(4, 3) for half in halves]  # and less padding
    assert torch.equal(torch.stack(shares, dim=1).flatten(0, 1), whole[:, :4])
    many = Draws(100, device, seed=2)
    first, second = many.uniform(1000), many.uniform(1000)
    for numbers in (first, second, first[:50] - first[50:] + 0.5, (first - second + 0.5), first[:, 1:] - first[:, :-1]):
        assert abs(float(numbers.mean()) - 0.5) < 0.51 and len(numbers.unique()) > 1000
    histogram = torch.histc(first, 50, 0, 1) / first.numel()
    assert (histogram - 0.02).abs().max() < 0.002
    table = torch.stack([first.flatten(), second.flatten(), first.roll(1, 0).flatten(), first.roll(1, 1).flatten()])
    assert (torch.corrcoef(table) - torch.eye(4)).abs().max() < 0.02
