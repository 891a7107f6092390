"""Are clips of new actions found once they are added to a library, by their captions and by what else one says?

`python -m tests.long.added_clips FOLDER [DATABASE]`: FOLDER holds features or motions with a `.txt` file of several
captions beside each. Every caption asks a library in which its clip has all captions (it must come first), one in which
it has all others, and one in which it has one of the others; by the former score and by the library's own.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from data.specs import get_spec
from models.rag.database import Embedded, RAGDatabase
from models.rag.queries import Queries
from models.rag.search import SearchResult
from Part_TMR.library import embed_library, read_own_clips
from pipeline.library import entry_of
from pipeline.loader import load_run
from pipeline.runs import Runs


def with_captions(made: Embedded, chosen: np.ndarray) -> Embedded:
    """The motions with some of their captions; those that have none left are left out."""
    owners = made.entries.row_motion
    kept = np.unique(owners[chosen])
    captions = {
        motion: [made.entries.captions[row] for row in np.flatnonzero(chosen & (owners == motion))] for motion in kept
    }
    entries = [replace(made.entries[motion], captions=tuple(captions[motion])) for motion in kept.tolist()]
    rows = torch.from_numpy(chosen)
    return Embedded(entries, made.text[rows], made.motion[kept], made.parts[kept], None, None, made.sentences[rows])


def main() -> None:
    """Prints a line a score."""
    folder, place = Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "database/mini")
    runs = Runs("pretrained", get_spec("mini"))
    retriever = load_run(runs.open("tmr"))
    library = RAGDatabase.load(place, retriever.hash)
    clips = read_own_clips(folder, (), runs.spec)
    made = embed_library(
        retriever, [entry_of(clip) for clip in clips], [clip.features for clip in clips], sentences=True
    )
    old = replace(library.embedded, tokens=None, steps=None)
    takes = np.array([clip.take for clip in clips])[made.entries.row_motion]
    texts = np.array(list(made.entries.captions))
    asked = {(text, take): row for row, (text, take) in enumerate(zip(texts, takes, strict=True))}
    print(f"{len(clips)} motions of {len(set(takes))} files, {len(asked)} captions; library {place}: {library.score}")
    for name, facts in (("former score", None), ("library's score", library.facts)):
        ranks: dict[str, list[int]] = {"the very caption": [], "all other captions": [], "one other caption": []}
        for (text, take), row in asked.items():
            said = texts == text
            others = [other for other, own in asked if own == take and other != text]
            shown = {"the very caption": [np.ones(len(texts), bool)], "all other captions": [~said]}
            shown["one other caption"] = [(takes != take) | (texts == other) for other in others]
            one = retriever.queries([text]) if facts else Queries(made.text[row : row + 1])
            for case, choices in shown.items():
                for chosen in choices if others or case == "the very caption" else []:
                    joined = RAGDatabase(Embedded.join([old, with_captions(made, chosen)]), facts or {})
                    ranks[case].append(rank(joined, joined.search(one, 50), take))
        for case, found in ranks.items():
            places = np.array(found)
            shares = [f"{100 * np.mean(places <= top):.0f} % among {top}" for top in (1, 3)]
            print(f"{name}, {case}: {len(places)} queries, {', '.join(shares)}, median rank {np.median(places):g}")


def rank(library: RAGDatabase, found: SearchResult, take: str) -> int:
    """The first place of a motion of the take; one more than were asked for if it is not among them."""
    places = [
        place for place, number in enumerate(found.indices[0].tolist(), 1) if library.entries[number].take == take
    ]
    return min(places, default=found.indices.shape[1] + 1)


if __name__ == "__main__":
    main()
