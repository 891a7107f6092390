"""The company of processes that train together, on one device each, and the precision that they compute in."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import signal
import socket
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import torch
import torch.distributed
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

from engine.differences import differences
from engine.settings import TRACKERS
from utils.errors import UserError, listed
from utils.processes import place
from utils.schema import to_dict

PATIENCE = timedelta(minutes=30)  # of a process for the others: a slow start, a batch of validation, a checkpoint
SET_PARENT_DEATH_SIGNAL = 1  # of Linux's prctl
# Options that the processes may have of their own.
OWN = {"command", "gpu_id", "num_workers", "checkpoints_dir", "database"}


def join_processes(
    distributed: dict[str, Any], precision: str, device: torch.device | str | None, tracker: str = "none"
) -> Accelerator:
    """Joins the processes that `utils.launch` or the like has started; alone where there are no others.

    Args:
        distributed: arguments of DistributedDataParallel.
        precision: of the forward pass: no, bf16 or fp16.
        device: where to run; default the first GPU if there is one.
        tracker: see `engine.tracking`.

    Raises:
        UserError: fp16 on a CPU.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if precision == "fp16" and device.type != "cuda":
        raise UserError("--mixed_precision fp16 needs a GPU: use no or bf16")
    if "TORCHELASTIC_RUN_ID" in os.environ:
        _end_with_launcher()
    if not torch.distributed.is_initialized():
        AcceleratorState._reset_state(reset_partial_state=True)  # a former harness may have set another
    if device.index is not None and device.type == "cuda":
        torch.cuda.set_device(device)
    accelerator = Accelerator(
        cpu=device.type == "cpu",
        mixed_precision=precision,
        log_with=tracker if tracker in TRACKERS else None,
        kwargs_handlers=[DistributedDataParallelKwargs(**distributed), InitProcessGroupKwargs(timeout=PATIENCE)],
    )
    atexit.unregister(_part_alone)
    atexit.register(_part_alone)
    return accelerator


def _part_alone() -> None:
    """Leaves the company at an end that was not agreed on.

    Its threads, where they are still there when Python ends, abort the process at times: the exit code that told a
    mistake of the user's would be lost, and the launcher would start again.
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _end_with_launcher() -> None:
    """Where torchrun is killed, and another one may come in its place, the processes that it started go too."""
    with contextlib.suppress(OSError, AttributeError):  # not Linux
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def agree(facts: Mapping[str, Any]) -> None:
    """Called by all processes together: what they know must be the same.

    Args:
        facts: plain, nested values by name.

    Raises:
        UserError: in all processes; what differs, and where.
    """
    world = place()[1]
    if world == 1:
        return
    told: list[Any] = [None] * world
    torch.distributed.all_gather_object(told, (socket.gethostname(), dict(facts)))
    first, wanted = told[0]
    for rank, (host, others) in enumerate(told):
        words = f"{{}} is {{:.60}} in process 0 ({first}) and {{:.60}} in process {rank} ({host})"
        if found := list(differences(wanted, others, OWN, words=words)):
            raise UserError(f"the processes do not train the same: {listed(found)}")


def agree_on_data(settings: Any, datasets: Mapping[str, Any]) -> None:
    """Called by all processes together: raises `UserError` in all where some have other settings or data.

    Several processes read all of their data for that.
    """
    facts: dict[str, Any] = {"train": to_dict(settings)}
    for split, dataset in datasets.items():
        if dataset is not None and place()[1] > 1:
            facts[f"the number of {split} samples"] = len(dataset)
            if hasattr(dataset, "digest"):
                facts[f"the fingerprint of the {split} data"] = dataset.digest()
    agree(facts)


def decided_by_first(action: Callable[[], None]) -> None:
    """Called by all processes together: the first one does it, and its `UserError` is that of all."""
    rank, world = place()
    told: list[str | None] = [None]
    if rank == 0:
        try:
            action()
        except UserError as error:
            told = [str(error)]
    if world > 1:
        torch.distributed.broadcast_object_list(told)
    if told[0] is not None:
        raise UserError(told[0])


def part_together(accelerator: Accelerator) -> None:
    """Ends the company, once the caller holds no wrapper: its threads must not outlive the group."""
    torch.distributed.barrier()
    accelerator.free_memory()
    torch.distributed.destroy_process_group()
