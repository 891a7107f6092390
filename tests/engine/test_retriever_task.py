"""The retriever's task: it learns, its queue fills, its validation ranks, a resumed run is the uninterrupted one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data.clips import Caption, Clip
from data.collate import collate_motions
from data.datasets import MotionTextDataset
from engine.harness import Harness
from engine.retriever_task import CaptionTexts, RetrieverTask
from engine.settings import TrainSettings
from engine.validation import validate
from models.configs import PartTMRConfig
from models.text_encoder import TextFeatures
from Part_TMR.model import RetrieverModel
from utils.formats import get_format

N_CLIPS = 10
SETTINGS = TrainSettings(
    batch_size=5, max_epoch=30, lr=3e-3, warm_up_iter=0, schedule="constant", eval_every_e=10, save_every=1000
)


class RandomStore:
    """Features of captions, a random sequence each."""

    def __init__(self, count: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.states = torch.randn(count, 5, 8, generator=generator)

    def rows(self, indices: torch.Tensor) -> TextFeatures:
        states = self.states[indices]
        return TextFeatures(states.mean(dim=1), states, torch.ones(states.shape[:2], dtype=torch.bool))


def clips() -> list[Clip]:
    rng = np.random.default_rng(0)
    return [
        Clip(f"{n:06d}", f"{n:06d}", rng.normal(size=(16 + n % 3 * 4, 263)).astype(np.float32), (Caption(f"text {n}"),))
        for n in range(N_CLIPS)
    ]


def make_task(**changes: object) -> tuple[RetrieverTask, MotionTextDataset]:
    torch.manual_seed(0)
    dataset = MotionTextDataset(clips(), random_crop=False)
    sizes = {"part_dim": 16, "motion_layers": 1, "motion_ff_size": 16, "patch_frames": 4, "embed_dim": 12}
    text = {"text_encoder": "minilm", "text_layers": 1, "text_dim": 16}
    training = {"dropout": 0.0, "queue_size": 12, "momentum": 0.5}
    model = RetrieverModel(PartTMRConfig(**(sizes | text | training | changes)), get_format("humanml3d"), 8)
    texts = CaptionTexts(dataset.captions, np.arange(N_CLIPS), RandomStore(N_CLIPS))
    return RetrieverTask(model, texts, texts, motion_lr_factor=3.0, text_lr_factor=0.1, head_lr_factor=2.0), dataset


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"queue_size": 0},
        {"lambda_part": 0.5, "learn_temperature": True},
        {"parts": "whole"},
        {"text_layers": 0, "remove_false_negatives": False},  # as published
    ],
)
def test_learns_its_pairs(tmp_path: Path, changes: dict[str, object]) -> None:
    task, dataset = make_task(**changes)
    Harness(tmp_path, task, dataset, dataset, SETTINGS, collate_motions, "cpu").fit()
    task.eval()
    loader = [collate_motions([dataset[index] for index in range(N_CLIPS)])]
    metrics = validate(task, loader)
    assert metrics["r1"] >= 90 and metrics["motion_to_text/R1"] >= 80
    assert (tmp_path / "model" / "net_best_r1.tar").is_file()


def test_queue_fills_with_the_steps_keys() -> None:
    task, dataset = make_task()
    batch = collate_motions([dataset[index] for index in range(5)])
    losses = task(batch | task.host_fetcher()(batch))
    assert set(task.loss_weights) <= set(losses) and int(task.momentum.queue.added) == 0
    task.after_step()
    kept = task.momentum.queue.contents()
    assert kept.takes.tolist() == list(range(5))
    torch.testing.assert_close(kept.motion.norm(dim=-1), torch.ones(5))


@pytest.mark.parametrize(("remove", "loss"), [(True, 0.0), (False, np.log(2))])
def test_entries_of_the_same_take_are_no_negatives(remove: bool, loss: float) -> None:
    """A batch of one, whose only rival is its own former entry in the queue."""
    task, dataset = make_task(remove_false_negatives=remove)
    batch = collate_motions([dataset[0]])
    batch |= task.host_fetcher()(batch)
    assert task(batch)["text_to_motion"].item() == pytest.approx(0.0)
    task.after_step()
    assert task(batch)["text_to_motion"].item() == pytest.approx(loss, rel=1e-4)


def test_similarities_are_those_of_pairs_and_of_strangers() -> None:
    """Clip 1 is in the batch twice: it is neither its own stranger nor that of its twin."""
    task, dataset = make_task()
    task.eval()
    batch = collate_motions([dataset[index] for index in (0, 1, 1)])
    batch |= task.host_fetcher()(batch)
    metrics = task(batch)
    with torch.no_grad():
        motions = task.model.encode_motion(batch["motion"], batch["mask"]).motion
        texts = task.model.encode_text(task.texts.rows(batch["caption_index"], torch.device("cpu")))
    found = texts @ motions.T
    assert metrics["metric/positive_similarity"].item() == pytest.approx(found.diagonal().mean().item(), abs=1e-5)
    strangers = torch.stack([found[0, 1], found[0, 2], found[1, 0], found[2, 0]]).mean()
    assert metrics["metric/negative_similarity"].item() == pytest.approx(strangers.item(), abs=1e-5)
    fills = [float(metrics["metric/queue_fill"])]
    task.after_step()
    for _ in range(5):
        fills.append(float(task(batch)["metric/queue_fill"]))
        task.after_step()
    assert fills == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]


def test_captions_that_read_alike_are_one() -> None:
    texts = CaptionTexts(["A man walks.", "a man walks", "a man runs"], [0, 1, 2], None)
    assert texts.distinct.tolist() == [0, 0, 1]
    assert texts.rows(torch.tensor([2, 0]), torch.device("cpu")) == ["a man runs", "A man walks."]


def test_parameter_groups_hold_every_parameter_once() -> None:
    task, _ = make_task(learn_temperature=True)
    groups = task.parameter_groups(1.0)
    found = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(found) == sorted(id(parameter) for parameter in task.model.parameters())
    assert {group["lr"] for group in groups} == {3.0, 2.0}
    undecayed = {id(p) for group in groups if group.get("weight_decay") == 0.0 for p in group["params"]}
    for name, parameter in task.model.named_parameters():
        vector = any(word in name for word in ("bias", "norm", "class_token", "temperature"))
        assert (id(parameter) in undecayed) == vector, name


def test_resume_is_exact(tmp_path: Path) -> None:
    settings = replace(SETTINGS, max_epoch=3, save_every=1)
    states = []
    for folder, limits in (("whole", [0]), ("parts", [3, 0])):
        for limit in limits:
            task, dataset = make_task()
            Harness(
                tmp_path / folder, task, dataset, None, replace(settings, max_steps=limit), collate_motions, "cpu"
            ).fit()
        states.append(task.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, atol=1e-6, rtol=1e-5, msg=name)
