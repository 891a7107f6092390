"""The options of every script. What a schema holds is what the run's config.json holds."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from data.motions.settings import ReadSettings
from data.specs import get_spec
from models.configs import (
    EvaluatorConfig,
    LengthEstimatorConfig,
    MaskedTransformerConfig,
    PartTMRConfig,
    ResidualTransformerConfig,
    RVQConfig,
    SamplingSettings,
)
from options.export import COMPARE_HELP, FOOT_LOCK_HELP, Comparison
from options.groups import (
    DATABASE_HELP,
    DATASET_HELP,
    GPU_HELP,
    MAX_SEED,
    RetrievalOptions,
    RunOptions,
    TrainSettings,
    canonical_dataset,
    check_gpu_id,
    check_run_name,
)
from utils.errors import UserError
from utils.schema import option, to_dict

Resolved = TypeVar("Resolved")
RetrievalMode = Literal["on", "off", "random", "self"]
SWEEPS = ("sweep_cond_scale", "sweep_retrieval_scale", "sweep_time_steps")
CHECKPOINT_HELP = (
    "a file of the run's model folder, its stem, or a part of its name such as fid; none: the best there is"
)


def _resolve_run(options: Resolved) -> Resolved:
    """Replaces the dataset's alias by its name; sets length classes enough for every motion."""
    run: RunOptions = options.run.resolve()
    changes: dict[str, Any] = {"run": run}
    model, spec = getattr(options, "model", None), get_spec(run.dataset_name)
    if hasattr(model, "max_steps_length"):
        needed = spec.max_frames // spec.format.unit_length + 1
        changes["model"] = replace(model, max_steps_length=max(model.max_steps_length, needed))
    return replace(options, **changes)


def run_config(options: Any, stage: str) -> dict[str, Any]:
    """What a training run writes to its config.json: stage, command line, all options, nested, and the format."""
    command = shlex.join(["python", *sys.orig_argv[1:]])
    form = get_spec(options.run.dataset_name).format.to_json()
    return {"stage": stage, "command": command, **to_dict(options), "format": form}


# Training


@dataclass(frozen=True)
class VQData:
    """What the 2D RVQ-VAE is trained on."""

    window_size: int = option(64, "frames of a training window, a multiple of 4", minimum=4)
    window_stride: int = option(1, "an epoch is one window in this many frames of each clip", minimum=1)

    def __post_init__(self) -> None:
        if self.window_size % 4:
            raise UserError(f"--window_size must be a multiple of 4, not {self.window_size}")


@dataclass(frozen=True)
class VQLossWeights:
    """Weights of the 2D RVQ-VAE's losses; the reconstruction of the features has weight 1."""

    position_weight: float = option(0.5, "weight of the loss on joint positions", minimum=0)
    drift_weight: float = option(0.0, "weight of the loss on the drift of the path", minimum=0)
    commit_weight: float = option(0.02, "weight of the commitment loss", minimum=0)


@dataclass(frozen=True)
class VQOptions:
    """train_vq.py"""

    run: RunOptions = RunOptions(name="vq")
    model: RVQConfig = RVQConfig()
    data: VQData = VQData()
    loss: VQLossWeights = VQLossWeights()
    train: TrainSettings = TrainSettings(grad_clip=0.0, num_workers=4)

    def resolve(self) -> VQOptions:
        """See `_resolve_run`."""
        return _resolve_run(self)


@dataclass(frozen=True)
class TokenInputs:
    """The tokeniser of a transformer."""

    vq_name: str = option("vq", "run of the 2D RVQ-VAE, in checkpoints_dir/dataset")
    vq_checkpoint: str | None = option(None, f"checkpoint of the 2D RVQ-VAE: {CHECKPOINT_HELP}")

    def __post_init__(self) -> None:
        check_run_name(self.vq_name, "vq_name")


TRANSFORMER_SETTINGS = TrainSettings(
    batch_size=64, max_epoch=500, weight_decay=1e-5, milestones=(1_000_000,), grad_clip=0.0, num_workers=4
)


@dataclass(frozen=True)
class TrainingRetrieval:
    """What a caption retrieves while a transformer is trained; its own clip never."""

    retrieval_pool: int = option(
        1, "the K motions are drawn at random from this many times K nearest ones; 1: the K nearest", minimum=1
    )


