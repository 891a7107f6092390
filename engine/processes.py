"""The company of processes that train together, on one device each, and the precision that they compute in."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import torch
import torch.distributed
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

from utils.errors import UserError

PATIENCE = timedelta(minutes=30)  # of a process for the others: a slow start, a batch of validation, a checkpoint


def join_processes(distributed: dict[str, Any], precision: str, device: torch.device | str | None) -> Accelerator:
    """Joins the processes that `utils.launch` or the like has started; alone where there are no others.

    Args:
        distributed: arguments of DistributedDataParallel.
        precision: of the forward pass: no, bf16 or fp16.
        device: where to run; default the first GPU if there is one.

    Raises:
        UserError: fp16 on a CPU.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if precision == "fp16" and device.type != "cuda":
        raise UserError("--mixed_precision fp16 needs a GPU: use no or bf16")
    if not torch.distributed.is_initialized():
        AcceleratorState._reset_state(reset_partial_state=True)  # a former harness may have set another
    if device.index is not None and device.type == "cuda":
        torch.cuda.set_device(device)
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision=precision,
        kwargs_handlers=[DistributedDataParallelKwargs(**distributed), InitProcessGroupKwargs(timeout=PATIENCE)],
    )


def part_together(accelerator: Accelerator) -> None:
    """Ends the company, once the caller holds no wrapper: its threads must not outlive the group."""
    torch.distributed.barrier()
    accelerator.free_memory()
    torch.distributed.destroy_process_group()
