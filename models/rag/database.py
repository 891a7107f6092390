"""The RAG database: a library of embedded motions and their captions, in a folder, searched exactly.

A small library is held in single precision. A large one on the CPU stays in its files, in half precision, and is
searched by its codes: opening it reads next to nothing, and processes share what they look at.

Legend: B queries, M motions, R captions (rows), K retrieved, D embedding, P parts, N token steps, J part rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.rag import codes, storage
from models.rag.approximate import ApproximateRows, IndexKind
from models.rag.captions import SENTENCE_SPACE, unit
from models.rag.embedded import (
    Embedded,
    RowKind,
    SearchBy,
    counts_of,
    held,
    joined_entries,
    pad_tokens,
    row_reader,
    searched_rows,
)
from models.rag.entries import Entries, Entry
from models.rag.queries import Queries, Score
from models.rag.search import MotionRows, SearchResult
from models.rag.view import GeneratorView
from models.rag.writing import LARGE, write
from models.transformer.condition import Retrieved
from utils.errors import UserError
from utils.fits import check_library_retriever

__all__ = ["Embedded", "Entry", "RAGDatabase", "pad_tokens"]

FACTS = (
    *("retriever", "dataset", "split", "format", "tokenizer", "command", "index", "shard", "source"),
    *("sentences", "score", "words"),
)


class RAGDatabase:
    """An immutable library: `load`, `search`, `gather`; `add` returns a larger one, `save` writes the folder.

    Args:
        embedded: the motions.
        facts: what the manifest tells besides the counts: `retriever` and with tokens `tokenizer` (name and hash each),
            `dataset`, `command`; with sentence vectors `sentences` (the space) and `score` (see `Score`);
            of a thinned library `words`, how often each is in the captions that it was drawn from: training had all.
        index: of the rows that searches `by="both"` look through; answers those without exclusions. None: they are
            exact too.
        stored_codes: of the rows, see `models.rag.codes`; their names begin with what they compare with.
    """

    def __init__(
        self,
        embedded: Embedded,
        facts: Mapping[str, Any],
        index: ApproximateRows | None = None,
        stored_codes: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.embedded = embedded
        self.entries: Entries = embedded.entries
        self.index = index
        self.facts = dict(facts)
        self.score = Score(**facts["score"]) if "score" in facts else None
        self.row_motion = torch.from_numpy(self.entries.row_motion).to(self.device)
        self._ends = torch.from_numpy(self.entries.ends)
        self._codes = dict(stored_codes or {})
        self._rows: dict[str, MotionRows] = {}

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def dimension(self) -> int:
        """D."""
        return self.embedded.motion.shape[1]

    @property
    def device(self) -> torch.device:
        """Where the embeddings are."""
        return self.embedded.motion.device

    @property
    def in_files(self) -> bool:
        """Whether the embeddings stay in their files."""
        return self.embedded.motion.dtype == torch.float16

    @cached_property
    def fingerprint(self) -> str:
        """Tells what a search finds in this library from what it finds in others."""
        hashed = hashlib.sha256()
        for name in ("id_bytes", "id_ends", "take_bytes", "take_ends", "take"):
            hashed.update(np.ascontiguousarray(self.entries.arrays[name]))
        for rows in (self.embedded.text, self.embedded.motion, self.row_motion):
            hashed.update(rows.cpu().contiguous().numpy())
        if self.score is not None:
            hashed.update(self.embedded.sentences.cpu().contiguous().numpy())
            hashed.update(repr(self.score).encode())
        return hashed.hexdigest()[:16]

    @property
    def retriever_hash(self) -> str:
        """The hash of the retriever that embedded the motions."""
        return self.facts["retriever"]["hash"]

    def to(self, device: torch.device | str) -> RAGDatabase:
        """The same library on another device, in single precision."""
        return RAGDatabase(held(self.embedded, device), self.facts, self.index)

    def search(
        self,
        queries: Tensor | Queries,
        k: int,
        exclude_takes: Sequence[str | Collection[str] | None] | None = None,
        by: SearchBy = "both",
    ) -> SearchResult:
        """The top k motions of each query; k above the number of motions gives all of them. Exact without an index.

        A motion with a caption that reads like the query's text comes before all others, those of the best score first.

        Args:
            queries: made by the database's retriever; (B, D) unit vectors are queries without texts.
            k: motions wanted.
            exclude_takes: for each query a take, several, or None: their motions are not found (a caption's own clip,
                its mirror). All queries get equally many motions, those that the one with most exclusions can have.
            by: compare with motions, with captions (a motion counts by its best one), or with both: by the library's
                score, or for queries without sentence vectors by the mean of both.
        Raises:
            ValueError: k below 1, another dimension, or exclusions that are not one a query.
        """
        asked = queries if isinstance(queries, Queries) else Queries(queries)
        if asked.learned.ndim != 2 or asked.learned.shape[1] != self.dimension:
            raise ValueError(f"queries must have the shape (B, {self.dimension}), not {tuple(asked.learned.shape)}")
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        if exclude_takes is not None and len(exclude_takes) != len(asked):
            raise ValueError(f"{len(asked)} queries need as many exclusions, not {len(exclude_takes)}")
        excluded = [self.takes_motions(takes) for takes in exclude_takes or []]
        k = min(k, len(self) - max(map(len, excluded), default=0))
        if not k:
            return SearchResult(torch.empty(len(asked), 0, dtype=torch.long), torch.empty(len(asked), 0))
        kind = "both" if by == "both" and asked.sentences is None else self.kinds[-1] if by == "both" else by
        vectors = asked.vectors(self.score) if kind == "score" else asked.learned
        found = None
        if self.index is not None and kind == self.kinds[-1] and not excluded:
            found = self.index.search(vectors, k)
        if found is None or (found.indices < 0).any():
            found = self.rows(kind).search(vectors, k, excluded)
        return found if by == "motion" or not asked.texts else self._exact_first(asked, kind, vectors, found, excluded)

    def _exact_first(
        self, asked: Queries, kind: RowKind, vectors: Tensor, found: SearchResult, excluded: Sequence[Sequence[int]]
    ) -> SearchResult:
        exact = []
        for number, text in enumerate(asked.texts):
            motions = self.entries.with_caption(text)
            if excluded:
                motions = np.setdiff1d(motions, excluded[number])
            exact.append(min(len(motions), found.indices.shape[1]))
            if exact[-1]:
                row = SearchResult(found.indices[number], found.scores[number])
                better = self.rows(kind).first(vectors[number], motions, row)
                found.indices[number], found.scores[number] = better.indices, better.scores
        return SearchResult(found.indices, found.scores, exact)

    @property
    def kinds(self) -> tuple[RowKind, ...]:
        """The kinds of rows that searches by motion, by text and by both look through."""
        return searched_rows(self.score is not None)

    def rows(self, kind: RowKind) -> MotionRows:
        """The rows that stand for the motions. That of `both` is the middle of a caption and its motion; see also
        `models.rag.queries`."""
        if kind not in self._rows:
            owners, ends = self.row_motion, self._ends
            if kind == "motion":
                owners = torch.arange(len(self), device=self.device)
                ends = torch.arange(1, len(self) + 1)
            library = self.embedded
            read = row_reader(library.text, library.motion, self.row_motion, kind, library.sentences, self.score)
            width = read(slice(1)).shape[1]
            start = f"{kind}_"
            stored = {name.removeprefix(start): value for name, value in self._codes.items() if name.startswith(start)}
            coded = codes.Codes(stored, len(owners), width) if stored else None
            self._rows[kind] = MotionRows(read if self.in_files else read(slice(None)), owners, ends, width, coded)
        return self._rows[kind]

    def takes_motions(self, takes: str | Collection[str] | None) -> list[int]:
        """The motions of a take, or of several."""
        names = [takes] if isinstance(takes, str) else set(takes or ())
        return [motion for take in names for motion in self.entries.motions_of(take)]

    def gather(self, indices: Tensor) -> Retrieved:
        """What a generator sees of motions (B, K), see `GeneratorView`."""
        return self.view.gather(indices)

    @cached_property
    def view(self) -> GeneratorView:
        """What generators see of the motions."""
        return GeneratorView(self.embedded)

    def add(self, others: Embedded) -> RAGDatabase:
        """The library with more motions, embedded by the same retriever; an index must be built anew.

        Raises:
            UserError: an id that is there already, or motions without the tokens that the library's motions have.
        """
        self.check_addition(others)
        facts = {name: value for name, value in self.facts.items() if name != "index"}
        both = [held(each, self.device) for each in self._with(others)]
        return RAGDatabase(Embedded.join(both), facts)

    def _with(self, others: Embedded) -> list[Embedded]:
        """What the library and others have both."""
        return [self.embedded, others.first_levels(self.embedded.levels)]

    def check_addition(self, others: Embedded) -> None:
        """Raises `UserError` for motions that cannot be added, see `add`."""
        new = set(others.entries.ids)
        if repeated := next((name for name in self.entries.ids if name in new), None):
            raise UserError(f"motion {repeated} is in the database already: give it another name")
        if self.embedded.tokens is not None and others.tokens is None:
            raise UserError("the database holds tokens: motions added to it need theirs too (--vq_name)")
        if self.embedded.sentences is not None and others.sentences is None:
            raise UserError("the database holds sentence vectors: motions added to it need theirs too")

    def write_with(self, others: Embedded, folder: Path) -> None:
        """Writes the library with more motions, see `add`, of which nothing is held in memory."""
        self.check_addition(others)
        both = self._with(others)
        longest = None if self.embedded.tokens is None else max(each.tokens.shape[1] for each in both)
        facts = {name: value for name, value in self.facts.items() if name != "index"}
        write(folder, facts, joined_entries(both), both, longest)

    def own_queries(self, rows: Tensor | slice = slice(None)) -> Queries:
        """The library's captions, all or those of some rows, as queries."""
        numbers, vectors = np.arange(len(self.row_motion))[rows], self.embedded.sentences
        return Queries(
            self.embedded.text[rows].float(),
            [self.entries.captions[int(row)] for row in numbers],
            None if vectors is None else unit(vectors[rows]),
        )

    @property
    def row_takes(self) -> list[str]:
        """The take of each caption's motion."""
        return [self.entries.takes[take] for take in self.entries.arrays["take"][self.entries.row_motion]]

    def with_index(self, kind: IndexKind) -> RAGDatabase:
        """The same library with an approximate index, see `models.rag.approximate`."""
        index = ApproximateRows.build(self.rows(self.kinds[-1]), kind)
        return RAGDatabase(self.embedded, {**self.facts, "index": kind}, index, self._codes)

    def with_score(self, score: Score) -> RAGDatabase:
        """The same library, searched by another score; an index must be built anew."""
        facts = {name: value for name, value in self.facts.items() if name != "index"}
        return RAGDatabase(self.embedded, {**facts, "score": score.to_dict()})

    def save(self, folder: Path | str) -> None:
        """Writes the folder, embeddings in half precision. A former database stays until the new one is complete.

        Raises:
            UserError: the folder cannot be written, or holds something else than a database.
        """
        write_index = None if self.index is None else self.index.save
        write(Path(folder), self.facts, self.entries, [self.embedded], write_index=write_index)

    @classmethod
    def load(
        cls,
        folder: Path | str,
        retriever_hash: str | None = None,
        device: torch.device | str = "cpu",
        in_files: bool = False,
    ) -> RAGDatabase:
        """Opens a folder and checks that its files belong together.

        Args:
            folder: what `save` wrote.
            retriever_hash: of the retriever that will make the queries; another one than the database's is refused.
            device: where the embeddings go.
            in_files: leaves a small library in its files too.

        Raises:
            UserError: missing or truncated files, another format or retriever, counts that do not fit; says which.
        """
        folder = Path(folder)
        manifest, entries, tensors, stored_codes = storage.read(folder)
        check_library_retriever(folder, manifest, retriever_hash)
        wrong = UserError(f"{folder}: the files do not belong together: build the database again")
        floats = [tensors[name] for name in ("text", "motion", "parts")]
        try:
            embedded = Embedded(entries, *floats, *map(tensors.get, ("tokens", "steps", "sentences")))
            if any(value.dtype != torch.float16 for value in floats):
                raise ValueError("embeddings of another type")
            if embedded.sentences is not None and embedded.sentences.dtype != torch.int8:
                raise ValueError("sentence vectors of another type")
            if not len(entries) or embedded.motion.ndim != 2 or embedded.motion.shape[1:] != embedded.text.shape[1:]:
                raise ValueError("embeddings of other shapes")
            if any(type(count) is not int for count in dict(manifest.get("words", {})).values()):
                raise ValueError("words without counts")
            in_files |= torch.device(device).type == "cpu" and len(embedded.text) > LARGE
            database = cls(
                embedded if in_files else held(embedded, device),
                {name: manifest[name] for name in FACTS if name in manifest},
                stored_codes=stored_codes if in_files else None,
            )
            if in_files and stored_codes:
                for kind in database.kinds:
                    database.rows(kind)
        except (ValueError, KeyError, TypeError) as error:
            raise wrong from error
        if (
            isinstance(manifest.get("tokens"), list) and len(manifest["tokens"]) == 2
        ):  # from before upper levels were kept
            manifest["tokens"] = [*manifest["tokens"], 1]
        if any(manifest.get(name) != value for name, value in counts_of(entries, embedded).items()):
            raise wrong
        if (embedded.tokens is None) == ("tokenizer" in database.facts):
            raise wrong
        if (embedded.sentences is None) == ("sentences" in database.facts) or (
            embedded.sentences is None and database.score is not None
        ):
            raise wrong
        if "sentences" in database.facts and database.facts["sentences"] != SENTENCE_SPACE:
            raise UserError(f"{folder} holds sentence vectors of another space: build the database again")
        if "index" in database.facts:
            database.index = ApproximateRows.load(database.rows(database.kinds[-1]), folder / storage.INDEX)
        return database
