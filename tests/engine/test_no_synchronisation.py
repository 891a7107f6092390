"""No step of any stage makes the host wait for the device, apart from the harness's one transfer of the losses.

The meta device stands for a GPU: its tensors have shapes and no values, so whatever needs a value (`.item()`, `if
tensor`, `nonzero`, indexing by a boolean mask, `.cpu()`) fails at its line. What a meta device would let pass, copies
from the host that are waited for, is found by looking at every operation.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from accelerate.utils import send_to_device
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.gpu.stages import STAGES, Stage, build_stage
from engine.task import Task

COPIES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}
NEW_TENSORS = {torch.tensor, torch.as_tensor, torch.Tensor.new_tensor}  # they copy without an operation


class CopyWatch(TorchDispatchMode):
    """Refuses copies from the host that are waited for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func in COPIES and not kwargs.get("non_blocking", False):
            source = args[1] if func is torch.ops.aten.copy_.default else args[0]
            assert source.device == result.device, f"{func} from {source.device} to {result.device}"
        return result


class NewTensorWatch(TorchFunctionMode):
    """Refuses tensors that are made of numbers of the host."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        assert func not in NEW_TENSORS or result.device.type == "cpu", f"{func} onto {result.device}"
        return result


@contextlib.contextmanager
def watch() -> Iterator[None]:
    """No copy to the device may be waited for."""
    with CopyWatch(), NewTensorWatch():
        yield


def on_meta(stage: Stage) -> tuple[Task, dict[str, Any]]:
    """The task and a batch there, after two steps, one on the CPU and one there: first steps may wait."""
    task, batch = stage.task.train(), stage.batch()
    step(task, batch)
    task.zero_grad()
    task.to("meta")
    if hasattr(task, "conditions") and task.conditions.database is not None:
        task.conditions.database = task.conditions.database.to("meta")
        task.conditions.pool = task.conditions.pool.to("meta")
        if task.conditions.variations:
            task.conditions.sentences = task.conditions.sentences.to("meta")
            for name in ("tokens", "steps", "clips", "motions"):
                setattr(task.conditions.variations, name, getattr(task.conditions.variations, name).to("meta"))
    batch = send_to_device(batch, "meta", non_blocking=True)
    step(task, batch)
    return task, batch


def step(task: Task, batch: dict[str, Any]) -> None:
    """What the harness does around a task, less what is PyTorch's own optimiser."""
    losses = task(batch)
    total = sum(weight * losses[name].float() for name, weight in task.loss_weights.items())
    total.backward()
    torch.nn.utils.clip_grad_norm_([each for each in task.parameters() if each.grad is not None], 1.0)
    task.after_step()


@pytest.fixture
def no_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """The meta device knows no autocast."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())


@pytest.mark.parametrize("name", STAGES)
def test_a_step_asks_the_device_nothing(name: str, no_autocast: None) -> None:
    torch.manual_seed(0)
    task, batch = on_meta(build_stage(name, tiny=True))
    with watch():
        step(task, batch)


@pytest.mark.parametrize("retrieved", ["none", "global", "parts"])
@pytest.mark.parametrize("name", ["mtrans", "rtrans"])
def test_nor_does_any_kind_of_retrieval(name: str, retrieved: str, no_autocast: None) -> None:
    torch.manual_seed(0)
    task, batch = on_meta(build_stage(name, tiny=True, flags=["--retrieved", retrieved, "--block", "interleaved"]))
    with watch():
        step(task, batch)


@pytest.mark.parametrize("name", ["mtrans", "rtrans"])
def test_nor_do_variations_and_trust(name: str, no_autocast: None) -> None:
    torch.manual_seed(0)
    flags = ["--retrieved", "levels", "--trust", "--own_retrieval_prob", "0.3", "--random_retrieval_prob", "0.1"]
    task, batch = on_meta(build_stage(name, tiny=True, flags=flags))
    with watch():
        step(task, batch)


@pytest.mark.parametrize(
    "question",
    [
        lambda rows: rows.sum().item(),
        lambda rows: rows[rows > 0],
        lambda rows: rows.nonzero(),
        lambda rows: rows.masked_select(rows > 0),
        lambda rows: rows.unique(),
        lambda rows: bool((rows > 0).any()),
        lambda rows: rows.cpu(),
        lambda rows: rows.new_tensor([1.0, 2.0]),
        lambda rows: torch.tensor([1.0]).to(rows.device),
    ],
)
def test_a_question_is_noticed(question: Callable[[torch.Tensor], Any]) -> None:
    with watch(), pytest.raises((RuntimeError, NotImplementedError, AssertionError)):
        question(torch.ones(3, device="meta"))
