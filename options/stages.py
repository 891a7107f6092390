"""The options of the trainings, one schema a stage. What a schema holds is what the run's config.json holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from data.specs import LONGEST_CLIP, get_spec
from engine.settings import TrainSettings, VQLossWeights
from models.configs import (
    EvaluatorConfig,
    LengthEstimatorConfig,
    MaskedTransformerConfig,
    PartTMRConfig,
    ResidualTransformerConfig,
    RVQConfig,
)
from options.command_line import flags_of, own_command
from options.groups import RUN_NAME, VQ_NAME_HELP, RetrievalOptions, RunOptions, checkpoint_option
from options.presets import FINETUNE
from storage.shipped import locate
from utils.errors import UserError
from utils.run import FORMER, Run
from utils.schema import option, to_dict


def run_config(options: Any) -> dict[str, Any]:
    """What a training run writes to its config.json: stage, command line, all options, nested, and the format."""
    form = get_spec(options.run.dataset_name).format.to_json()
    return {"stage": options.stage, "command": own_command(), **to_dict(options), "format": form}


# Groups of options that say where and for how long, not what is trained.
OWN_GROUPS = ("run", "inputs", "retrieval", "train")


def as_in_source(schema: Any, preset: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """What preset `finetune` takes from the run of `--init_from`, flag name -> value: the model and how it learns.

    Raises:
        UserError: there is no such run, or it is of another stage.
    """
    if preset != FINETUNE:
        return {}
    if (source := given.get("init_from")) is None:
        raise UserError(f"--preset {FINETUNE} needs --init_from: sizes and losses are those of the run that it names")
    folder = locate(source)
    folder = folder.parent.parent if folder.is_file() else folder
    if not (folder / "config.json").is_file():
        raise UserError(f"--init_from {source} is neither the folder of a run nor a checkpoint in one")
    run = Run(folder).of_stage(schema.stage)
    taken = {name: flag.path for name, flag in flags_of(schema).items() if flag.path[0] not in OWN_GROUPS}
    told = {
        name: FORMER.get(path[0], {}).get(name) if run.value(*path) is None else run.value(*path)
        for name, path in taken.items()
    }
    return {name: value for name, value in told.items() if value is not None}


@dataclass(frozen=True)
class VQData:
    """What the 2D RVQ-VAE is trained on."""

    window_size: int = option(64, "frames of a training window, a multiple of 4", minimum=4, maximum=LONGEST_CLIP)
    window_stride: int = option(1, "an epoch is one window in this many frames of each clip", minimum=1)
    tempo: float = option(
        0.0, "windows are played slower or quicker by up to this share, at random", minimum=0, maximum=0.5
    )

    def __post_init__(self) -> None:
        if self.window_size % 4:
            raise UserError(f"--window_size must be a multiple of 4, not {self.window_size}")


@dataclass(frozen=True)
class CodebookSettings:
    """How the codes of a 2D RVQ-VAE that starts from another's go on."""

    keep_codes: bool = option(
        False,
        "codes follow their motions, but none is put elsewhere: what others have learned of them stays true",
    )


@dataclass(frozen=True)
class VQOptions:
    """train_vq.py"""

    stage: ClassVar = "vq"
    run: RunOptions = RunOptions(name="vq")
    model: RVQConfig = RVQConfig()
    data: VQData = VQData()
    codebook: CodebookSettings = CodebookSettings()
    loss: VQLossWeights = VQLossWeights()
    train: TrainSettings = TrainSettings(grad_clip=0.0, num_workers=4)


@dataclass(frozen=True)
class TokenInputs:
    """The tokeniser of a transformer."""

    vq_name: str = option("vq", VQ_NAME_HELP, pattern=RUN_NAME)
    vq_checkpoint: str | None = checkpoint_option("2D RVQ-VAE")


