"""What a transformer is told in training: its captions, and what each may retrieve. All of it is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from data.clips import Clip
from data.specs import DatasetSpec
from models.rag.conditions import ConditionSource
from models.rag.database import RAGDatabase
from models.rag.pool import training_pool
from models.rag.variations import Variations, variations_of
from models.text_encoder import TextFeatureStore, build_text_encoder
from models.transformer.condition import ConditionDims
from models.vq.rvq import RVQVAE
from models.vq.tokenise import kept_tokens
from options.stages import MaskedOptions, ResidualOptions
from Part_TMR.library import caption_queries, kept_sentences, sentence_rows
from pipeline.loader import load_library
from pipeline.runs import Runs
from storage.row_store import digest
from utils.run import TokenShape


class Conditions(NamedTuple):
    """Where conditions come from, their widths, and the library."""

    source: ConditionSource
    dims: ConditionDims
    database: RAGDatabase | None


def training_conditions(
    options: MaskedOptions | ResidualOptions,
    runs: Runs,
    device: torch.device,
    train: Sequence[Clip],
    val: Sequence[Clip],
    vq: RVQVAE,
    tokens: TokenShape,
) -> Conditions:
    """The conditions of all captions of both splits, those of the training first.

    Raises:
        UserError: retriever or library are missing, or lack what the transformer is to read.
    """
    config, how, spec = options.model, options.training_retrieval, runs.spec
    encoder = build_text_encoder(config.text_encoder, device)
    captions = [caption.text for clip in (*train, *val) for caption in clip.captions]
    texts = TextFeatureStore(encoder, captions, spec.cache_dir)
    if config.retrieved == "none":
        return Conditions(ConditionSource(texts, None, None, config.n_retrieved), ConditionDims(encoder.dim), None)
    library_dir = runs.database(options.retrieval.database)
    retriever_run = runs.open(options.retrieval.retriever_name, "tmr")
    retriever, database = load_library(retriever_run, library_dir, device, encoder, [(config, tokens)])
    n_parts, part_dim = database.embedded.parts.shape[1:]
    takes = [clip.take for clip in (*train, *val) for _ in clip.captions]
    embed = caption_queries(retriever, captions, spec.cache_dir, database)
    pool = training_pool(database, embed, captions, takes, how.retrieval_pool * config.n_retrieved, spec.cache_dir)
    if not pool.shape[1]:
        print(f"note: {library_dir} holds nothing but a caption's own take: training goes on without retrieval")
    source = ConditionSource(
        texts,
        database,
        pool,
        config.n_retrieved,
        sentence_rows(kept_sentences(retriever, captions, spec.cache_dir), [*map(digest, captions)])
        if config.trust
        else None,
        _variations(train, vq, database, spec) if how.own_retrieval_prob and database.embedded.levels else None,
        how.own_retrieval_prob,
        how.random_retrieval_prob,
    )
    return Conditions(source, ConditionDims(encoder.dim, database.dimension, part_dim, n_parts), database)


def _variations(clips: Sequence[Clip], vq: RVQVAE, database: RAGDatabase, spec: DatasetSpec) -> Variations:
    """Of the training clips; the library may hold a long one in windows."""
    made = [variations_of(clip.features, spec.format) for clip in clips]
    every = [variation for each in made for variation in each]
    codes = iter(kept_tokens(vq, every, spec.cache_dir, [variation.key for variation in every]))
    numbers = {name.split("@")[0]: number for number, name in enumerate(database.entries.ids)}
    return Variations(
        [[next(codes) for _ in each] for each in made],
        [number for number, clip in enumerate(clips) for _ in clip.captions],
        [numbers.get(clip.id, -1) for clip in clips for _ in clip.captions],
        spec.max_frames // spec.format.unit_length,
        database.device,
    )
