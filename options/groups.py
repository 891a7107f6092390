"""Groups of options that several scripts share."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from data.specs import SPECS, get_spec
from utils.errors import UserError
from utils.schema import option

DATASET_HELP = f"{', '.join(SPECS)}, the alias t2m, or your own: a folder with a dataset.json, or its name in dataset/"
GPU_HELP = "number of the GPU, several with commas (one process each), -1: the CPU, auto: GPU 0 if there is one"
DATABASE_HELP = "folder of the RAG database; a subfolder named after the dataset comes first"
MAX_SEED = 2**32 - 1  # generators take 64 bits, and seeds of samples are made from this one
GPU_PATTERN = re.compile(r"auto|-1|\d+(,\d+)*")
RUN_NAME_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")


def canonical_dataset(name: str) -> str:
    """The dataset's own name for an alias; the path of a user's dataset folder stays.

    Raises:
        UserError: unknown dataset.
    """
    spec = get_spec(name)
    return spec.name if SPECS.get(spec.name) == spec else name


def check_gpu_id(gpu_id: str) -> None:
    """Raises `UserError` unless `gpu_id` reads like `auto`, `-1`, `0` or `0,1,2`."""
    if not GPU_PATTERN.fullmatch(gpu_id):
        raise UserError(f"--gpu_id must look like auto, -1, 0 or 0,1,2, not {gpu_id!r}")


def check_run_name(name: str, flag: str = "name") -> None:
    """Raises `UserError` unless `name` is a plain folder name: no path can leave the folder of runs through it."""
    if not RUN_NAME_PATTERN.fullmatch(name):
        raise UserError(f"--{flag} must be a folder name of letters, digits, . _ and -, not {name!r}")


@dataclass(frozen=True)
class RunOptions:
    """Which run, of which dataset, on which device. The run's folder is checkpoints_dir/dataset_name/name."""

    name: str = option(help="name of the run: its folder is checkpoints_dir/dataset/name")
    dataset_name: str = option("humanml3d", DATASET_HELP)
    checkpoints_dir: str = option("logs", "folder of the runs")
    gpu_id: str = option("auto", GPU_HELP)

    def __post_init__(self) -> None:
        check_run_name(self.name)
        check_gpu_id(self.gpu_id)

    def resolve(self) -> RunOptions:
        """The same with the dataset's alias replaced by its name."""
        return replace(self, dataset_name=canonical_dataset(self.dataset_name))


@dataclass(frozen=True)
class TrainSettings:
    """What the training harness needs to know, the same for every stage."""

    batch_size: int = option(256, "samples of an optimiser step, all GPUs and all pieces together", minimum=1)
    accumulate: int = option(
        1,
        "pieces that a step's batch is computed in, one after the other, where memory is short; a loss is the pieces'"
        " mean, by their samples, as it is of several GPUs",
        minimum=1,
    )
    max_epoch: int = option(50, "epochs", minimum=1)
    max_steps: int = option(0, "stop after this many steps; 0: no limit", minimum=0)
    lr: float = option(2e-4, "learning rate after the warm-up", minimum=0)
    betas: tuple[float, float] = option((0.9, 0.99), "AdamW's decay rates", minimum=0, maximum=0.999999)
    weight_decay: float = option(0.0, "AdamW's weight decay (never on biases, norms and other vectors)", minimum=0)
    warm_up_iter: int = option(2000, "steps in which the learning rate rises linearly", minimum=0)
    schedule: Literal["constant", "step", "cosine"] = option(
        "step", "after the warm-up: constant, times gamma at each milestone, or a cosine down to gamma times lr"
    )
    milestones: tuple[int, ...] = option((150_000, 250_000), "steps at which schedule step lowers the rate", minimum=1)
    gamma: float = option(
        0.1, "factor of a milestone; with schedule cosine the final share of lr", minimum=0, maximum=1
    )
    grad_clip: float = option(1.0, "largest norm of the gradient; 0: no limit", minimum=0)
    ema: float = option(
        0.0,
        "decay of a moving average of the weights, which is then what is validated, kept and exported; 0: none",
        minimum=0,
        maximum=0.999999,
    )
    mixed_precision: Literal["no", "bf16", "fp16"] = option("no", "precision of the forward pass")
    num_workers: int = option(0, "processes that load data; 0: the training process itself", minimum=0)
    log_every: int = option(50, "steps between tensorboard points", minimum=1)
    save_every: int = option(1000, "steps between saves of latest.tar", minimum=1)
    eval_every_e: int = option(1, "epochs between validations", minimum=1)
    keep_every: int = option(0, "epochs between checkpoints net_epoch_NUMBER.tar that stay; 0: none", minimum=0)
    init_from: str | None = option(
        None, "start a new run from the weights of another: its folder, or a checkpoint in it (not read on resume)"
    )
    init_partial: bool = option(False, "take from init_from what fits, instead of refusing what does not")
    seed: int = option(1234, "seed of everything random", minimum=0, maximum=MAX_SEED)

    def __post_init__(self) -> None:
        if list(self.milestones) != sorted(set(self.milestones)):
            raise UserError(f"--milestones must rise, not {' '.join(map(str, self.milestones))}")
        if self.init_partial and self.init_from is None:
            raise UserError("--init_partial needs --init_from")


@dataclass(frozen=True)
class RetrievalOptions:
    """Which library of motions the generator retrieves from."""

    retriever_name: str = option("tmr", "run of the retriever, in checkpoints_dir/dataset")
    database: str | None = option(None, f"{DATABASE_HELP}; none: the one beside the runs, else database/")

    def __post_init__(self) -> None:
        check_run_name(self.retriever_name, "retriever_name")
