"""What only a GPU can show, in half an hour: `bash tests/gpu_check.sh [--tiny] [--out DIR] [--gpu_id N]`.

Writes gpu_check.md and gpu_check.json. Exit code 0: all passed, 1: something failed, 2: it cannot be run.
"""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from options.command_line import parse
from options.groups import device_option
from utils.errors import UserError, run_script
from utils.schema import option

# Section, time limit in seconds (half an hour in all), what yields its rows, and what that is told first.
SECTIONS: tuple[tuple[str, float, str, tuple[str, ...]], ...] = (
    ("CPU against GPU: generation", 120, "benchmarks.gpu.parity:generation_rows", ()),
    ("CPU against GPU: retrieval", 60, "benchmarks.gpu.parity:retrieval_rows", ()),
    ("CPU against GPU: losses", 60, "benchmarks.gpu.parity:loss_rows", ()),
    *(
        (f"Training steps: {stage}", 190, "benchmarks.gpu.steps:step_rows", (stage,))
        for stage in ("vq", "tmr", "mtrans", "rtrans", "length", "evaluator")
    ),
    ("Latency", 120, "benchmarks.gpu.latency:latency_rows", ()),
    ("Kill and resume", 120, "benchmarks.gpu.trainings:resume_rows", ()),
    ("Two processes", 100, "benchmarks.gpu.trainings:process_rows", ()),
)
MACHINE_LIMIT = 60.0
CPU_PATIENCE = 5  # a busy CPU has so many times the limits, which there only end what hangs


@dataclass(frozen=True)
class GPUCheckOptions:
    """Sizes and place."""

    tiny: bool = option(False, "small sizes everywhere, also on a CPU: shows that the check itself works")
    out: str = option("outputs/gpu_check", "folder of gpu_check.md, gpu_check.json and gpu_check.log")
    gpu_id: str = device_option()


def machine_rows(gpu_id: str) -> Iterator[Any]:
    """One row whose figures describe the machine; `device` is what everything else runs on."""
    import accelerate
    import torch

    from benchmarks.gpu.report import Row
    from utils.device import choose_device, describe_device

    device = choose_device(gpu_id)
    figures = {
        "device": str(device),
        "name": describe_device(device),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "accelerate": accelerate.__version__,
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        figures |= {
            "GPUs": torch.cuda.device_count(),
            "GPU memory, GB": round(properties.total_memory / 1e9, 1),
            "compute capability": f"{properties.major}.{properties.minor}",
            "CUDA": torch.version.cuda,
            "cuDNN": torch.backends.cudnn.version(),
        }
    yield Row("machine", None, figures)


def main() -> int:
    """Runs all sections, whatever becomes of each, and writes the reports."""
    options = parse(GPUCheckOptions, description=__doc__)

    from benchmarks.gpu.isolation import run_section
    from benchmarks.gpu.report import write_reports

    out = Path(options.out)
    log = out / "gpu_check.log"
    try:
        out.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")
    except OSError as error:
        raise UserError(f"cannot write into --out {out}: {error.strerror}") from error
    found = run_section("machine", MACHINE_LIMIT, log, "benchmarks.gpu.__main__:machine_rows", options.gpu_id)
    if not found.rows:
        raise UserError(f"this machine cannot be used: {found.failure}")
    machine = {**found.rows[0].figures, "sizes": "tiny" if options.tiny else "the paper's"}
    if not options.tiny and machine["device"] == "cpu":
        raise UserError("there is no GPU here: --tiny runs the check at small sizes on the CPU")
    on_cpu = machine["device"] == "cpu"
    if on_cpu:
        # Once for all; with a GPU this process must not load what asks for it. Optimisers load torch._dynamo.
        for module in {"torch._dynamo", *(section.split(":")[0] for _, _, section, _ in SECTIONS)}:
            importlib.import_module(module)
    done = []
    for name, limit, section, first in SECTIONS:
        limit *= CPU_PATIENCE if on_cpu else 1
        done.append(run_section(name, limit, log, section, *first, options.tiny, machine["device"]))
        write_reports(out, machine, done)
        verdict = "passed" if done[-1].passed else f"FAILED {done[-1].failure}"
        print(f"{name}: {verdict} ({done[-1].seconds:.0f} s)", flush=True)
    print(f"{out / 'gpu_check.md'}, {log.name} beside it holds what the sections printed")
    return 0 if all(section.passed for section in done) else 1


if __name__ == "__main__":
    run_script(main)
