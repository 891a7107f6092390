"""Processes that SLURM's `srun` starts, told in the variables that `torchrun` would set. Torch-free."""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping

FIRST_PORT, PORTS = 20_000, 10_000


def adopt_slurm(environment: MutableMapping[str, str] = os.environ) -> None:
    """Sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT in a process of a step of several tasks.

    What a launcher or the user has set stays. The job's batch script itself is no task of a step.
    """
    tasks = environment.get("SLURM_STEP_NUM_TASKS", "1")
    if tasks == "1" or "RANK" in environment or "SLURM_PROCID" not in environment:
        return
    job, step = (int(environment.get(f"SLURM_{name}_ID", 0)) for name in ("JOB", "STEP"))
    told = {
        "RANK": environment["SLURM_PROCID"],
        "WORLD_SIZE": tasks,
        "LOCAL_RANK": environment.get("SLURM_LOCALID", "0"),
        "MASTER_ADDR": first_host(environment.get("SLURM_STEP_NODELIST", "localhost")),
        "MASTER_PORT": str(FIRST_PORT + (job + step) % PORTS),
    }
    for name, value in told.items():
        environment.setdefault(name, value)


def first_host(nodes: str) -> str:
    """The first of a list as SLURM writes it: `gpu[03-05,9],x1` -> `gpu03`."""
    found = re.match(r"([^\[,]+)(?:\[(\d+)[^\]]*\]([^\[,]*))?", nodes)
    return "".join(part or "" for part in found.groups()) if found else "localhost"
