"""Groups of options that several scripts share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from data.specs import SPECS, get_spec
from models.configs import Precision
from utils.schema import Pattern, option

DATASET_HELP = (
    f"{', '.join(SPECS)}, the alias t2m, or your own: a folder with a dataset.json, or its name in dataset/; or several"
    " with commas, as they are (mini,cmu) or with the share that each has of an epoch's samples (mini:1,cmu:3)"
)
RUNS_HELP = "folder of the runs; pretrained holds the shipped ones: open and mini"
DATABASE_HELP = "folder of the RAG database; a subfolder named after the dataset comes first"
NEAREST_DATABASE_HELP = f"{DATABASE_HELP}; none: the one beside the runs, else database/"
CHECKPOINT_HELP = (
    "a file of the run's model folder, its stem, or a part of its name such as fid; none: the best there is"
)
FOLDER = Pattern(r"(?s).*\S.*", "name a folder")
# No path can leave the folder of runs through such a name.
RUN_NAME = Pattern(
    r"([A-Za-z0-9_][A-Za-z0-9_.\-]{0,99}/)?[A-Za-z0-9_][A-Za-z0-9_.\-]{0,99}",
    "be a folder name of up to 100 letters, digits, . _ and -, or DATASET/NAME",
)
VQ_NAME_HELP = "run of the 2D RVQ-VAE, in checkpoints_dir/dataset; open/vq: another dataset's, perhaps a shipped one"
FOLDER_NAME = Pattern(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,99}", "be a folder name of up to 100 letters, digits, . _ and -")

# What is used unless something else is said: the default models, in the folder of the shipped ones.
AS_SHIPPED = {"dataset_name": "open", "checkpoints_dir": "pretrained"}

SHARD = Pattern(r"\d+/\d+", "look like 1/8, up to 8/8")


def canonical_dataset(name: str) -> str:
    """The one spelling of a dataset: its name for an alias, the shortest path for a folder. Several are put in order.

    Raises:
        UserError: unknown dataset.
    """
    return get_spec(name).argument


def dataset_option(default: str = "humanml3d") -> Any:
    """Name of a dataset; its alias means its name."""
    return option(default, DATASET_HELP, means=canonical_dataset)


def device_option() -> Any:
    """Numbers of GPUs, or the CPU."""
    return option(
        "auto",
        "number of the GPU, several with commas (one process each), -1: the CPU, auto: GPU 0 if there is one",
        pattern=Pattern(r"auto|-1|\d+(,\d+)*", "look like auto, -1, 0 or 0,1,2"),
    )


def rate_option(help: str = "frames a second of the motions whatever their files say; 0: their own") -> Any:
    """A frame rate, or 0."""
    return option(0.0, help, maximum=240, zero_or=1)


def checkpoint_option(of: str = "run") -> Any:
    """Which checkpoint of a run."""
    return option(None, f"checkpoint of the {of}: {CHECKPOINT_HELP}")


def shard_option(what: str) -> Any:
    """Which share of a work, see `utils.shares`."""
    return option(
        None,
        f"{what}, 1/n to n/n, for --merge; none: what torchrun (RANK, WORLD_SIZE) or SLURM (an array, or the tasks of"
        " srun) says; 1/1: all whatever they say",
        pattern=SHARD,
    )


@dataclass(frozen=True)
class DatasetOptions:
    """Dataset and device of a script that takes several runs."""

    dataset_name: str = dataset_option()
    checkpoints_dir: str = option("logs", RUNS_HELP)
    gpu_id: str = device_option()


@dataclass(frozen=True, kw_only=True)
class RunOptions(DatasetOptions):
    """Which run, of which dataset, on which device."""

    name: str = option(
        help="name of the run: its folder is checkpoints_dir/dataset/name, of mini,cmu checkpoints_dir/cmu+mini/name",
        pattern=FOLDER_NAME,
    )


@dataclass(frozen=True)
class RetrievalOptions:
    """Which library of motions the generator retrieves from."""

    retriever_name: str = option("tmr", "run of the retriever, in checkpoints_dir/dataset", pattern=FOLDER_NAME)
    database: str | None = option(None, NEAREST_DATABASE_HELP)


@dataclass(frozen=True)
class BaseRuns:
    """Which runs make base tokens and motions of them, and how. The names are those of `TextToMotion.load`."""

    mtrans_name: str = option("mtrans", "run of the masked transformer", pattern=FOLDER_NAME)
    vq_name: str | None = option(
        None, "run of the 2D RVQ-VAE; none: the one that the transformer was trained with", pattern=RUN_NAME
    )
    retriever_name: str | None = option(
        None, "run of the retriever; none: the one that the transformer was trained with", pattern=FOLDER_NAME
    )
    database: str | None = option(None, f"{DATABASE_HELP}; none: the one beside the runs, else that of the training")
    precision: Precision = option(
        "float32",
        "of the products in the transformers; the others are quicker where the processor has them, but a motion is then"
        " the same again in the same batch alone",
    )


@dataclass(frozen=True)
class GeneratorRuns(BaseRuns):
    """The same with all levels of tokens."""

    rtrans_name: str = option("rtrans", "run of the residual transformer", pattern=FOLDER_NAME)