@dataclass(frozen=True)
class TransformerOptions:
    """What the options of both transformers share."""

    run: RunOptions
    inputs: TokenInputs = TokenInputs()
    retrieval: RetrievalOptions = RetrievalOptions()
    training_retrieval: TrainingRetrieval = TrainingRetrieval()
    train: TrainSettings = TRANSFORMER_SETTINGS

    def resolve(self) -> TransformerOptions:
        """See `_resolve_run`."""
        return _resolve_run(self)


@dataclass(frozen=True)
class MaskedOptions(TransformerOptions):
    """train_mask_transformer.py"""

    run: RunOptions = RunOptions(name="mtrans")
    model: MaskedTransformerConfig = MaskedTransformerConfig()


@dataclass(frozen=True)
class ResidualOptions(TransformerOptions):
    """train_res_transformer.py"""

    run: RunOptions = RunOptions(name="rtrans")
    model: ResidualTransformerConfig = ResidualTransformerConfig()


@dataclass(frozen=True)
class LengthOptions:
    """train_length_estimator.py"""

    run: RunOptions = RunOptions(name="length")
    model: LengthEstimatorConfig = LengthEstimatorConfig()
    train: TrainSettings = TrainSettings(
        batch_size=64, max_epoch=50, lr=1e-4, warm_up_iter=200, schedule="cosine", gamma=0.05, weight_decay=1e-2
    )

    def resolve(self) -> LengthOptions:
        """See `_resolve_run`."""
        return _resolve_run(self)


@dataclass(frozen=True)
class RetrieverRates:
    """Learning rates of the retriever's parameter groups, as factors of `--lr`."""

    motion_lr_factor: float = option(10.0, "learning rate of the motion encoders, times lr", minimum=0)
    text_lr_factor: float = option(1.0, "learning rate of a trainable text encoder, times lr", minimum=0)
    head_lr_factor: float = option(10.0, "learning rate of the projection heads, times lr", minimum=0)


@dataclass(frozen=True)
class RetrieverOptions:
    """Part_TMR/scripts/train.py"""

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

    def resolve(self) -> RetrieverOptions:
        """See `_resolve_run`."""
        return _resolve_run(self)


@dataclass(frozen=True)
class EvaluatorOptions:
    """train_evaluator.py"""

    run: RunOptions = RunOptions(name="evaluator")
    model: EvaluatorConfig = EvaluatorConfig()
    train: TrainSettings = TrainSettings(
        batch_size=64, max_epoch=100, lr=3e-4, warm_up_iter=500, schedule="cosine", gamma=0.01, weight_decay=1e-2
    )

    def resolve(self) -> EvaluatorOptions:
        """See `_resolve_run`."""
        return _resolve_run(self)


# Everything after training. These scripts read the architecture from the runs, never from flags.


@dataclass(frozen=True)
class ProtocolOptions:
    """How an evaluation is run and where its results go."""

    ext: str = option("eval", "name of the result files, in the run's eval folder")
    split: Literal["train", "val", "test"] = option("test", "split that is evaluated")
    repeat_times: int = option(20, "repeats; the 95 % interval comes from them", minimum=1)
    batch_size: int = option(32, "motions generated at once", minimum=1)
    all_captions: bool = option(False, "one sample a caption instead of one a clip in each repeat")
    seed: int = option(3407, "seed of the first repeat", minimum=0, maximum=MAX_SEED)
    report: bool = option(False, "also write a Markdown page with the tables and a PNG with their curves")

    def __post_init__(self) -> None:
        check_run_name(self.ext, "ext")


@dataclass(frozen=True)
class RetrieverEvalOptions:
    """Part_TMR/scripts/test.py"""

    run: RunOptions = RunOptions(name="tmr")
    which_epoch: str | None = option(None, f"checkpoint of the retriever: {CHECKPOINT_HELP}")
    protocol: ProtocolOptions = ProtocolOptions(repeat_times=1)

    def resolve(self) -> RetrieverEvalOptions:
        """See `_resolve_run`."""
        return _resolve_run(self)


