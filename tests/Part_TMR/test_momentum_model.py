"""Queue and momentum copy: what is kept, what follows, what resumes."""

from pathlib import Path

import pytest
import torch
from torch import distributed

from models.configs import PartTMRConfig
from Part_TMR.model import RetrieverModel
from Part_TMR.momentum_model import EmbeddingQueue, Keys, MomentumModel, of_all
from utils.formats import get_format


def small_config(**changes: object) -> PartTMRConfig:
    sizes = {"part_dim": 16, "motion_layers": 1, "motion_ff_size": 16, "patch_frames": 4, "embed_dim": 12}
    text = {"text_encoder": "minilm", "text_layers": 1, "text_dim": 16, "queue_size": 10}
    return PartTMRConfig(**(sizes | text | changes))


def keys(first: int, count: int) -> Keys:
    numbers = torch.arange(first, first + count)
    return Keys(numbers[:, None].float().expand(-1, 3), -numbers[:, None].float().expand(-1, 3), numbers, numbers + 100)


def test_queue_starts_empty() -> None:
    assert [len(entry) for entry in EmbeddingQueue(5, 3).contents()] == [0, 0, 0, 0]


@pytest.mark.parametrize("sizes", [[3, 3, 3, 3], [7], [5, 5], [1, 11, 2], [4, 5, 6]])
def test_queue_keeps_the_last_keys_at_any_batch_size(sizes: list[int]) -> None:
    queue = EmbeddingQueue(5, 3)
    total = 0
    for count in sizes:
        queue.add(keys(total, count))
        total += count
    kept = queue.contents()
    assert sorted(kept.takes.tolist()) == list(range(max(0, total - 5), total))
    assert torch.equal(kept.motion[:, 0], kept.takes.float()) and torch.equal(kept.text[:, 0], -kept.takes.float())
    assert torch.equal(kept.captions, kept.takes + 100)


def test_queue_continues_from_its_state() -> None:
    queue, other = EmbeddingQueue(5, 3), EmbeddingQueue(5, 3)
    queue.add(keys(0, 4))
    other.load_state_dict(queue.state_dict())
    for each in (queue, other):
        each.add(keys(4, 3))
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(queue.contents(), other.contents(), strict=True))


def test_copy_follows_and_stays_in_eval_mode() -> None:
    online = RetrieverModel(small_config(momentum=0.9), get_format("humanml3d"), 8)
    momentum = MomentumModel(online)
    momentum.train()
    assert not any(module.training for module in momentum.model.modules())
    assert not any(parameter.requires_grad for parameter in momentum.parameters())
    before = momentum.model.motion_encoder.projection[0].weight.clone()
    with torch.no_grad():
        for parameter in online.parameters():
            parameter.add_(1.0)
    nothing = Keys(torch.zeros(0, 12), torch.zeros(0, 12), torch.zeros(0, dtype=int), torch.zeros(0, dtype=int))
    momentum.update(online, nothing)
    torch.testing.assert_close(momentum.model.motion_encoder.projection[0].weight, before + 0.1)


def _update_in_process(rank: int, folder: str) -> None:
    """One of two processes."""
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.manual_seed(0)
    online = RetrieverModel(small_config(queue_size=7), get_format("humanml3d"), 8)
    momentum = MomentumModel(online)
    for step in range(2):
        numbers = torch.arange(3) + 100 * rank + 10 * step
        momentum.update(online, of_all(Keys(*[numbers[:, None].float().expand(-1, 12)] * 2, numbers, numbers)))
    contents = momentum.queue.contents()
    assert torch.equal(contents.motion[:, 0].long(), contents.takes), "keys and their owners were mixed up"
    torch.save(contents.takes, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_keys_of_all_processes_join_every_queue(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_update_in_process, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt").tolist() for rank in range(2))
    # In order: 0 100 1 101 2 102 | 10 110 11 111 12 112; the queue keeps the last seven.
    assert first == second and sorted(first) == [10, 11, 12, 102, 110, 111, 112]
