"""The one place where a saved run becomes a model. The architecture comes from the run's config, never from flags."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from models.configs import (
    MAX_WIDTH,
    LengthEstimatorConfig,
    MaskedTransformerConfig,
    Precision,
    ResidualTransformerConfig,
    RVQConfig,
    TransformerConfig,
)
from models.evaluator.own import OwnEvaluator
from models.length_estimator import LengthEstimator
from models.precision import check_precision, lower_precision
from models.rag.database import RAGDatabase
from models.text_encoder import TextEncoder, build_text_encoder
from models.transformer.condition import ConditionDims
from models.transformer.masked import MaskedTransformer
from models.transformer.residual import ResidualTransformer
from models.vq.rvq import RVQVAE
from options.groups import RetrievalOptions
from options.stages import TokenInputs
from Part_TMR.retriever import Retriever
from pipeline.runs import Runs
from storage.shipped import locate
from utils.errors import UserError
from utils.fingerprint import weights_hash
from utils.fits import check_library_reads, check_retriever, check_text_encoders, check_tokens
from utils.run import LibraryFacts, Run, TokenShape


def _text_dim(run: Run) -> int:
    """Width of the captions' features that a length estimator reads."""
    text_dim = run.value("text_dim")
    if type(text_dim) is not int or not 1 <= text_dim <= MAX_WIDTH:
        raise UserError(f"{run.path}: text_dim must be a whole number from 1 to {MAX_WIDTH}, not {text_dim!r}")
    return text_dim


# Stage -> schema of its config's "model", and what makes a model of that and what else the config says.
BUILDERS: dict[str, tuple[type, Callable[[Run, Any], torch.nn.Module]]] = {
    "vq": (RVQConfig, lambda run, config: RVQVAE(config, run.format)),
    "mtrans": (MaskedTransformerConfig, lambda run, config: MaskedTransformer(config, *_token_facts(run))),
    "rtrans": (ResidualTransformerConfig, lambda run, config: ResidualTransformer(config, *_token_facts(run))),
    "length": (LengthEstimatorConfig, lambda run, config: LengthEstimator(config, _text_dim(run))),
}
# The stages that come with the text encoder that they were trained with.
WITH_TEXT_ENCODER = {"tmr": Retriever, "evaluator": OwnEvaluator}


def _token_facts(run: Run) -> tuple[ConditionDims, TokenShape]:
    return run.section("dims", ConditionDims), run.section("tokens", TokenShape)


def load_run(
    run: Run,
    which: str | None = None,
    device: torch.device | str = "cpu",
    text_encoder: TextEncoder | None = None,
) -> Any:
    """What a run trained: an RVQVAE, MaskedTransformer, ResidualTransformer, LengthEstimator, Retriever, OwnEvaluator.

    Args:
        which: checkpoint, see `resolve_checkpoint`.
        text_encoder: shared with others, for retriever and evaluator, if they were trained with the same.

    Raises:
        UserError: no such checkpoint, or a config or weights of something else.
    """
    if run.stage in WITH_TEXT_ENCODER:
        return WITH_TEXT_ENCODER[run.stage].load(run, device, text_encoder, which)
    if run.stage not in BUILDERS:
        raise UserError(f"{run.path}: there is no stage {run.stage!r}")
    schema, build = BUILDERS[run.stage]
    config = run.section("model", schema)
    return run.filled(config, lambda: build(run, config), which, device)


def load_library(
    retriever_run: Run,
    folder: Path,
    device: torch.device | str,
    text_encoder: TextEncoder,
    generators: Sequence[tuple[TransformerConfig, TokenShape]] = (),
    readers: Sequence[Run] = (),
) -> tuple[Retriever, RAGDatabase]:
    """A retriever and the database in a folder, which belong together.

    Args:
        generators: what is to read the library.
        readers: the transformers that were trained with this retriever.

    Raises:
        UserError: something is missing, or does not fit the others.
    """
    retriever = load_run(retriever_run, None, device, text_encoder)
    for run in readers:
        check_retriever(run, retriever_run, retriever.hash)
    database = RAGDatabase.load(folder, retriever.hash, device)
    for config, tokens in generators:
        held = database.embedded.levels
        check_library_reads(folder, database.facts, held, tokens, vars(config))
    return retriever, database


def load_generator(
    runs: Runs,
    mtrans_name: str,
    rtrans_name: str | None,
    device: torch.device | str,
    which: Mapping[str, str | None],
    precision: Precision,
    *,
    vq_name: str | None,
    retriever_name: str | None,
    database: Path | str | None,
    length_name: str,
) -> dict[str, Any]:
    """What a `TextToMotion` is made of besides its dataset, by its attributes; see `TextToMotion.load`.

    Args:
        which: checkpoint of the runs of a stage.

    Raises:
        UserError: see there.
    """
    check_precision(precision, torch.device(device))
    used = {"mtrans": runs.open(mtrans_name, "mtrans")}
    if rtrans_name is not None:
        used["rtrans"] = runs.open(rtrans_name, "rtrans")
    transformers = list(used.values())
    used["vq"] = runs.open(vq_name or used["mtrans"].section("inputs", TokenInputs).vq_name, "vq")
    if locate(runs.path(length_name)).is_dir():
        used["length"] = runs.open(length_name, "length")
    check_text_encoders(run for run in used.values() if run.text_encoder is not None)
    models = {stage: load_run(run, which.get(stage), device) for stage, run in used.items()}
    vq_hash = weights_hash(models["vq"].state_dict())
    for run in transformers:
        check_tokens(run, used["vq"], vq_hash)
        lower_precision(models[run.stage].transformer, precision)
    text_encoder = build_text_encoder(used["mtrans"].text_encoder, device=device)
    retriever, library = None, None
    if readers := [run for run in transformers if models[run.stage].config.retrieved != "none"]:
        trained_with = readers[0].section("retrieval", RetrievalOptions)
        used["tmr"] = runs.open(retriever_name or trained_with.retriever_name, "tmr")
        generators = [(models[run.stage].config, run.tokens) for run in readers]
        folder = runs.database(database, trained_with.database)
        retriever, library = load_library(used["tmr"], folder, device, text_encoder, generators, readers)
    return {
        "text_encoder": text_encoder,
        "vq": models["vq"],
        "masked": models["mtrans"],
        "residual": models.get("rtrans"),
        "length_estimator": models.get("length"),
        "retriever": retriever,
        "database": library,
        "device": torch.device(device),
        "runs": used,
    }


def token_config(dims: ConditionDims, tokens: TokenShape, database: RAGDatabase | None = None) -> dict[str, Any]:
    """What the training of a transformer adds to its config, for the loader above."""
    config = {"dims": asdict(dims), "tokens": asdict(tokens)}
    if database is None:
        return config
    library = LibraryFacts(database.retriever_hash, len(database), len(database.embedded.text))
    return config | {"library": asdict(library)}