@dataclass(frozen=True)
class TrainingRetrieval:
    """What a caption retrieves while a transformer is trained; its own clip never as it is."""

    retrieval_pool: int = option(
        1,
        "the K motions are drawn at random from this many times K nearest ones; 1: the K nearest",
        minimum=1,
        maximum=1000,
    )
    own_retrieval_prob: float = option(
        0.0,
        "probability of retrieving the clip itself, of which another stretch is seen at another tempo",
        minimum=0,
        maximum=1,
    )
    random_retrieval_prob: float = option(
        0.0, "probability of retrieving any motion in the place of the nearest", minimum=0, maximum=1
    )

    def __post_init__(self) -> None:
        if self.own_retrieval_prob + self.random_retrieval_prob > 1:
            raise UserError("--own_retrieval_prob and --random_retrieval_prob are together more than 1")


@dataclass(frozen=True)
class TransformerOptions:
    """What the options of both transformers share."""

    run: RunOptions
    inputs: TokenInputs = TokenInputs()
    retrieval: RetrievalOptions = RetrievalOptions()
    training_retrieval: TrainingRetrieval = TrainingRetrieval()
    train: TrainSettings = TrainSettings(
        batch_size=64, max_epoch=500, weight_decay=1e-5, milestones=(1_000_000,), grad_clip=0.0, num_workers=4
    )


@dataclass(frozen=True)
class MaskedOptions(TransformerOptions):
    """train_mask_transformer.py"""

    stage: ClassVar = "mtrans"
    run: RunOptions = RunOptions(name="mtrans")
    model: MaskedTransformerConfig = MaskedTransformerConfig()


@dataclass(frozen=True)
class ResidualOptions(TransformerOptions):
    """train_res_transformer.py"""

    stage: ClassVar = "rtrans"
    run: RunOptions = RunOptions(name="rtrans")
    model: ResidualTransformerConfig = ResidualTransformerConfig()


@dataclass(frozen=True)
class LengthOptions:
    """train_length_estimator.py"""

    stage: ClassVar = "length"
    run: RunOptions = RunOptions(name="length")
    model: LengthEstimatorConfig = LengthEstimatorConfig()
    train: TrainSettings = TrainSettings(
        batch_size=64, max_epoch=50, lr=1e-4, warm_up_iter=200, schedule="cosine", gamma=0.05, weight_decay=1e-2
    )

    def resolve(self) -> LengthOptions:
        """The same with length classes enough for the dataset's longest motion."""
        spec = get_spec(self.run.dataset_name)
        needed = spec.max_frames // spec.format.unit_length + 1
        return replace(self, model=replace(self.model, max_steps_length=max(self.model.max_steps_length, needed)))


@dataclass(frozen=True)
class RetrieverRates:
    """Learning rates of the retriever's parameter groups, as factors of `--lr`."""

    motion_lr_factor: float = option(10.0, "learning rate of the motion encoders, times lr", minimum=0)
    text_lr_factor: float = option(1.0, "learning rate of a trainable text encoder, times lr", minimum=0)
    head_lr_factor: float = option(10.0, "learning rate of the projection heads, times lr", minimum=0)


@dataclass(frozen=True)
class RetrieverOptions:
    """Part_TMR/scripts/train.py"""

    stage: ClassVar = "tmr"
    run: RunOptions = RunOptions(name="tmr")
    model: PartTMRConfig = PartTMRConfig()
    rates: RetrieverRates = RetrieverRates()
    train: TrainSettings = TrainSettings(
        batch_size=128,
        max_epoch=200,
        lr=1e-5,
        betas=(0.9, 0.999),
        warm_up_iter=0,
        schedule="cosine",  # the published one is the first half of a cosine over twice the training: both end at half
        gamma=0.5,
        grad_clip=0.0,
        num_workers=4,
    )


@dataclass(frozen=True)
class EvaluatorOptions:
    """train_evaluator.py"""

    stage: ClassVar = "evaluator"
    run: RunOptions = RunOptions(name="evaluator")
    model: EvaluatorConfig = EvaluatorConfig()
    train: TrainSettings = TrainSettings(
        batch_size=64, max_epoch=100, lr=3e-4, warm_up_iter=500, schedule="cosine", gamma=0.01, weight_decay=1e-2
    )
