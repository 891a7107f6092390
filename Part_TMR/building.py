"""Building a RAG database in shards, by many processes or machines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.rag.database import RAGDatabase
from models.rag.embedded import Embedded, joined_entries
from models.rag.writing import write
from utils.errors import UserError
from utils.shares import Share, all_shares, share_name

# What all shards were made with and of; `source` is a digest of the whole, of which each is a share.
SAME = ("retriever", "dataset", "split", "format", "tokenizer", "sentences", "source")


def shard_folder(folder: Path, share: Share) -> Path:
    """Where a shard of the database `folder` is written: beside it."""
    return folder.with_name(share_name(f"{folder.name}.", share))


def merge_shards(folder: Path, retriever_hash: str, command: str) -> None:
    """Writes the database of all shards beside `folder`, of which none is held in memory: it is what one process makes.

    Raises:
        UserError: there are none, some are missing (they are named), or they do not fit each other.
    """
    paths = all_shares(folder.parent, f"{folder.name}.", folder)
    facts: dict[str, Any] = {}

    def shards() -> Iterator[RAGDatabase]:
        for path in paths.values():
            yield RAGDatabase.load(path, retriever_hash, in_files=True)

    for (share, path), shard in zip(paths.items(), shards(), strict=True):
        if (told := shard.facts.get("shard")) != str(share):
            raise UserError(
                f"{path} holds the shard {told}, not {share}: it was copied or renamed, build {share} again"
            )
        facts = facts or shard.facts
        for fact in SAME:
            if shard.facts.get(fact) != facts.get(fact):
                raise UserError(f"{path} has another {fact} than {next(iter(paths.values()))}: build the shards again")
    entries = joined_entries(shard.embedded for shard in shards())
    if len(set(entries.ids)) < len(entries):
        raise UserError(f"the shards of {folder} share motions: build them again")
    longest = max(
        (shard.embedded.tokens.shape[1] for shard in shards() if shard.embedded.tokens is not None), default=0
    )
    whole = {name: value for name, value in facts.items() if name not in ("shard", "source")} | {"command": command}
    blocks: Iterator[Embedded] = (shard.embedded for shard in shards())
    write(folder, whole, entries, blocks, longest)
