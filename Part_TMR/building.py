"""Building a RAG database in shards on many machines."""

from __future__ import annotations

import re
from pathlib import Path

from models.rag.database import Embedded, RAGDatabase
from utils.errors import UserError

SHARD_NAME = re.compile(r"(.+)\.shard-(\d+)-of-(\d+)")


def shard_folder(folder: Path, number: int, count: int) -> Path:
    """Where the shard `number` of `count` of the database `folder` is written: beside it."""
    return folder.with_name(f"{folder.name}.shard-{number}-of-{count}")


def share_of(total: int, number: int, count: int) -> range:
    """The motions of share `number` (from 1) of `count` equal ones."""
    return range(total * (number - 1) // count, total * number // count)


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
