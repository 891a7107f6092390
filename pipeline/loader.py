"""The one place where a saved run becomes a model. The architecture comes from the run's config, never from flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from models.configs import (
    LengthEstimatorConfig,
    MaskedTransformerConfig,
    ResidualTransformerConfig,
    RVQConfig,
)
from models.length_estimator import LengthEstimator
from models.rag.database import RAGDatabase
from models.transformer.condition import ConditionDims
from models.transformer.masked import MaskedTransformer
from models.transformer.residual import ResidualTransformer
from models.vq.rvq import RVQVAE
from models.vq.tokenise import state_hash
from options.groups import RetrievalOptions
from options.stages import TokenInputs
from Part_TMR.retriever import Retriever
from utils.checkpoint import load_state, read_model
from utils.errors import UserError
from utils.run import Run

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class TokenShape:
    """What a transformer must know of the RVQ-VAE whose tokens it reads, kept in its config."""

    nb_code: int
    n_parts: int
    num_quantizers: int
    vq_hash: str


@dataclass(frozen=True)
class LibraryFacts:
    """What a transformer retrieved from in training, kept in its config; configs of before lack it."""

    retriever_hash: str
    motions: int
    captions: int


def _filled(model: Model, run: Run, which: str | None, device: torch.device | str) -> Model:
    path = run.checkpoint(which)
    load_state(model, read_model(path), path)
    return model.to(device).eval().requires_grad_(False)


def load_vq(run_dir: Path, which: str | None = None, device: torch.device | str = "cpu") -> RVQVAE:
    """The RVQ-VAE of a run.

    Raises:
        UserError: no such run or checkpoint, or one of another model (as for the other loaders).
    """
    run = Run(run_dir, "vq")
    return _filled(RVQVAE(run.section("model", RVQConfig), run.format), run, which, device)


def token_config(dims: ConditionDims, tokens: TokenShape, database: RAGDatabase | None = None) -> dict[str, Any]:
    """What the training script of a transformer adds to its config, for the loaders below."""
    config = {"dims": asdict(dims), "tokens": asdict(tokens)}
    if database is None:
        return config
    library = LibraryFacts(database.retriever_hash, len(database), len(database.embedded.text))
    return config | {"library": asdict(library)}


def build_masked(config: MaskedTransformerConfig, dims: ConditionDims, tokens: TokenShape) -> MaskedTransformer:
    """A new masked transformer."""
    return MaskedTransformer(config, tokens.nb_code, tokens.n_parts, dims)


def build_residual(config: ResidualTransformerConfig, dims: ConditionDims, tokens: TokenShape) -> ResidualTransformer:
    """A new residual transformer."""
    return ResidualTransformer(config, tokens.nb_code, tokens.n_parts, tokens.num_quantizers, dims)


def token_shape(run_dir: Path) -> TokenShape:
    """The tokens that a transformer's run was trained on."""
    return Run(run_dir).section("tokens", TokenShape)


def token_inputs(run_dir: Path) -> TokenInputs:
    """The RVQ-VAE that a transformer's run was trained with."""
    return Run(run_dir).section("inputs", TokenInputs)


def retrieval_options(run_dir: Path) -> RetrievalOptions:
    """The retriever and the library that a transformer's run was trained with."""
    return Run(run_dir).section("retrieval", RetrievalOptions)


def load_masked(run_dir: Path, which: str | None = None, device: torch.device | str = "cpu") -> MaskedTransformer:
    """The masked transformer of a run."""
    run = Run(run_dir, "mtrans")
    dims, tokens = run.section("dims", ConditionDims), run.section("tokens", TokenShape)
    return _filled(build_masked(run.section("model", MaskedTransformerConfig), dims, tokens), run, which, device)


def load_residual(run_dir: Path, which: str | None = None, device: torch.device | str = "cpu") -> ResidualTransformer:
    """The residual transformer of a run."""
    run = Run(run_dir, "rtrans")
    dims, tokens = run.section("dims", ConditionDims), run.section("tokens", TokenShape)
    return _filled(build_residual(run.section("model", ResidualTransformerConfig), dims, tokens), run, which, device)


def load_length_estimator(
    run_dir: Path, which: str | None = None, device: torch.device | str = "cpu"
) -> LengthEstimator:
    """The length estimator of a run."""
    run = Run(run_dir, "length")
    text_dim = run.config.get("text_dim")
    if type(text_dim) is not int or text_dim < 1:
        raise UserError(f"{run.path}: text_dim must be a positive whole number, not {text_dim!r}")
    return _filled(LengthEstimator(run.section("model", LengthEstimatorConfig), text_dim), run, which, device)


def check_text_encoders(models: Mapping[str, nn.Module]) -> None:
    """Raises `UserError` unless all models, by the names of their runs, were trained with one text encoder."""
    encoders = {name: model.config.text_encoder for name, model in models.items()}
    if len(set(encoders.values())) > 1:
        told = ", ".join(f"{name} with {encoder}" for name, encoder in encoders.items())
        raise UserError(f"these runs do not work together, they were trained with different text encoders: {told}")


def check_tokens(vq: RVQVAE, vq_dir: Path, expected: str, name: str) -> None:
    """Raises `UserError` when the transformer `name` was trained on tokens of another RVQ-VAE than `vq`."""
    if (found := state_hash(vq)) != expected:
        raise UserError(f"{name} was trained on tokens of the RVQ-VAE {expected}, but {vq_dir} holds {found}")


def check_retriever(retriever: Retriever, retriever_dir: Path, run_dir: Path) -> None:
    """Raises `UserError` when the transformer of `run_dir` was trained with another retriever than `retriever`."""
    run = Run(run_dir)
    if "library" not in run.config:
        return
    expected = run.section("library", LibraryFacts).retriever_hash
    if expected != retriever.hash:
        raise UserError(
            f"{run_dir.name} was trained with the retriever {expected}, but {retriever_dir} holds {retriever.hash}"
        )


def check_database_tokens(database: RAGDatabase, folder: Path, expected: str) -> None:
    """Raises `UserError` unless the library holds base tokens of the RVQ-VAE `expected`."""
    if database.tokenizer_hash is None:
        raise UserError(f"{folder} holds no base tokens: build it with build_rag_database.py --vq_name NAME")
    if database.tokenizer_hash != expected:
        raise UserError(
            f"{folder} holds base tokens of the RVQ-VAE {database.tokenizer_hash}, not of {expected}:"
            " build it again with build_rag_database.py --vq_name NAME"
        )