@dataclass(frozen=True)
class EvalVQOptions:
    """eval_vq.py"""

    run: RunOptions = RunOptions(name="vq")
    which_epoch: str | None = option(None, f"checkpoint of the run: {CHECKPOINT_HELP}")
    protocol: ProtocolOptions = ProtocolOptions()

    def resolve(self) -> EvalVQOptions:
        """See `_resolve_run`."""
        return _resolve_run(self)


@dataclass(frozen=True)
class DatasetOptions:
    """Dataset and device of a script that takes several runs."""

    dataset_name: str = option("humanml3d", DATASET_HELP)
    checkpoints_dir: str = option("logs", "folder of the runs")
    gpu_id: str = option("auto", GPU_HELP)

    def __post_init__(self) -> None:
        check_gpu_id(self.gpu_id)

    def resolve(self) -> DatasetOptions:
        """The same with the dataset's alias replaced by its name."""
        return replace(self, dataset_name=canonical_dataset(self.dataset_name))


@dataclass(frozen=True)
class GeneratorEvalOptions:
    """What eval_mask.py and eval_res.py share."""

    run: DatasetOptions = DatasetOptions()
    mtrans_name: str = option("mtrans", "run of the masked transformer")
    vq_name: str | None = option(None, "run of the 2D RVQ-VAE; none: the one that the transformer was trained with")
    retriever_name: str | None = option(
        None, "run of the retriever; none: the one that the transformer was trained with"
    )
    database: str | None = option(None, f"{DATABASE_HELP}; none: the one beside the runs, else that of the training")
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
        for flag in ("mtrans_name", "rtrans_name", "vq_name", "retriever_name"):
            if getattr(self, flag, None) is not None:
                check_run_name(getattr(self, flag), flag)
        if not self.retrieval or len(set(self.retrieval)) < len(self.retrieval):
            raise UserError("--retrieval takes one or several different ones of on, off, random, self")
        for flag in SWEEPS:
            values = getattr(self, flag)
            # A row is called by its value as it is printed.
            if len({f"{value:g}" for value in values}) < len(values):
                raise UserError(f"--{flag} has a value twice: {' '.join(f'{value:g}' for value in values)}")

    def resolve(self) -> GeneratorEvalOptions:
        """See `_resolve_run`."""
        return _resolve_run(self)


@dataclass(frozen=True)
class EvalMaskOptions(GeneratorEvalOptions):
    """eval_mask.py"""

    which_epoch: str | None = option(None, f"checkpoint of the masked transformer: {CHECKPOINT_HELP}")


