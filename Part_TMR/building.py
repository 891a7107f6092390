"""Building a RAG database in parts that survive an interruption, and in shards on many machines.

Legend: M motions, T frames, D_f feature columns, N token steps, J part rows, Q quantisers.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.rag.database import Embedded, Entry, RAGDatabase
from models.text_encoder import TextFeatureStore
from Part_TMR.library import embed_library
from Part_TMR.retriever import Retriever
from utils.errors import UserError
from utils.progress import progress_bar
from utils.row_store import Row, identity

SHARD_NAME = re.compile(r"(.+)\.shard-(\d+)-of-(\d+)")


def shard_folder(folder: Path, number: int, count: int) -> Path:
    """Where the shard `number` of `count` of the database `folder` is written: beside it."""
    return folder.with_name(f"{folder.name}.shard-{number}-of-{count}")


def share_of(total: int, number: int, count: int) -> range:
    """The motions of share `number` (from 1) of `count` equal ones."""
    return range(total * (number - 1) // count, total * number // count)


def embed_in_parts(
    retriever: Retriever,
    entries: Sequence[Entry],
    motions: Sequence[np.ndarray | Row],
    tokens: Sequence[Tensor] | None,
    store: TextFeatureStore | None,
    facts: Mapping[str, Any],
    parts: Path,
    part_size: int,
) -> Embedded:
    """Embeds M motions; what was done before an interruption is read back from the folder `parts`.

    Args:
        entries, motions, tokens, store: see `embed_library`.
        facts: of the database.
        parts: folder of finished parts, removed by the caller once the database is written.
        part_size: motions of a part. A build of one part keeps none.
    """
    done: list[Embedded] = []
    first_caption = 0
    n_captions = sum(len(entry.captions) for entry in entries)
    with progress_bar(len(motions) + n_captions, "embedding motions and captions", "row") as bar:
        for start in range(0, len(motions), part_size):
            rows = slice(start, start + part_size)
            captions = sum(len(entry.captions) for entry in entries[rows])
            chosen_tokens = None if tokens is None else tokens[rows]
            digest = _digest(entries[rows], motions[rows], chosen_tokens)
            path = parts / f"{start:09d}"
            part = _finished(path, retriever.hash, digest)
            if part is None:
                texts = None
                if store is not None:
                    texts_of_part = torch.arange(first_caption, first_caption + captions)
                    texts = retriever.encode_store(store, texts_of_part, bar.update)
                part = embed_library(retriever, entries[rows], motions[rows], chosen_tokens, texts, bar.update)
                if len(motions) > part_size:
                    RAGDatabase(part, {**facts, "content": digest}).save(path)
            else:
                bar.update(len(part.entries) + captions)
            done.append(part)
            first_caption += captions
    return Embedded.join(done)


def _digest(entries: Sequence[Entry], motions: Sequence[np.ndarray | Row], tokens: Sequence[Tensor] | None) -> str:
    """What a part was made from, besides the retriever."""
    digest = hashlib.sha256()
    for entry, motion in zip(entries, motions, strict=True):
        digest.update("\0".join([entry.id, entry.take, *entry.captions]).encode())
        digest.update(identity(motion))
    for codes in tokens or ():
        digest.update(codes.numpy().tobytes())
    return digest.hexdigest()[:16]


def _finished(path: Path, retriever_hash: str, digest: str) -> Embedded | None:
    try:
        part = RAGDatabase.load(path, retriever_hash)
    except UserError:
        return None
    return part.embedded if part.facts.get("content") == digest else None


def remove_parts(parts: Path) -> None:
    """After the database was written."""
    shutil.rmtree(parts, ignore_errors=True)


def merge_shards(folder: Path, retriever_hash: str) -> RAGDatabase:
    """The database of all shards beside `folder`.

    Raises:
        UserError: there are none, some are missing (they are named), or they do not fit each other.
    """
    found: dict[int, dict[int, Path]] = {}
    for path in sorted(folder.parent.glob(f"{folder.name}.shard-*")):
        if (name := SHARD_NAME.fullmatch(path.name)) and name[1] == folder.name:
            found.setdefault(int(name[3]), {})[int(name[2])] = path
    if not found:
        raise UserError(f"there is no shard of {folder}: make them with --shard 1/n to n/n")
    if len(found) > 1:
        counts = " and of ".join(map(str, sorted(found)))
        raise UserError(f"{folder.parent} holds shards of {counts}: remove those that do not belong to the merge")
    count, paths = next(iter(found.items()))
    if missing := [f"{number}/{count}" for number in range(1, count + 1) if number not in paths]:
        raise UserError(f"{folder} lacks the shards {', '.join(missing)}")
    shards = [RAGDatabase.load(paths[number], retriever_hash) for number in range(1, count + 1)]
    for number, shard in enumerate(shards, start=1):
        for fact in ("dataset", "tokenizer", "retriever"):
            if shard.facts.get(fact) != shards[0].facts.get(fact):
                raise UserError(f"{paths[number]} has another {fact} than {paths[1]}: build the shards again")
    ids = [entry.id for shard in shards for entry in shard.entries]
    if len(set(ids)) < len(ids):
        raise UserError(f"the shards of {folder} share motions: build them again")
    facts = {name: value for name, value in shards[0].facts.items() if name != "shard"}
    return RAGDatabase(Embedded.join([shard.embedded for shard in shards]), facts)
