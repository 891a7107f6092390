"""The options of app.py."""

from __future__ import annotations

from dataclasses import dataclass, replace

from options.groups import DATABASE_HELP, DATASET_HELP, GPU_HELP, canonical_dataset, check_gpu_id, check_run_name
from utils.errors import UserError
from utils.schema import option


@dataclass(frozen=True)
class ServerOptions:
    """Where the page is served, and to how many at once."""

    host: str = option("127.0.0.1", "address that is listened on; 0.0.0.0: every one, so that others can use the page")
    port: int = option(7860, "port that is listened on; 0: a free one, which is printed", minimum=0, maximum=65535)
    queue_size: int = option(8, "prompts that may wait; more are turned away. One motion is made at a time", minimum=0)
    keep_minutes: float = option(60.0, "how long the files of a motion stay", minimum=1)
    keep_results: int = option(50, "motions whose files stay at once; the oldest go first", minimum=1)

    def __post_init__(self) -> None:
        if not self.host.strip():
            raise UserError("--host is empty: 127.0.0.1 serves this machine, 0.0.0.0 every other one too")


@dataclass(frozen=True)
class RequestLimits:
    """What a visitor may ask for, besides the dataset's range of lengths."""

    max_prompt_length: int = option(500, "characters of a prompt", minimum=1, maximum=2000)
    max_time_steps: int = option(50, "passes of the masked transformer", minimum=1)
    max_cond_scale: float = option(10.0, "guidance scale", minimum=0)
    neighbours: int = option(3, "retrieved motions shown beside the generated one", minimum=0, maximum=8)


@dataclass(frozen=True)
class ModelOptions:
    """Which runs generate, as in demo.py."""

    dataset_name: str = option("mini", DATASET_HELP)
    checkpoints_dir: str = option("pretrained", "folder of the runs: pretrained holds the shipped mini models")
    mtrans_name: str = option("mtrans", "run of the masked transformer")
    rtrans_name: str = option("rtrans", "run of the residual transformer")
    vq_name: str | None = option(None, "run of the 2D RVQ-VAE; none: the one that the transformer was trained with")
    retriever_name: str | None = option(
        None, "run of the retriever; none: the one that the transformer was trained with"
    )
    database: str | None = option(None, f"{DATABASE_HELP}; none: the one beside the runs, else that of the training")
    gpu_id: str = option("auto", GPU_HELP)

    def __post_init__(self) -> None:
        check_gpu_id(self.gpu_id)
        for flag in ("mtrans_name", "rtrans_name", "vq_name", "retriever_name"):
            if getattr(self, flag) is not None:
                check_run_name(getattr(self, flag), flag)


@dataclass(frozen=True)
class AppOptions:
    """app.py"""

    server: ServerOptions = ServerOptions()
    limits: RequestLimits = RequestLimits()
    models: ModelOptions = ModelOptions()

    def resolve(self) -> AppOptions:
        """The same with the dataset's alias replaced by its name."""
        return replace(self, models=replace(self.models, dataset_name=canonical_dataset(self.models.dataset_name)))
