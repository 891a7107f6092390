"""The project's commands: the trainings that the README publishes, and running any."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from options.stages import (
    EvaluatorOptions,
    LengthOptions,
    MaskedOptions,
    ResidualOptions,
    RetrieverOptions,
    VQOptions,
)
from utils.errors import UserError

Preset = Literal["paper", "tuned", "base", "small", "mini", "open"]
README = Path(__file__).parents[1] / "README.md"
# Stage -> options, and the command of the README that trains it.
COMMANDS: dict[str, tuple[type, str]] = {
    "vq": (VQOptions, "run_rvq.sh"),
    "tmr": (RetrieverOptions, "Part_TMR.scripts.train"),
    "mtrans": (MaskedOptions, "run_mtrans.sh"),
    "rtrans": (ResidualOptions, "run_rtrans.sh"),
    "length": (LengthOptions, "train_length_estimator.py"),
    "evaluator": (EvaluatorOptions, "train_evaluator.py"),
}


def readme_flags(script: str) -> list[str]:
    """The flags of the README's first command line with this script; none where it has no line of its own."""
    for line in README.read_text(encoding="utf-8").splitlines():
        words = shlex.split(line, comments=True) if line.startswith("    ") and script in line else []
        if any(script in word for word in words):
            first = next((place for place, word in enumerate(words) if word.startswith("--")), len(words))
            return words[first:]
    return []


def run_command(module: str, arguments: Sequence[str], **variables: str) -> None:
    """Runs a command of the project.

    Args:
        variables: of its environment, beside those of this process.

    Raises:
        UserError: it failed; its last line.
    """
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise UserError(f"{shlex.join([module, *arguments])} failed: {last}")
