"""What was trained with one thing does not work with another: every check of that, each with one clear line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.motion_format import MotionFormat
from utils.run import Run, TokenShape

BUILD_AGAIN = "build it again with build_rag_database.py"


def check_tokens(run: Run, vq: Run, vq_hash: str) -> None:
    """Raises `UserError` when a transformer's run was trained on tokens of another RVQ-VAE than `vq`."""
    if run.tokens is not None and run.tokens.vq_hash != vq_hash:
        raise UserError(
            f"{run.name} was trained on tokens of the RVQ-VAE {run.tokens.vq_hash}, but {vq.folder} holds {vq_hash}"
        )


def check_retriever(run: Run, retriever: Run, retriever_hash: str) -> None:
    """Raises `UserError` when a transformer's run was trained with another retriever than `retriever`."""
    if run.library is not None and run.library.retriever_hash != retriever_hash:
        raise UserError(
            f"{run.name} was trained with the retriever {run.library.retriever_hash}, but {retriever.folder} holds"
            f" {retriever_hash}"
        )


def check_text_encoders(runs: Iterable[Run]) -> None:
    """Raises `UserError` unless all runs were trained with one text encoder."""
    encoders = {run.name: run.text_encoder for run in runs}
    if len(set(encoders.values())) > 1:
        told = ", ".join(f"{name} with {encoder}" for name, encoder in encoders.items())
        raise UserError(f"these runs do not work together, they were trained with different text encoders: {told}")


def check_one_vq(run: Run, other: Run) -> None:
    """Raises `UserError` unless both transformers were trained on tokens of one RVQ-VAE."""
    if run.tokens is not None and other.tokens is not None and run.tokens.vq_hash != other.tokens.vq_hash:
        raise UserError(
            f"{run.name} was trained on tokens of the RVQ-VAE {run.tokens.vq_hash}, {other.name} on those of"
            f" {other.tokens.vq_hash}"
        )


def check_formats(run: Run, form: MotionFormat, name: str) -> None:
    """Raises `UserError` when the motions of a run are of another format than those of `name`."""
    if difference := run.difference(form):
        raise UserError(f"the motions of {run.name} and {name} are of different formats: {difference}")


def check_library_retriever(folder: Path, manifest: Mapping[str, Any], expected: str | None) -> None:
    """Raises `UserError` when another retriever than the expected one (None: any) made the database in `folder`."""
    retriever = manifest.get("retriever")
    if not isinstance(retriever, dict) or not isinstance(retriever.get("hash"), str):
        raise UserError(f"{folder} does not say which retriever made it: {BUILD_AGAIN}")
    if expected is not None and retriever["hash"] != expected:
        raise UserError(
            f"{folder} was made by the retriever {retriever.get('name')} ({retriever['hash']}), not by the one in use"
            f" ({expected}): {BUILD_AGAIN}"
        )


def check_library_tokens(folder: Path, manifest: Mapping[str, Any], expected: str) -> None:
    """Raises `UserError` unless the database in `folder` holds tokens of the RVQ-VAE `expected`."""
    tokenizer = manifest.get("tokenizer")
    found = tokenizer.get("hash") if isinstance(tokenizer, dict) else None
    if found is None:
        raise UserError(f"{folder} holds no tokens: build it with build_rag_database.py --vq_name NAME")
    if found != expected:
        raise UserError(
            f"{folder} holds tokens of the RVQ-VAE {found}, not of {expected}: {BUILD_AGAIN} --vq_name NAME"
        )


def check_library_reads(
    folder: Path, manifest: Mapping[str, Any], held: int, tokens: TokenShape, model: Mapping[str, Any]
) -> None:
    """Raises `UserError` unless the database in `folder` holds what a transformer reads of it.

    Args:
        held: levels of tokens that it holds.
        tokens: those that the transformer knows.
        model: its config.
    """
    every = min(model.get("retrieved_levels") or tokens.num_quantizers, tokens.num_quantizers)
    if wanted := {"tokens": 1, "levels": every}.get(model["retrieved"], 0):
        check_library_tokens(folder, manifest, tokens.vq_hash)
        if held < wanted:
            raise UserError(
                f"{folder} holds {held} of the {wanted} levels of tokens that are read: {BUILD_AGAIN} --vq_name NAME"
            )
    if model.get("trust") and "sentences" not in manifest:
        raise UserError(f"{folder} holds no sentence vectors, which --trust compares: {BUILD_AGAIN}")
