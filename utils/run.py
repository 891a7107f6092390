"""A run that was trained, as it lies on the disk: config.json, read once, and the checkpoints beside it. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from storage.checkpoint_names import resolve_checkpoint
from storage.files import read_json
from utils.errors import UserError
from utils.formats import format_of, published
from utils.motion_format import MotionFormat
from utils.schema import Schema, from_dict, option

if TYPE_CHECKING:
    import torch
    from torch import nn

Model = TypeVar("Model", bound="nn.Module")


@dataclass(frozen=True)
class TokenShape:
    """What a transformer must know of the RVQ-VAE whose tokens it reads, kept in its config."""

    nb_code: int = option(minimum=1, maximum=32_767)
    n_parts: int = option(minimum=1, maximum=1000)
    num_quantizers: int = option(minimum=1, maximum=64)
    vq_hash: str = option()
    code_dim: int = option(0, minimum=0, maximum=8192)  # configs of before lack it, and models that read it


@dataclass(frozen=True)
class LibraryFacts:
    """What a transformer retrieved from in training, kept in its config; configs of before lack it."""

    retriever_hash: str
    motions: int
    captions: int


class Run:
    """A run that was trained.

    Args:
        folder: holds config.json and model/.

    Raises:
        UserError: no config, or a broken one.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.path = self.folder / "config.json"
        content = read_json(self.path)
        if not isinstance(content, dict):
            raise UserError(f"{self.path} must hold an object, not {type(content).__name__}")
        self.config, self._tells_rate = upgraded(content), "format" in content

    def of_stage(self, stage: str | None) -> Run:
        """The same run; raises `UserError` unless it is of this stage (None: any)."""
        if stage not in (None, self.stage):
            raise UserError(f"{self.folder} is a run of stage {self.stage!r}, not of {stage!r}")
        return self

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def stage(self) -> Any:
        """What was trained: vq, tmr, mtrans, rtrans, length, evaluator."""
        return self.config.get("stage")

    def section(self, name: str, schema: type[Schema]) -> Schema:
        """A part of the config, strictly.

        Raises:
            UserError: it is missing or does not fit; the key is named.
        """
        return from_dict(schema, self.config.get(name), f"{self.path}: {name}")

    def value(self, *keys: str) -> Any:
        """What the config says under these nested keys; None where it says nothing."""
        found: Any = self.config
        for key in keys:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found

    @cached_property
    def format(self) -> MotionFormat:
        """What the run's motions are.

        Raises:
            UserError: the config does not say, or contradicts itself.
        """
        return format_of(self.config.get("format"), f"{self.path}: format")

    def difference(self, form: MotionFormat) -> str | None:
        """As `MotionFormat.difference`; former runs, which do not tell their frame rate, have the other's."""
        return self.format.difference(form if self._tells_rate else replace(form, fps=self.format.fps))

    @property
    def text_encoder(self) -> str | None:
        """Name of the text encoder that it reads captions by; None: it reads none."""
        return self.value("model", "text_encoder")

    @property
    def tokens(self) -> TokenShape | None:
        """The tokens that it was trained on; None: on motions."""
        return self.section("tokens", TokenShape) if "tokens" in self.config else None

    @property
    def library(self) -> LibraryFacts | None:
        """What it retrieved from in training; None: from nothing, or the config is older than this entry."""
        return self.section("library", LibraryFacts) if "library" in self.config else None

    def checkpoint(self, which: str | None = None) -> Path:
        """The one checkpoint that `which` means, see `resolve_checkpoint`."""
        return resolve_checkpoint(self.folder, which)

    @cached_property
    def hash(self) -> str:
        """What those that were trained with it know it by: the fingerprint of the weights that it has by default."""
        from utils.fingerprint import read_arrays, retriever_hash, weights_hash

        state = read_arrays(self.checkpoint())
        if self.stage == "tmr":
            return retriever_hash(self.config["model"], self.format.name, state)
        return weights_hash(state)

    def filled(
        self, config: Any, build: Callable[[], Model], which: str | None = None, device: torch.device | str = "cpu"
    ) -> Model:
        """The model with the weights of the checkpoint that `which` means, strictly; frozen, in evaluation mode.

        Args:
            config: the model's; sizes that the weights cannot fill take no memory.
            build: makes the model.

        Raises:
            UserError: no such checkpoint, or one of another model.
        """
        from storage.checkpoint import load_state, read_model

        path = self.checkpoint(which)
        state = read_model(path)
        there = sum(getattr(value, "nbytes", 0) for value in state.values())
        if config.least_weights > there:  # half precision is two bytes each
            raise UserError(
                f"{self.path}: model has over {config.least_weights:.2g} weights, {path} has {there:,} bytes"
            )
        model = build()
        load_state(model, state, path)
        return model.to(device).eval().requires_grad_(False)


# What configs from before these options stand for.
FORMER: dict[str, dict[str, Any]] = {
    "training_retrieval": {"retrieval_pool": 3, "own_retrieval_prob": 0.0, "random_retrieval_prob": 0.0},
    "rates": {"motion_lr_factor": 1.0},
    "data": {"tempo": 0.0},
    "loss": {"stance_weight": 0.0, "bone_weight": 0.0},
    "codebook": {"keep_codes": False},
}
# What runs of a stage are that were made before these could be told.
_TRANSFORMER_SINCE = {"model": {"retrieved_levels": 0, "trust": False, "copy_from": 0.9}, "tokens": {"code_dim": 0}}
SINCE = {
    "mtrans": {**_TRANSFORMER_SINCE, "model": {**_TRANSFORMER_SINCE["model"], "part_mask_prob": 0.0}},
    "rtrans": _TRANSFORMER_SINCE,
    "vq": {"model": {"max_bone_change": None, "max_foot_slide": None}},
}


def upgraded(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config as it would be written today.

    Former ones named one of two layouts in place of the format, or told it by the dataset alone.
    """
    config = dict(config)
    model, run = config.get("model"), config.get("run")
    name = run.get("dataset_name") if isinstance(run, Mapping) else None
    if isinstance(model, Mapping) and "layout" in model:
        config["model"] = {key: value for key, value in model.items() if key != "layout"}
        name = model["layout"]
    for group, values in SINCE.get(str(config.get("stage")), {}).items():
        if isinstance(config.get(group), Mapping):
            config[group] = values | config[group]
    if "format" not in config and (form := published(str(name))) is not None:
        config["format"] = form.to_json()
    return config
