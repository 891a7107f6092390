"""Steps in pieces: the gradient of the whole batch, exact resumes, and a refusal where pieces mean something else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from data.collate import collate_motions
from engine.harness import Harness
from engine.settings import TrainSettings
from storage.checkpoint import read_checkpoint
from tests.engine.test_evaluator_task import make_task as make_evaluator
from tests.engine.test_harness import SETTINGS, Fit, Points, crashed, same_state, train
from tests.engine.test_retriever_task import make_task as make_retriever
from tests.engine.test_validation import launched, stages
from utils.errors import UserError

IN_PIECES = replace(SETTINGS, accumulate=3)  # of 1, 1 and 2 samples


class Plain(Fit):
    """The same without random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.model.layers[1].p = 0.0

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        self.in_step(len(self.losses))
        error = (self.model(batch["x"]) - batch["y"]).square().mean()
        self.losses.append(float(error.detach()))
        return {"error": error, "size": self.model.layers[0].weight.square().sum()}


def latest(folder: Path) -> dict[str, Tensor]:
    return read_checkpoint(folder / "model" / "latest.tar")["model"]


def assert_close(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    for name in first.keys() - {"seen"}:
        torch.testing.assert_close(first[name], second[name], rtol=1e-4, atol=1e-6, msg=name)


def test_pieces_give_the_whole_batchs_steps(tmp_path: Path) -> None:
    whole, pieces = train(tmp_path / "whole", Plain()), train(tmp_path / "pieces", Plain(), IN_PIECES)
    assert len(pieces.losses) == 3 * len(whole.losses)
    for step, loss in enumerate(whole.losses):
        one, other, pair = pieces.losses[3 * step : 3 * step + 3]
        assert (one + other + 2 * pair) / 4 == pytest.approx(loss, rel=1e-4)
    assert_close(latest(tmp_path / "whole"), latest(tmp_path / "pieces"))
    lines = [(tmp_path / name / "train.log").read_text().splitlines()[0].split(" | ") for name in ("whole", "pieces")]
    assert lines[0][:6] == lines[1][:6], "the losses told are those of the whole batch"


@pytest.mark.parametrize("crash_at", [4, 19])
def test_a_killed_run_in_pieces_goes_on_exactly(crash_at: int, tmp_path: Path) -> None:
    settings = replace(IN_PIECES, num_workers=0)
    train(tmp_path / "whole", settings=settings)
    crashed(tmp_path / "parts", settings, crash_at)  # the task counts pieces
    assert read_checkpoint(tmp_path / "parts" / "model" / "latest.tar")["step"] == crash_at // 3
    train(tmp_path / "parts", settings=settings)
    assert same_state(latest(tmp_path / "parts"), latest(tmp_path / "whole"))


def test_gradients_are_exchanged_once_a_step(tmp_path: Path) -> None:
    harness = Harness(tmp_path, Plain(), Points(), None, replace(IN_PIECES, max_steps=2), device="cpu")
    quiet, no_sync = [], harness.accelerator.no_sync
    harness.accelerator.no_sync = lambda wrapped: quiet.append(wrapped) or no_sync(wrapped)
    harness.fit()
    assert len(quiet) == 4 and all(wrapped is harness.wrapped for wrapped in quiet)


def test_more_pieces_than_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--accumulate 5: a step has only 4 samples a process"):
        Harness(tmp_path, Plain(), Points(), None, replace(SETTINGS, accumulate=5), device="cpu")


def test_losses_that_need_the_whole_batch_are_refused(tmp_path: Path) -> None:
    settings = TrainSettings(batch_size=4, accumulate=2)
    retriever, data = make_retriever(queue_size=0)
    with_parts, _ = make_retriever(lambda_part=0.5)
    for task, words in (
        (stages()["vq"][0], "the codebook follows"),
        (make_evaluator()[0], "compares the samples of a batch"),
        (retriever, "compares the samples of a batch"),
        (with_parts, "compares the samples of a batch"),
    ):
        with pytest.raises(UserError, match=f"--accumulate 2 does not work here: .*{words}"):
            Harness(tmp_path, task, data, None, settings, collate_motions, "cpu")


def test_the_keys_of_all_pieces_join_the_queue(tmp_path: Path) -> None:
    added = []
    for accumulate in (1, 2):
        task, data = make_retriever()
        settings = TrainSettings(batch_size=5, accumulate=accumulate, max_steps=2, warm_up_iter=0, lr=1e-3)
        Harness(tmp_path / str(accumulate), task, data, None, settings, collate_motions, "cpu").fit()
        assert int(task.momentum.queue.added) == 10
        added.append(task.momentum.queue.takes)
    assert torch.equal(*added)


TWO_PROCESSES = """
import json, os, sys
from dataclasses import replace
from pathlib import Path
from tests.engine.test_accumulation import Plain, SETTINGS
from tests.engine.test_harness import Harness, Points
import torch
task, folder = Plain(), Path(sys.argv[1])
with torch.no_grad():
    task.model.layers[0].weight += int(os.environ["RANK"])  # the first process's weights win, in the average too
settings = replace(SETTINGS, accumulate=2, ema=0.5)
harness = Harness(folder / "two", task, Points(), Points(9), settings, device="cpu")
harness.fit()
state = {name: value.tolist() for name, value in task.state_dict().items()}
average = {name: value.tolist() for name, value in harness.average.others.items()}
(folder / f"{os.environ['RANK']}.json").write_text(json.dumps([state, average]))
"""


@pytest.mark.slow
def test_two_processes_in_pieces_are_one_process(tmp_path: Path) -> None:
    launched(TWO_PROCESSES, 2, tmp_path)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    train(tmp_path / "one", Plain(), replace(SETTINGS, ema=0.5))
    for name in ("latest.tar", "net_best_mse.tar"):
        one, two = (read_checkpoint(tmp_path / run / "model" / name) for run in ("one", "two"))
        assert_close(one["model"], two["model"])
        assert_close(one.get("trained", {}), two.get("trained", {}))
