"""Makes the RAG database: a split's motions and captions, embedded by the retriever. `--add` puts in your own clips."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from options.schema import option, parse
from options.stages import DatabaseOptions
from utils.errors import UserError, run_script


@dataclass(frozen=True)
class BuildOptions(DatabaseOptions):
    """The database, and what is put into it."""

    vq_name: str | None = option(None, "run of the 2D RVQ-VAE whose base tokens are stored too; none: no tokens")
    vq_checkpoint: str | None = option(None, "checkpoint of the 2D RVQ-VAE")
    add: str | None = option(None, "a .npy file of features or joints, or a folder of them, to add to the database")
    caption: tuple[str, ...] = option((), "captions of the file that --add names; else from the .txt file beside it")

    def __post_init__(self) -> None:
        if self.caption and self.add is None:
            raise UserError("--caption describes the clip of --add, which is not given")


def main() -> None:
    """Options -> retriever and clips -> database folder."""
    options = parse(BuildOptions, description=__doc__)

    from data.clips import load_split
    from data.specs import get_spec
    from models.rag.database import Entry, RAGDatabase
    from models.text_encoder import TextFeatureStore
    from models.vq.tokenise import state_hash, tokenise
    from Part_TMR.library import embed_library, read_own_clips
    from Part_TMR.retriever import Retriever
    from pipeline.loader import load_vq
    from pipeline.runs import run_folder
    from utils.device import choose_device
    from utils.run_files import resolve_checkpoint

    spec = get_spec(options.run.dataset_name)
    device = choose_device(options.run.gpu_id)
    folder = Path(options.output) / spec.name
    run_dir = run_folder(options.run.checkpoints_dir, spec.name, options.run.name)
    retriever = Retriever.load(run_dir, device, checkpoint=resolve_checkpoint(run_dir, options.which_epoch))
    database = RAGDatabase.load(folder, retriever.hash) if options.add is not None else None
    if database is not None:
        frames = (spec.min_frames, spec.max_clip_frames)
        entries, motions = read_own_clips(options.add, options.caption, spec.layout, frames, spec.unit_length)
        facts = database.facts
    else:
        clips = load_split(spec, options.split)
        entries = [Entry(clip.id, clip.take, tuple(caption.text for caption in clip.captions)) for clip in clips]
        motions = [clip.features for clip in clips]
        facts = {
            "retriever": {"name": retriever.name, "hash": retriever.hash},
            "dataset": spec.name,
            "command": shlex.join(["python", *sys.orig_argv[1:]]),
        }
    tokens = None
    vq_name = options.vq_name or facts.get("tokenizer", {}).get("name")
    if vq_name is not None:
        vq = load_vq(run_folder(options.run.checkpoints_dir, spec.name, vq_name), options.vq_checkpoint, device)
        tokenizer = {"name": vq_name, "hash": state_hash(vq)}
        if database is not None and facts.get("tokenizer") != tokenizer:
            raise UserError(f"{folder} holds tokens of {facts.get('tokenizer')}, --vq_name is {tokenizer}")
        facts = facts | {"tokenizer": tokenizer}
        tokens = tokenise(vq, motions)
    store = None
    if database is None and retriever.model.text_encoder is None:
        # The captions of the training split: their features are there since the retriever was trained.
        captions = [caption for entry in entries for caption in entry.captions]
        store = TextFeatureStore(retriever.text_encoder, captions, spec.root / "cache")
    embedded = embed_library(retriever, entries, motions, tokens, store)
    database = RAGDatabase(embedded, facts) if database is None else database.add(embedded)
    database.save(folder)
    print(f"{folder}: {len(database)} motions, {len(database.embedded.text)} captions, dimension {database.dimension}")


if __name__ == "__main__":
    run_script(main)
