"""The scripts for SLURM, with stand-ins for its commands: what they would run is what our scripts take."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from options.command_line import parse
from options.presets import PRESETS
from options.stages import LengthOptions, MaskedOptions, ResidualOptions, RetrieverOptions, VQOptions

ROOT = Path(__file__).parents[1]
STAND_INS = {
    "sbatch": 'printf "%s" "$SCRIPT" >&2; printf " | %s" "$@" >&2; echo >&2; echo 7',
    "srun": 'printf "%s\\n" "$@"; exit "$CODE"',
    "scontrol": '[ "$1" = show ] && printf "gpu03\\ngpu04\\n" || echo "asked for: $*"',
}


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """The environment of a job on a machine with the stand-ins."""
    for name, body in STAND_INS.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    job = {"SUBMIT_DIR": str(ROOT), "NNODES": "4", "JOB_ID": "41", "JOB_NODELIST": "gpu[03-06]", "GPUS_ON_NODE": "8"}
    path = f"{tmp_path}:{os.environ['PATH']}"
    return os.environ | {f"SLURM_{name}": value for name, value in job.items()} | {"PATH": path}


@pytest.mark.parametrize(("code", "again"), [(0, False), (1, False), (2, False), (130, True)])
def test_a_job_starts_launchers_and_goes_on_after_an_interruption(
    code: int, again: bool, slurm: dict[str, str]
) -> None:
    words = ["bash", "slurm/train.sbatch", "mtrans", "humanml3d", "--vq_name", "vq"]
    result = subprocess.run(words, cwd=ROOT, env=slurm | {"CODE": str(code)}, capture_output=True, text=True)
    assert result.returncode == code and ("asked for: requeue 41" in result.stdout) == again
    told = result.stdout.splitlines()
    assert told[told.index("--rdzv_endpoint") + 1] == "gpu03:20041" and told[told.index("--nnodes") + 1] == "4"
    options = told[told.index("train_mask_transformer.py") + 1 :]
    parsed = parse(MaskedOptions, [word for word in options if "requeue" not in word], PRESETS["mtrans"])
    assert parsed.run.name == "mtrans" and parsed.run.gpu_id == "0,1,2,3,4,5,6,7" and parsed.inputs.vq_name == "vq"


def test_the_pipeline_is_every_stage_once_with_what_it_needs(slurm: dict[str, str]) -> None:
    result = subprocess.run(["bash", "slurm/pipeline.sh", "kit"], cwd=ROOT, env=slurm, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    jobs = result.stderr.splitlines()
    assert len(jobs) == 7
    for script, schema in {
        "train_vq.py": VQOptions,
        "-m Part_TMR.scripts.train": RetrieverOptions,
        "train_length_estimator.py": LengthOptions,
        "train_mask_transformer.py": MaskedOptions,
        "train_res_transformer.py": ResidualOptions,
    }.items():
        [job] = [job.split(" | ")[1:] for job in jobs if job.startswith(script)]
        name, dataset, *options = job[job.index("slurm/train.sbatch") + 1 :]
        words = ["--name", name, "--dataset_name", dataset, *options]
        assert parse(schema, words, PRESETS[schema.stage]).run.dataset_name == "kit"
        assert ("--dependency=afterok:7" in job) == (schema in (MaskedOptions, ResidualOptions))


def test_mistakes_are_one_line(slurm: dict[str, str]) -> None:
    for words in (["slurm/train.sbatch", "mtrans"], ["slurm/pipeline.sh"]):
        result = subprocess.run(["bash", *words], cwd=ROOT, env=slurm, capture_output=True, text=True)
        assert result.returncode == 2 and result.stderr.startswith("error: usage: ") and result.stderr.count("\n") == 1
