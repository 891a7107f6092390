"""Searches the RAG database: `python -m Part_TMR.scripts.search --dataset_name mini --text "a person waves" --k 5`."""

import json
from dataclasses import dataclass, replace
from typing import Literal

from options.groups import RunOptions
from options.schema import option, parse
from options.stages import CHECKPOINT_HELP
from utils.errors import UserError, run_script


@dataclass(frozen=True)
class SearchOptions:
    """What is looked for, and where."""

    run: RunOptions = RunOptions(name="tmr")
    which_epoch: str | None = option(None, f"checkpoint of the retriever: {CHECKPOINT_HELP}")
    database: str = option("database", "folder of the RAG database; a subfolder named after the dataset comes first")
    text: str | None = option(None, "what to look for in words")
    motion: str | None = option(None, "a .npy file of features or joints: motions like it are looked for")
    k: int = option(10, "motions shown", minimum=1)
    by: Literal["motion", "text", "both"] | None = option(
        None, "compare with motions, captions, or both; none: both for --text, motions for --motion"
    )
    json: bool = option(False, "print JSON instead of a table")

    def __post_init__(self) -> None:
        if (self.text is None) == (self.motion is None):
            raise UserError("give either --text or --motion")
        if self.text is not None and not self.text.strip():
            raise UserError("--text is empty: describe a motion")

    def resolve(self) -> "SearchOptions":
        """The same with the dataset's alias replaced by its name."""
        return replace(self, run=self.run.resolve())


def main() -> None:
    """Options -> retriever and database -> the nearest motions."""
    options = parse(SearchOptions, description=__doc__)

    from data.specs import get_spec
    from models.rag.database import RAGDatabase
    from Part_TMR.library import read_motion
    from Part_TMR.retriever import Retriever
    from pipeline.runs import find_database, run_folder
    from utils.device import choose_device
    from utils.run_files import resolve_checkpoint

    spec = get_spec(options.run.dataset_name)
    run_dir = run_folder(options.run.checkpoints_dir, spec.name, options.run.name)
    folder = find_database(options.run.checkpoints_dir, spec, options.database)
    checkpoint = resolve_checkpoint(run_dir, options.which_epoch)
    retriever = Retriever.load(run_dir, choose_device(options.run.gpu_id), checkpoint=checkpoint)
    database = RAGDatabase.load(folder, retriever.hash)
    if options.text is not None:
        query, by = retriever.encode_text([options.text]), options.by or "both"
    else:
        query, by = retriever.encode_motion([read_motion(options.motion, spec.layout)]).motion, options.by or "motion"
    found = database.search(query, options.k, by=by)
    rows = [
        {"id": entry.id, "score": round(score, 4), "captions": list(entry.captions)}
        for score, entry in zip(found.scores[0].tolist(), (database.entries[i] for i in found.indices[0]), strict=True)
    ]
    if options.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for rank, row in enumerate(rows, start=1):
        print(f"{rank:>3}  {row['score']:.3f}  {row['id']:<12} {row['captions'][0]}")


if __name__ == "__main__":
    run_script(main)
