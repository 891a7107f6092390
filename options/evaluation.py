"""The options of the evaluations. They read the architecture from the runs, never from flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from engine.settings import MAX_SEED
from models.configs import SamplingSettings
from options.groups import (
    FOLDER_NAME,
    NEAREST_DATABASE_HELP,
    RUN_NAME,
    BaseRuns,
    DatasetOptions,
    GeneratorRuns,
    RunOptions,
    checkpoint_option,
)
from utils.errors import UserError
from utils.schema import option

RetrievalMode = Literal["on", "off", "random", "self"]
EditKind = Literal["in-between", "continuation", "parts", "story", "waypoints"]


@dataclass(frozen=True)
class ProtocolOptions:
    """How an evaluation is run and where its results go."""

    ext: str = option("eval", "name of the result files, in the run's eval folder", pattern=FOLDER_NAME)
    split: Literal["train", "val", "test"] = option("test", "split that is evaluated")
    repeat_times: int = option(20, "repeats; the 95 % interval comes from them", minimum=1)
    batch_size: int = option(32, "motions generated at once", minimum=1)
    all_captions: bool = option(False, "one sample a caption instead of one a clip in each repeat")
    seed: int = option(3407, "seed of the first repeat", minimum=0, maximum=MAX_SEED)
    report: bool = option(False, "also write a Markdown page with the tables and a PNG with their curves")


@dataclass(frozen=True)
class RetrieverEvalOptions:
    """Part_TMR/scripts/test.py"""

    run: RunOptions = RunOptions(name="tmr")
    which_epoch: str | None = checkpoint_option("retriever")
    score: bool = option(
        False, "also print what each share of the captions in the score of a library finds for this split's captions"
    )
    database: str | None = option(None, NEAREST_DATABASE_HELP)
    protocol: ProtocolOptions = ProtocolOptions(repeat_times=1)


@dataclass(frozen=True)
class TokeniserOptions(DatasetOptions):
    """Which tokeniser, on the motions of which dataset."""

    name: str = option("vq", "run of the RVQ-VAE; open/vq: that of another dataset", pattern=RUN_NAME)


@dataclass(frozen=True)
class EvalVQOptions:
    """eval_vq.py"""

    run: TokeniserOptions = TokeniserOptions()
    which_epoch: str | None = checkpoint_option()
    protocol: ProtocolOptions = ProtocolOptions()


@dataclass(frozen=True)
class GeneratorEvalOptions:
    """What eval_mask.py and eval_res.py share."""

    run: DatasetOptions = DatasetOptions()
    models: BaseRuns = BaseRuns()
    retrieval: tuple[RetrievalMode, ...] = option(
        ("on",), "the searched motions, none, random ones, or the clip itself (an upper bound); a row each"
    )
    sweep_cond_scale: tuple[float, ...] = option((), "more rows: the first retrieval mode at these scales", minimum=0)
    sweep_retrieval_scale: tuple[float, ...] = option(
        (), "more rows: the first retrieval mode at these scales of the retrieval", minimum=0
    )
    sweep_time_steps: tuple[int, ...] = option((), "more rows: the first retrieval mode in so many passes", minimum=1)
    mm_captions: int = option(10, "captions a repeat for multimodality; 0: none", minimum=0)
    mm_motions: int = option(30, "motions of each of them, of which 10 pairs are compared", minimum=2)
    sampling: SamplingSettings = SamplingSettings()
    protocol: ProtocolOptions = ProtocolOptions()

    def __post_init__(self) -> None:
        if not self.retrieval or len(set(self.retrieval)) < len(self.retrieval):
            raise UserError("--retrieval takes one or several different ones of on, off, random, self")
        for flag in ("sweep_cond_scale", "sweep_retrieval_scale", "sweep_time_steps"):
            values = getattr(self, flag)
            # A row is called by its value as it is printed.
            if len({f"{value:g}" for value in values}) < len(values):
                raise UserError(f"--{flag} has a value twice: {' '.join(f'{value:g}' for value in values)}")


@dataclass(frozen=True)
class EvalMaskOptions(GeneratorEvalOptions):
    """eval_mask.py"""

    which_epoch: str | None = checkpoint_option("masked transformer")


@dataclass(frozen=True)
class EvalResOptions(GeneratorEvalOptions):
    """eval_res.py"""

    models: GeneratorRuns = GeneratorRuns()
    which_ckpt: str | None = checkpoint_option("masked transformer")
    which_epoch: str | None = checkpoint_option("residual transformer")
    traverse_res: bool = option(
        False, "evaluate every checkpoint of the residual transformer that --which_epoch can mean"
    )
    gt_base: bool = option(False, "diagnosis: take the base tokens from the ground truth (protocol gt-base)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gt_base and (self.sweep_retrieval_scale or self.sweep_time_steps):
            raise UserError("--gt_base draws no base tokens: of the sweeps it takes --sweep_cond_scale alone")


@dataclass(frozen=True)
class EvalEditOptions:
    """eval_edit.py"""

    run: DatasetOptions = DatasetOptions()
    models: GeneratorRuns = GeneratorRuns()
    which_ckpt: str | None = checkpoint_option("masked transformer")
    which_epoch: str | None = checkpoint_option("residual transformer")
    kinds: tuple[EditKind, ...] = option(
        ("in-between", "continuation", "parts", "story", "waypoints"),
        "what is evaluated; parts needs a dataset of which the semantic oracle knows what its clips show",
    )
    clips: int = option(60, "clips of the split, spread over it, and edits of each kind; 0: all", minimum=0)
    stories: int = option(6, "stories of ten prompts, 60 s each", minimum=1)
    sampling: SamplingSettings = SamplingSettings()
    protocol: ProtocolOptions = ProtocolOptions(repeat_times=1)

    def __post_init__(self) -> None:
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise UserError(f"--kinds takes one or several different ones of {', '.join(get_args(EditKind))}")
