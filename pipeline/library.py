"""The jobs of build_rag_database.py, and the motions of a library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.clips import Clip, load_split, names_none
from data.specs import DatasetSpec
from models.rag.captions import SENTENCE_SPACE
from models.rag.database import RAGDatabase
from models.rag.entries import Entries, Entry
from models.rag.manifest import MANIFEST, library_format, read_manifest
from models.rag.scoring import DEFAULT, Weighed, weigh
from models.rag.thinning import covering
from models.rag.writing import write
from models.vocabulary.words import count_words
from models.vq.rvq import RVQVAE
from models.vq.tokenise import decode_motions, detokenise, kept_tokens, tokenise
from options.command_line import own_command
from options.library import BuildOptions
from Part_TMR.building import merge_shards, shard_folder
from Part_TMR.library import (
    embed_library,
    embedded_blocks,
    kept_sentences,
    read_own_clips,
    reader_for,
    sentence_rows,
)
from Part_TMR.retriever import Retriever
from pipeline.loader import load_run
from pipeline.motions import read_bodies
from pipeline.runs import Runs, run_path, runs_of
from storage.arrays import read_array
from storage.files import remove_abandoned
from storage.row_store import digest
from storage.shipped import locate
from utils.device import choose_device
from utils.errors import UserError
from utils.fingerprint import weights_hash
from utils.fits import BUILD_AGAIN, check_library_tokens
from utils.run import Run

RECALL_QUERIES, RECALL_AT = 1000, 10

Built = tuple[Path, RAGDatabase]


def _start(options: BuildOptions) -> tuple[Runs, Path, Retriever]:
    """Runs of the dataset, folder of the database, retriever."""
    runs = runs_of(options.run)
    retriever = load_run(runs.open(options.run.name, "tmr"), options.which_epoch, choose_device(options.run.gpu_id))
    folder = Path(options.output) / runs.spec.name
    remove_abandoned(folder.parent)  # a build that was killed may have set the database aside
    return runs, folder, retriever


def _tokenizer(options: BuildOptions, runs: Runs, vq_name: str | None) -> tuple[dict[str, Any], RVQVAE | None]:
    """The tokeniser as a fact of the manifest, and itself; nothing without one."""
    if vq_name is None:
        return {}, None
    vq = load_run(runs.open(vq_name, "vq"), options.vq_checkpoint, choose_device(options.run.gpu_id))
    return {"tokenizer": {"name": vq_name, "hash": weights_hash(vq.state_dict())}}, vq


def build_library(options: BuildOptions) -> Built:
    """Embeds a split, or one share of it; an interrupted build goes on where it stopped. Long clips become windows.

    Raises:
        UserError: dataset, run or checkpoint is missing, or the folder cannot be written.
    """
    share = options.share
    runs, folder, retriever = _start(options)
    spec = runs.spec
    clips, words = load_split(spec, options.split, windows=True), {}
    if options.most_motions is not None:
        words = {"words": count_words(caption.text for clip in clips for caption in clip.captions)}
        clips = thinned(clips, options.most_motions, partial(_sentences, retriever, spec.cache_dir))
    facts = {
        "retriever": {"name": retriever.name, "hash": retriever.hash},
        "dataset": spec.name,
        "split": options.split,
        "format": spec.format.to_json(),
        "command": own_command(),
    } | ({"sentences": SENTENCE_SPACE} if options.with_sentences else {})
    facts |= words
    if not share.whole:
        if options.join is not None:
            raise UserError(f"--join: a share of a library joins no other, and this is {share} ({share.source})")
        own = share.of(len(clips))
        if not own:
            raise UserError(f"shard {share} ({share.source}) is empty: there are only {len(clips)} motions")
        told = (part for clip in clips for part in (clip.id, *(caption.text for caption in clip.captions)))
        facts |= {"shard": str(share), "source": digest(*told).hex()}
        clips, folder = clips[own.start : own.stop], shard_folder(folder, share)
        print(f"shard {share} ({share.source}): motions {own.start + 1:,} to {own.stop:,}")
    entries = [entry_of(clip) for clip in clips]
    motions = [clip.features for clip in clips]
    if options.join is not None:
        known, decoded = known_motions(locate(options.join), spec, choose_device(options.run.gpu_id))
        print(f"{options.join}: {len(known):,} motions join")
        entries, motions = entries + known, motions + decoded
    tokenizer, vq = _tokenizer(options, runs, options.vq_name)
    tokens = None if vq is None else kept_tokens(vq, motions, spec.cache_dir)
    longest = None if tokens is None else max(map(len, tokens))
    blocks = embedded_blocks(retriever, entries, motions, tokens, spec.cache_dir, options.with_sentences)
    if options.token_levels is not None:
        blocks = (block.first_levels(options.token_levels) for block in blocks)
    write(folder, facts | tokenizer, Entries.of(entries), blocks, longest)
    return _finish(options, runs, folder, retriever)


def _sentences(retriever: Retriever, cache_dir: Path, captions: list[str]) -> Tensor:
    return sentence_rows(kept_sentences(retriever, captions, cache_dir), [*map(digest, captions)])


def merge_library(options: BuildOptions) -> Built:
    """Puts the shards beside the database's folder together; they stay.

    Raises:
        UserError: shards are missing or do not fit.
    """
    runs, folder, retriever = _start(options)
    merge_shards(folder, retriever.hash, own_command())
    return _finish(options, runs, folder, retriever)


def add_clips(options: BuildOptions) -> Built:
    """Adds a user's clips to an existing database. Long clips become windows.

    Where there is none in the output folder yet, it becomes a larger copy of the one beside the runs. One that was made
    without sentence vectors gets them: only they know the words of the new clips.

    Raises:
        UserError: no database, or bad clips.
    """
    runs, folder, retriever = _start(options)
    source = runs.database(folder if (folder / MANIFEST).is_file() else None, options.output)
    database = RAGDatabase.load(source, retriever.hash, in_files=True)
    reader = reader_for(runs.spec, options.reading, read_bodies(options.body_model))
    clips = read_own_clips(options.add, options.caption, runs.spec, reader)
    entries, motions = [entry_of(clip) for clip in clips], [clip.features for clip in clips]
    known = database.facts.get("tokenizer")
    tokenizer, vq = _tokenizer(options, runs, options.vq_name or (known or {}).get("name"))
    if tokenizer and tokenizer["tokenizer"] != known:
        raise UserError(f"{source} holds tokens of {known}, --vq_name is {tokenizer['tokenizer']}")
    if options.with_sentences and database.embedded.sentences is None:
        vectors = _sentences(retriever, runs.spec.cache_dir, list(database.entries.captions))
        database = RAGDatabase(
            replace(database.embedded, sentences=vectors), database.facts | {"sentences": SENTENCE_SPACE}
        )
    sentences = database.embedded.sentences is not None
    if sentences and not options.with_sentences:
        raise UserError(f"{source} holds sentence vectors: --captions_share 0 is for libraries without")
    added = embed_library(
        retriever, entries, motions, None if vq is None else tokenise(vq, motions), sentences=sentences
    )
    database.write_with(added, folder)
    if source != folder:
        print(f"{source} stays as it is: give the others --database {options.output}")
    return _finish(options, runs, folder, retriever)


def weigh_library(runs: Runs, retriever: Retriever, database: RAGDatabase, split: str = "val") -> Weighed | None:
    """Validates the score of a library by the captions of a split of its dataset.

    Where the split holds nothing the library's own captions say what is usual; they were in training, so that they do
    not say what new ones gain from their meaning.
    """
    held = any(one.split_path(split).is_file() and not names_none(one, split) for one in runs.spec.sets)
    asked = split_library(runs, retriever, split) if held else database
    motions = asked.embedded.motion[asked.row_motion.long()].float()
    found = weigh(database, asked.own_queries(), motions, asked.row_takes)
    if found is None or asked is not database:
        return found
    return found._replace(score=replace(found.score, captions=DEFAULT.captions))


def split_library(runs: Runs, retriever: Retriever, split: str) -> RAGDatabase:
    """The motions and captions of a split as a library, with sentence vectors."""
    clips = load_split(runs.spec, split)
    entries, motions = [entry_of(clip) for clip in clips], [clip.features for clip in clips]
    return RAGDatabase(embed_library(retriever, entries, motions, None, runs.spec.cache_dir, sentences=True), {})


def _finish(options: BuildOptions, runs: Runs, folder: Path, retriever: Retriever) -> Built:
    """Opens what was written; chooses its score, and makes the index that was asked for and says how good it is."""
    database = RAGDatabase.load(folder, retriever.hash)
    if "shard" in database.facts:
        return folder, database
    share = options.captions_share
    if "sentences" in database.facts and (database.score is None or share is not None):
        found = weigh_library(runs, retriever, database)
        score = DEFAULT if found is None else found.score
        score = score if share is None else replace(score, captions=share)
        database.with_score(score).save(folder)
        database = RAGDatabase.load(folder, retriever.hash)
        print(f"score: the captions count {score.captions:g}; {score.usual:.3f} is usual")
    if options.index != "exact":
        database = database.with_index(options.index)
        rows = torch.randperm(len(database.embedded.text), generator=torch.Generator().manual_seed(0))[:RECALL_QUERIES]
        asked, k = database.own_queries(rows), min(RECALL_AT, len(database))
        queries = asked.learned if database.score is None else asked.vectors(database.score)
        recall = 100 * database.index.recall(queries, k)
        print(f"index {options.index}: {recall:.1f} % of the exact top {k} of {len(queries)} captions are found")
        database.save(folder)
    return folder, database


def thinned(clips: Sequence[Clip], most: int, sentences: Callable[[list[str]], Tensor]) -> list[Clip]:
    """At most so many clips, in order: those whose captions come nearest to all that is said.

    Args:
        sentences: captions -> their sentence vectors (R, S).
    """
    captions = [caption.text for clip in clips for caption in clip.captions]
    owners = torch.tensor([number for number, clip in enumerate(clips) for _ in clip.captions])
    return [clips[number] for number in covering(sentences(captions), owners, most)]


def entry_of(clip: Clip) -> Entry:
    """What the library says of a clip."""
    return Entry(clip.id, clip.take, tuple(caption.text for caption in clip.captions), clip.frames)


def library_motion(
    database: RAGDatabase,
    number: int,
    spec: DatasetSpec,
    tokenizer: Callable[[str], RVQVAE],
) -> np.ndarray:
    """Raw features (T, D) of a motion of the library: from the dataset's folder, else decoded from its tokens.

    Args:
        tokenizer: gives the RVQ-VAE for the name of the run that made the tokens; called if they are needed.

    Raises:
        UserError: neither is there.
    """
    entry = database.entries[number]
    path = spec.features_path(entry.file_name)
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
    tokens = database.embedded.tokens[number : number + 1].long()
    return decode_motions(vq, tokens.to(vq.normalizer.mean.device), steps)[0]


def known_motions(folder: Path, spec: DatasetSpec, device: torch.device | str) -> tuple[list[Entry], list[np.ndarray]]:
    """The motions of another library, decoded from its tokens, and what it says of them.

    Their names begin with that of their dataset, as where several are trained together. Those of a dataset that `spec`
    has itself are left out.

    Args:
        folder: of the library, beside the runs of its dataset.
        spec: the dataset whose library they join.

    Raises:
        UserError: no library, one without tokens or of another format, or the RVQ-VAE beside it is another one.
    """
    if (form := library_format(folder, read_manifest(folder))) is not None:
        spec.check_format(form, folder)
    database = RAGDatabase.load(folder)
    source, own = database.facts.get("dataset"), {one.name for one in spec.sets}
    if (made_by := database.facts.get("tokenizer")) is None:
        raise UserError(
            f"{folder} holds no base tokens, which its motions are decoded from: {BUILD_AGAIN} --vq_name NAME"
        )
    vq = load_run(Run(run_path(folder.parent, made_by["name"])).of_stage("vq"), device=device)
    check_library_tokens(folder, database.facts, weights_hash(vq.state_dict()))
    entries, codes = [], []
    for number, entry in enumerate(database.entries):
        names = [each if "/" in each else f"{source}/{each}" for each in (entry.id, entry.take)]
        if names[0].partition("/")[0] not in own:
            entries.append(replace(entry, id=names[0], take=names[1]))
            steps = int(database.embedded.steps[number])
            codes.append(database.embedded.tokens[number, :steps].long())
    return entries, detokenise(vq, codes)
