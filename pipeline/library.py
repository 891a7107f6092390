"""The jobs of build_rag_database.py, and the motions of a library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.clips import Clip, load_split
from data.specs import DatasetSpec
from models.rag.database import Entry, RAGDatabase
from models.rag.manifest import MANIFEST
from models.vq.rvq import RVQVAE
from models.vq.tokenise import cached_tokens, decode_motions, tokenise
from options.command_line import own_command
from options.library import BuildOptions
from Part_TMR.building import merge_shards, shard_folder, share_of
from Part_TMR.library import embed_library, read_own_clips, reader_for
from Part_TMR.retriever import Retriever
from pipeline.loader import load_run
from pipeline.motions import read_bodies
from pipeline.runs import Runs, runs_of
from utils.arrays import read_array
from utils.device import choose_device
from utils.errors import UserError
from utils.files import remove_abandoned
from utils.fingerprint import weights_hash
from utils.row_store import Row

RECALL_QUERIES, RECALL_AT = 1000, 10

Built = tuple[Path, RAGDatabase]


def _start(options: BuildOptions) -> tuple[Runs, Path, Retriever]:
    """Runs of the dataset, folder of the database, retriever."""
    runs = runs_of(options.run)
    retriever = load_run(runs.open(options.run.name, "tmr"), options.which_epoch, choose_device(options.run.gpu_id))
    folder = Path(options.output) / runs.spec.name
    remove_abandoned(folder.parent)  # a build that was killed may have set the database aside
    return runs, folder, retriever


def _tokens(
    options: BuildOptions,
    runs: Runs,
    vq_name: str | None,
    motions: Sequence[np.ndarray | Row],
    cached: bool = False,
) -> tuple[dict[str, Any], list[Tensor] | None]:
    """The tokeniser as a fact of the manifest, and the motions' codes (N, J, Q); nothing without a tokeniser."""
    if vq_name is None:
        return {}, None
    vq = load_run(runs.open(vq_name, "vq"), options.vq_checkpoint, choose_device(options.run.gpu_id))
    codes = cached_tokens(vq, motions, runs.spec.cache_dir) if cached else tokenise(vq, motions)
    return {"tokenizer": {"name": vq_name, "hash": weights_hash(vq.state_dict())}}, codes


def build_library(options: BuildOptions) -> Built:
    """Embeds a split, or one share of it; an interrupted build goes on where it stopped. Long clips become windows.

    Raises:
        UserError: dataset, run or checkpoint is missing, or the folder cannot be written.
    """
    runs, folder, retriever = _start(options)
    spec = runs.spec
    clips = load_split(spec, options.split, windows=True)
    number, count = options.share
    share = share_of(len(clips), number, count)
    if not share:
        raise UserError(f"--shard {options.shard} is empty: there are only {len(clips)} motions")
    if options.shard is not None:
        clips, folder = clips[share.start : share.stop], shard_folder(folder, number, count)
    entries = [entry_of(clip) for clip in clips]
    motions = [clip.features for clip in clips]
    facts = {
        "retriever": {"name": retriever.name, "hash": retriever.hash},
        "dataset": spec.name,
        "format": spec.format.to_json(),
        "command": own_command(),
        **({} if options.shard is None else {"shard": options.shard}),
    }
    tokenizer, tokens = _tokens(options, runs, options.vq_name, motions, cached=True)
    embedded = embed_library(retriever, entries, motions, tokens, spec.cache_dir)
    return _finish(options, folder, RAGDatabase(embedded, facts | tokenizer))


def merge_library(options: BuildOptions) -> Built:
    """Puts the shards beside the database's folder together; they stay.

    Raises:
        UserError: shards are missing or do not fit.
    """
    _, folder, retriever = _start(options)
    return _finish(options, folder, merge_shards(folder, retriever.hash))


def add_clips(options: BuildOptions) -> Built:
    """Adds a user's clips to an existing database. Long clips become windows.

    Where there is none in the output folder yet, it becomes a larger copy of the one beside the runs.

    Raises:
        UserError: no database, or bad clips.
    """
    runs, folder, retriever = _start(options)
    source = runs.database(folder if (folder / MANIFEST).is_file() else None, options.output)
    database = RAGDatabase.load(source, retriever.hash)
    reader = reader_for(runs.spec, options.reading, read_bodies(options.body_model))
    clips = read_own_clips(options.add, options.caption, runs.spec, reader)
    entries, motions = [entry_of(clip) for clip in clips], [clip.features for clip in clips]
    known = database.facts.get("tokenizer")
    tokenizer, tokens = _tokens(options, runs, options.vq_name or (known or {}).get("name"), motions)
    if tokenizer and tokenizer["tokenizer"] != known:
        raise UserError(f"{source} holds tokens of {known}, --vq_name is {tokenizer['tokenizer']}")
    finished = _finish(options, folder, database.add(embed_library(retriever, entries, motions, tokens)))
    if source != folder:
        print(f"{source} stays as it is: give the others --database {options.output}")
    return finished


def _finish(options: BuildOptions, folder: Path, database: RAGDatabase) -> Built:
    """Makes the index that was asked for, says how good it is, and writes the folder."""
    if options.index != "exact" and options.shard is None:
        database = database.with_index(options.index)
        text = database.embedded.text
        queries = text[torch.randperm(len(text), generator=torch.Generator().manual_seed(0))[:RECALL_QUERIES]]
        k = min(RECALL_AT, len(database))
        recall = 100 * database.index.recall(queries, k)
        print(f"index {options.index}: {recall:.1f} % of the exact top {k} of {len(queries)} captions are found")
    database.save(folder)
    return folder, database


def entry_of(clip: Clip) -> Entry:
    """What the library says of a clip."""
    return Entry(clip.id, clip.take, tuple(caption.text for caption in clip.captions), clip.frames)


def library_motion(
    database: RAGDatabase,
    number: int,
    spec: DatasetSpec,
    tokenizer: Callable[[str], RVQVAE],
) -> np.ndarray:
    """Raw features (T, D) of a motion of the library: from the dataset's folder, else decoded from its base tokens.

    Args:
        tokenizer: gives the RVQ-VAE for the name of the run that made the tokens; called if they are needed.

    Raises:
        UserError: neither is there.
    """
    entry = database.entries[number]
    path = spec.features_dir / f"{entry.file_name}.npy"
    if path.is_file():
        features = read_array(path).astype(np.float32)
        return features if entry.frames is None else features[slice(*entry.frames)]
    made_by = database.facts.get("tokenizer")
    if made_by is None:
        raise UserError(f"motion {entry.id} cannot be shown: {path} does not exist, and the database holds no tokens")
    vq = tokenizer(made_by["name"])
    if weights_hash(vq.state_dict()) != made_by["hash"]:
        raise UserError(
            f"motion {entry.id} cannot be shown: {path} does not exist, and its tokens are of another RVQ-VAE"
        )
    steps = database.embedded.steps[number : number + 1].long()
    tokens = database.embedded.tokens[number : number + 1, :, :, None].long()
    return decode_motions(vq, tokens.to(vq.normalizer.mean.device), steps)[0]
