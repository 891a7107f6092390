"""The options of build_rag_database.py and of Part_TMR/scripts/search.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from data.motions.settings import BODY_MODEL_HELP, ReadSettings
from options.groups import AS_SHIPPED, NEAREST_DATABASE_HELP, RUN_NAME, RunOptions, checkpoint_option, shard_option
from utils.errors import UserError
from utils.schema import option
from utils.shares import Share, own_share


@dataclass(frozen=True)
class BuildOptions:
    """The database, and what is put into it."""

    run: RunOptions = RunOptions(name="tmr")
    which_epoch: str | None = checkpoint_option("retriever")
    output: str = option("database", "folder that the database is written to, in a subfolder named after the dataset")
    split: Literal["train", "val", "test"] = option("train", "split whose motions become the library")
    vq_name: str | None = option(
        None, "run of the 2D RVQ-VAE whose tokens are stored too, as for trainings; none: no tokens", pattern=RUN_NAME
    )
    token_levels: int | None = option(
        None, "levels of tokens that are stored; none: all (models of --retrieved tokens read 1)", minimum=1
    )
    vq_checkpoint: str | None = option(None, "checkpoint of the 2D RVQ-VAE")
    most_motions: int | None = option(
        None,
        "motions at most, those whose captions come nearest to all that is said; none: all",
        minimum=1,
    )
    index: Literal["exact", "hnsw", "ivfpq"] = option(
        "exact", "exact search, or a FAISS index (pip install faiss-cpu): hnsw from about a million rows, ivfpq beyond"
    )
    captions_share: float | None = option(
        None,
        "share of the captions' meaning in the score of a search, 0 to 1; none: by validation, see"
        " Part_TMR.scripts.test --score; 0: as before, no sentence vectors are kept",
        minimum=0,
        maximum=1,
    )
    shard: str | None = shard_option("build only the i-th of n equal shares of the motions")
    merge: bool = option(False, "put the shards in the output folder together, instead of building")
    add: str | None = option(
        None,
        "a motion file (.bvh, .amc, joints or features as .npy, joints or SMPL/AMASS as .npz), or a folder of them, to"
        " add to the database in output, or to a copy of the one beside the runs",
    )
    join: str | None = option(
        None,
        "a library beside its RVQ-VAE, such as pretrained/open/database, whose motions join: decoded from their tokens",
    )
    reading: ReadSettings = ReadSettings()
    body_model: str | None = option(None, BODY_MODEL_HELP)
    caption: tuple[str, ...] = option((), "captions of the file that --add names; else from the .txt file beside it")

    def __post_init__(self) -> None:
        if self.caption and self.add is None:
            raise UserError("--caption describes the clip of --add, which is not given")
        if sum(each is not None and each is not False for each in (self.add, self.shard, self.merge)) > 1:
            raise UserError("--add, --shard and --merge are three different jobs: give one of them")
        if self.join is not None and (self.add is not None or self.shard is not None or self.merge):
            raise UserError(
                "--join is for a library that is built whole: give none of --add, --shard and --merge with it"
            )
        if self.shard is not None:
            own_share(self.shard)

    @property
    def with_sentences(self) -> bool:
        """Whether the library holds the meaning of its captions."""
        return self.captions_share != 0

    @property
    def share(self) -> Share:
        """What this process builds."""
        return own_share(self.shard)


def as_the_demo(_: str | None, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Own clips are added, unless something else is said, to the library that demo and search use unless told else."""
    return {} if given.get("add") is None or AS_SHIPPED.keys() & given.keys() else AS_SHIPPED


@dataclass(frozen=True)
class SearchOptions:
    """What is looked for, and where."""

    run: RunOptions = RunOptions(name="tmr", **AS_SHIPPED)
    which_epoch: str | None = checkpoint_option("retriever")
    database: str | None = option(None, NEAREST_DATABASE_HELP)
    text: str | None = option(None, "what to look for in words")
    motion: str | None = option(
        None, "a motion file such as the database's --add takes: motions like it are looked for"
    )
    reading: ReadSettings = ReadSettings()
    body_model: str | None = option(None, BODY_MODEL_HELP)
    k: int = option(5, "motions shown", minimum=1)
    by: Literal["motion", "text", "both"] | None = option(
        None, "compare with motions, captions, or both; none: both for --text, motions for --motion"
    )
    json: str | None = option(None, "also write what was found to this file")
    video: str | None = option(None, "also show the found motions side by side in this .mp4 or .gif file")

    def __post_init__(self) -> None:
        if (self.text is None) == (self.motion is None):
            raise UserError("give either --text or --motion")
        if self.text is not None and not self.text.strip():
            raise UserError("--text is empty: describe a motion")
