"""The device that `--gpu_id` means. `python -m utils.device 0,1,2` prints those of the GPUs that this machine has."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from utils.errors import UserError

if TYPE_CHECKING:
    import torch


def parse_gpu_id(gpu_id: str | int) -> list[int]:
    """GPU numbers of a flag's value: `0,1,2` -> [0, 1, 2]; `-1` -> [] (the CPU).

    Raises:
        UserError: anything else.
    """
    items = str(gpu_id).split(",")
    if items == ["-1"]:
        return []
    if not all(map(str.isdecimal, items)) or len(set(items)) < len(items):
        raise UserError(f"--gpu_id must look like auto, -1, 0 or 0,1,2, not {gpu_id!r}")
    return list(map(int, items))


def usable_gpus(gpu_id: str | int) -> list[int]:
    """Those of the asked GPUs that this machine has; one line of warning on stderr names the others."""
    import torch

    wanted, count = parse_gpu_id(gpu_id), torch.cuda.device_count()
    usable = [number for number in wanted if number < count]
    if missing := [str(number) for number in wanted if number >= count]:
        instead = f"GPU {','.join(map(str, usable))}" if usable else "the CPU"
        found = f"{count or 'no'} GPU{'s' * (count != 1)}"
        print(f"warning: {found} found, GPU {','.join(missing)} is missing: using {instead}", file=sys.stderr)
    return usable


def choose_device(gpu_id: str | int = "auto") -> torch.device:
    """The device to run on; of several GPUs the one of this process (`LOCAL_RANK`).

    Args:
        gpu_id: `auto` (GPU 0 if there is one, else the CPU), -1 (the CPU), a number, or several with commas.
            A GPU that is missing is a one-line warning and the CPU.
    """
    import torch

    if gpu_id == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    usable = usable_gpus(gpu_id)
    if not usable:
        return torch.device("cpu")
    return torch.device("cuda", usable[int(os.environ.get("LOCAL_RANK", 0)) % len(usable)])


def describe_device(device: torch.device) -> str:
    """The device in words, for whoever reads a table: the GPU's name, or the number of CPU cores."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} CPU core{'s' * (cores != 1)}"


if __name__ == "__main__":
    print(",".join(map(str, usable_gpus(sys.argv[1]))) or -1)
