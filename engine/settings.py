"""What trainings can be told. Torch-free: the command lines are made from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from utils.errors import UserError
from utils.schema import option

TRACKERS = {"wandb": ("wandb",), "mlflow": ("mlflow", "mlflow-skinny")}  # packages, any of which will do
MAX_SEED = 2**32 - 1  # generators take 64 bits, and seeds of samples are made from this one


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
    min_steps: int = option(
        0,
        "an epoch goes through a small training set so often that all epochs together have this many steps",
        minimum=0,
        unless="max_epoch",
    )
    max_minutes: float = option(
        0.0,
        "end within this time, on time: the first steps tell how many fit, and the learning rate falls over those;"
        " what a run took before it went on counts. Other steps in another run, then; 0: no limit",
        zero_or=0.01,
        maximum=1e6,
    )
    lr: float = option(2e-4, "learning rate after the warm-up", minimum=0)
    betas: tuple[float, float] = option((0.9, 0.99), "AdamW's decay rates", minimum=0, maximum=0.999999)
    weight_decay: float = option(0.0, "AdamW's weight decay (never on biases, norms and other vectors)", minimum=0)
    warm_up_iter: int = option(
        2000, "steps in which the learning rate rises linearly, a fifth of all at most", minimum=0
    )
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
    compile: bool = option(
        False, "compile the transformers' layers: takes a compiler, such as g++, and a minute or two at the start"
    )
    num_workers: int = option(0, "processes that load data; 0: the training process itself", minimum=0, maximum=256)
    log_every: int = option(50, "steps between the points of the curves", minimum=1)
    tracker: Literal["tensorboard", "wandb", "mlflow", "none"] = option(
        "tensorboard",
        "who gets the points of the curves: TensorBoard's files in the run's folder, and besides them Weights & Biases"
        " or MLflow (pip install wandb, or mlflow); none: nobody",
    )
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
class VQLossWeights:
    """Weights of the 2D RVQ-VAE's losses; the reconstruction of the features has weight 1."""

    position_weight: float = option(0.5, "weight of the loss on joint positions", minimum=0)
    bone_weight: float = option(0.0, "weight of the loss on the directions of bones", minimum=0)
    drift_weight: float = option(0.0, "weight of the loss on the drift of the path", minimum=0)
    stance_weight: float = option(0.0, "weight of the loss on the way of feet that are in contact", minimum=0)
    commit_weight: float = option(0.02, "weight of the commitment loss", minimum=0)


def require_tracker(name: str) -> None:
    """Raises `UserError` where what a tracker needs is not installed."""
    from importlib import metadata  # slow to import, and mostly not needed

    packages = TRACKERS.get(name, ())
    for package in packages:
        try:
            metadata.metadata(package)
        except metadata.PackageNotFoundError:
            continue
        return
    if packages:
        raise UserError(f"--tracker {name} needs a package that is not installed: pip install {packages[0]}")