@dataclass(frozen=True)
class EvalResOptions(GeneratorEvalOptions):
    """eval_res.py"""

    rtrans_name: str = option("rtrans", "run of the residual transformer")
    which_ckpt: str | None = option(None, f"checkpoint of the masked transformer: {CHECKPOINT_HELP}")
    which_epoch: str | None = option(None, f"checkpoint of the residual transformer: {CHECKPOINT_HELP}")
    traverse_res: bool = option(
        False, "evaluate every checkpoint of the residual transformer that --which_epoch can mean"
    )
    gt_base: bool = option(False, "diagnosis: take the base tokens from the ground truth (protocol gt-base)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gt_base and (self.sweep_retrieval_scale or self.sweep_time_steps):
            raise UserError("--gt_base draws no base tokens: of the sweeps it takes --sweep_cond_scale alone")


@dataclass(frozen=True)
class DemoOptions:
    """demo.py"""

    text_prompt: str | None = option(None, "what to generate")
    text_path: str | None = option(None, "file with one `prompt` or `prompt=frames` a line; # starts a comment")
    motion_length: int = option(0, "length in frames, made a multiple of 4; 0: estimated from the text", minimum=0)
    repeat_times: int = option(1, "motions a prompt", minimum=1)
    seed: int = option(
        0, "seed; a prompt with a seed gives the same motion in any company", minimum=0, maximum=MAX_SEED
    )
    ext: str = option("demo", "name of the folder in output_dir")
    output_dir: str = option("outputs", "folder of all results")
    formats: tuple[Literal["mp4", "gif", "png", "bvh", "glb", "html", "npy"], ...] = option(
        ("mp4", "bvh", "glb", "html", "npy"),
        "files a motion: video, animated and still picture, skeleton, skinned figure, page to play, arrays",
    )
    compare: tuple[Comparison, ...] = option(("html",), COMPARE_HELP)
    foot_lock: bool = option(False, FOOT_LOCK_HELP)
    gpu_id: str = option("auto", GPU_HELP)
    dataset_name: str = option("mini", DATASET_HELP)
    checkpoints_dir: str = option("pretrained", "folder of the runs: pretrained holds the shipped mini models")
    mtrans_name: str = option("mtrans", "run of the masked transformer")
    rtrans_name: str = option("rtrans", "run of the residual transformer")
    vq_name: str | None = option(None, "run of the 2D RVQ-VAE; none: the one that the transformer was trained with")
    retriever_name: str | None = option(
        None, "run of the retriever; none: the one that the transformer was trained with"
    )
    database: str | None = option(None, f"{DATABASE_HELP}; none: the one beside the runs, else that of the training")
    no_retrieval: bool = option(False, "generate without retrieval")
    deterministic_length: bool = option(False, "take the likeliest length instead of drawing one")
    sampling: SamplingSettings = SamplingSettings()

    def __post_init__(self) -> None:
        check_gpu_id(self.gpu_id)
        check_run_name(self.ext, "ext")
        for flag in ("mtrans_name", "rtrans_name", "vq_name", "retriever_name"):
            if getattr(self, flag) is not None:
                check_run_name(getattr(self, flag), flag)
        if self.text_prompt is not None and not self.text_prompt.strip():
            raise UserError("--text_prompt is empty: describe a motion")
        if not self.formats:
            raise UserError("--formats is empty: there is nothing to write")

    def resolve(self) -> DemoOptions:
        """The same with the dataset's alias replaced by its name.

        Raises:
            UserError: no prompt, or two sources of prompts.
        """
        if (self.text_prompt is None) == (self.text_path is None):
            raise UserError("give either --text_prompt or --text_path")
        return replace(self, dataset_name=canonical_dataset(self.dataset_name))


@dataclass(frozen=True)
class ExportOptions:
    """export_run.py"""

    run: str = option(help="folder of the trained run, e.g. logs/mini/vq")
    out: str = option(help="folder that is written, e.g. pretrained/mini/vq")
    which_epoch: str | None = option(None, f"checkpoint of the run: {CHECKPOINT_HELP}")


@dataclass(frozen=True)
class FitOptions:
    """fit.py"""

    dir: str = option("new_test_npy", "folder of motions: .bvh, joints (T, 22, 3) as .npy or .npz, joints.npy below it")
    reading: ReadSettings = ReadSettings()
    save_folder: str = option("new_temp_npy", "folder that NAME_smpl.npz and NAME_mesh.npy are written into")
    cuda: str = option("auto", "device: cuda:0, cuda:1, ..., cpu, or auto: the first GPU if there is one")
    body_model: str = option(
        "body_models/smpl", "SMPL body model: SMPL_NEUTRAL.npz or .pkl, or the folder that holds it"
    )
    gender: Literal["neutral", "male", "female"] = option("neutral", "which body of the folder")
    num_betas: int = option(10, "shape coefficients", minimum=1, maximum=300)
    fps: float = option(0.0, "frames a second of the motions whatever their files say; 0: their own", maximum=240)
    iterations: int = option(60, "L-BFGS iterations a motion", minimum=1)

    def __post_init__(self) -> None:
        if not self.dir.strip() or not self.save_folder.strip():
            raise UserError("--dir and --save_folder must name folders")
        if self.fps != 0 and self.fps < 1:
            raise UserError(f"--fps must be 0 or at least 1, not {self.fps}")
        check_gpu_id(self.gpu_id)

    @property
    def gpu_id(self) -> str:
        """`cuda` as the other scripts' `--gpu_id`.

        Raises:
            UserError: it is neither a GPU, cpu nor auto.
        """
        names = {"cpu": "-1", "cuda": "0", "auto": "auto"}
        number = names.get(self.cuda, self.cuda.removeprefix("cuda:"))
        if number not in names.values() and not number.isdecimal():
            raise UserError(f"--cuda must be cuda:0, another GPU, cpu or auto, not {self.cuda!r}")
        return number
