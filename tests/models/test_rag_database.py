"""The RAG database: exact search, files that are checked, and libraries that grow."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from safetensors.torch import load_file, save_file

from models.rag import search as search_module
from models.rag.approximate import ApproximateRows, lists_of
from models.rag.database import Embedded, Entry, RAGDatabase, pad_tokens
from models.rag.pool import training_pool
from models.rag.search import MotionRows
from utils.errors import UserError

D, PARTS, PART_WIDTH = 8, 6, 4
FACTS = {"retriever": {"name": "tmr", "hash": "abc"}, "dataset": "mini", "command": "python build_rag_database.py"}


def embedded(count: int, seed: int = 0, prefix: str = "", tokens: bool = False) -> Embedded:
    """Motion n has 1 + n % 3 captions; n and n + 1 share a take when n is even."""
    generator = torch.Generator().manual_seed(seed)
    entries = tuple(
        Entry(f"{prefix}{n:03d}", f"{prefix}take{n // 2}", tuple(f"caption {n}.{c}" for c in range(1 + n % 3)))
        for n in range(count)
    )
    rows = sum(len(entry.captions) for entry in entries)
    text, motion, parts = (
        functional.normalize(torch.randn(*shape, generator=generator), dim=-1)
        for shape in ((rows, D), (count, D), (count, PARTS, PART_WIDTH))
    )
    grids = [torch.randint(0, 256, (2 + n % 4, PARTS, 2), generator=generator) for n in range(count)]
    return Embedded(entries, text, motion, parts, *(pad_tokens(grids) if tokens else (None, None)))


def database(count: int = 20, **options: object) -> RAGDatabase:
    facts = FACTS | ({"tokenizer": {"name": "vq", "hash": "vqhash"}} if options.get("tokens") else {})
    return RAGDatabase(embedded(count, **options), facts)


def queries(count: int = 5) -> torch.Tensor:
    return functional.normalize(torch.randn(count, D, generator=torch.Generator().manual_seed(9)), dim=-1)


def scores_by_hand(library: RAGDatabase, query: torch.Tensor, by: str) -> np.ndarray:
    """One motion at a time, one caption at a time."""
    scores, row = [], 0
    for number, entry in enumerate(library.entries):
        motion = float(query @ library.embedded.motion[number])
        texts = [float(query @ library.embedded.text[row + place]) for place in range(len(entry.captions))]
        row += len(entry.captions)
        scores.append({"motion": motion, "text": max(texts), "both": (motion + max(texts)) / 2}[by])
    return np.array(scores)


@pytest.mark.parametrize("by", ["motion", "text", "both"])
@pytest.mark.parametrize("scores_at_once", [1, 60, 1 << 24])
@pytest.mark.parametrize("compared_rows", [0, 256])
def test_search_is_exact_in_any_chunks(by: str, scores_at_once: int, compared_rows: int, monkeypatch) -> None:
    monkeypatch.setattr(search_module, "SCORES_AT_ONCE", scores_at_once)
    monkeypatch.setattr(search_module, "COMPARED_ROWS", compared_rows)
    library = database()
    found = library.search(queries(), 4, by=by)
    for row, query in enumerate(queries()):
        expected = scores_by_hand(library, query, by)
        order = np.argsort(-expected)[:4]
        assert found.indices[row].tolist() == order.tolist()
        np.testing.assert_allclose(found.scores[row], expected[order], atol=1e-5)


def test_motions_are_distinct_and_k_may_exceed_them() -> None:
    found = database(7).search(queries(), 50)
    assert found.indices.shape == (5, 7)
    assert all(len(set(row)) == 7 for row in found.indices.tolist())


def test_excluded_takes_are_never_found() -> None:
    library = database(10)
    excluded = ["take0", None, {"take1", "take2"}, "unknown", "take4"]
    found = library.search(queries(), 50, exclude_takes=excluded)
    assert found.indices.shape == (5, 6) and torch.isfinite(found.scores).all()
    for row, takes in zip(found.indices.tolist(), excluded, strict=True):
        names = {takes} if isinstance(takes, str) else takes or set()
        assert not {library.entries[number].take for number in row} & names
    best = library.search(queries()[1:2], 6)
    assert found.indices[1].tolist() == best.indices[0].tolist()


def test_everything_excluded_finds_nothing() -> None:
    assert database(2).search(queries(1), 3, exclude_takes=["take0"]).indices.shape == (1, 0)
    assert database(4).search(queries(0), 3).indices.shape == (0, 3)


def test_bad_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        database().search(torch.zeros(2, D + 1), 3)
    with pytest.raises(ValueError, match="k must"):
        database().search(queries(), 0)
    with pytest.raises(ValueError, match="exclusions"):
        database().search(queries(), 3, exclude_takes=["take0"])


def test_gather_returns_the_motions_rows() -> None:
    library = database(9, tokens=True)
    indices = torch.tensor([[3, 0], [8, 8]])
    rows = library.gather(indices)
    assert rows.text.shape == rows.motion.shape == (2, 2, D) and rows.parts.shape == (2, 2, PARTS, PART_WIDTH)
    assert torch.equal(rows.motion[0, 1], library.embedded.motion[0]) and rows.mask.all()
    assert torch.equal(rows.tokens[0, 0], library.embedded.tokens[3].long()) and rows.steps[0, 0] == 2 + 3 % 4
    captions = library.embedded.text[library.row_motion == 8]
    torch.testing.assert_close(rows.text[1, 0], functional.normalize(captions.sum(dim=0), dim=-1))


@pytest.mark.parametrize("tokens", [False, True])
def test_a_saved_database_is_the_same(tmp_path: Path, tokens: bool) -> None:
    library = database(tokens=tokens)
    library.save(tmp_path / "database" / "mini")
    loaded = RAGDatabase.load(tmp_path / "database" / "mini", retriever_hash="abc")
    assert loaded.entries == library.entries and loaded.facts == library.facts
    torch.testing.assert_close(loaded.embedded.motion, library.embedded.motion, atol=1e-3, rtol=1e-3)
    assert ("tokenizer" in loaded.facts) == tokens
    if tokens:
        assert torch.equal(loaded.embedded.tokens, library.embedded.tokens)
    assert loaded.search(queries(), 5).indices.tolist() == library.search(queries(), 5).indices.tolist()
    # Saving what was loaded changes nothing more, and leaves no other file behind.
    before = (tmp_path / "database" / "mini" / "embeddings.safetensors").read_bytes()
    loaded.save(tmp_path / "database" / "mini")
    assert (tmp_path / "database" / "mini" / "embeddings.safetensors").read_bytes() == before
    assert [path.name for path in (tmp_path / "database").iterdir()] == ["mini"]


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("manifest.json", {"format_version": 99}, "format 99"),
        ("manifest.json", {"motions": 3}, "do not belong together"),
        ("manifest.json", {"dimension": 5}, "do not belong together"),
        ("manifest.json", {"words": {"walk": "often"}}, "do not belong together"),
        ("manifest.json", {"words": 7}, "do not belong together"),
        ("manifest.json", {"retriever": {"name": "other", "hash": "xyz"}}, "made by the retriever other"),
        ("manifest.json", {"retriever": None}, "which retriever"),
        ("manifest.json", None, "build_rag_database.py"),
        ("entries.json", [], "do not belong together"),
        ("entries.json", [{"id": 3}], "not a list of motions"),
        ("entries.json", "?", "not a list of motions"),
        ("entries.json", [{"id": "a", "take": "a", "captions": ["b"], "frames": [5, 5]}], "not a list of motions"),
        ("entries.json", [{"id": "a", "take": "a", "captions": ["b"], "frames": "0-9"}], "not a list of motions"),
        ("entries.json", [{"id": "a", "take": "a", "captions": [3]}], "not a list of motions"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, file: str, change: object, message: str) -> None:
    database().save(tmp_path / "library")
    unsigned(tmp_path / "library")
    path = tmp_path / "library" / file
    if change is None:
        path.unlink()
    elif isinstance(change, dict):
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    else:
        path.write_text(json.dumps(change))
    with pytest.raises(UserError, match=message):
        RAGDatabase.load(tmp_path / "library", retriever_hash="abc")


def unsigned(folder: Path) -> None:
    """As former versions wrote a folder: without checksums of its files."""
    path = folder / "manifest.json"
    path.write_text(
        json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != "files"})
    )


@pytest.mark.parametrize("file", ["entries.json", "embeddings.safetensors", "index.faiss"])
def test_a_turned_bit_is_noticed(file: str, tmp_path: Path) -> None:
    pytest.importorskip("faiss", reason="FAISS is not installed (faiss-cpu)")
    database(30).with_index("hnsw").save(tmp_path / "library")
    path = tmp_path / "library" / file
    content = bytearray(path.read_bytes())
    content[-20] ^= 4
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{file} is truncated or damaged"):
        RAGDatabase.load(tmp_path / "library")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("text", float("nan")),
        ("motion", float("inf")),
        ("steps", 99),
        ("steps", -1),
        ("row_motion", -1),
        ("tokens", -1),
    ],
)
def test_numbers_that_mean_nothing_are_refused(name: str, value: float, tmp_path: Path) -> None:
    database(tokens=True).save(tmp_path / "library")
    path = tmp_path / "library" / "embeddings.safetensors"
    tensors = load_file(path)
    tensors[name].view(-1)[0] = value
    save_file(tensors, path)
    unsigned(tmp_path / "library")
    with pytest.raises(UserError, match="embeddings.safetensors is damaged"):
        RAGDatabase.load(tmp_path / "library")


@pytest.mark.parametrize("kept", [0, 7, 200, -1])
def test_truncated_embeddings_are_refused(tmp_path: Path, kept: int) -> None:
    database().save(tmp_path / "library")
    path = tmp_path / "library" / "embeddings.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match="truncated"):
        RAGDatabase.load(tmp_path / "library")


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="is no RAG database"):
        database().save(tmp_path)
    assert (tmp_path / "thesis.tex").is_file()


def test_added_motions_are_found(tmp_path: Path) -> None:
    library, own = database(tokens=True), embedded(3, seed=5, prefix="mine", tokens=True)
    larger = library.add(own)
    assert len(library) == 20 and len(larger) == 23
    assert larger.search(own.motion, 1, by="motion").indices.flatten().tolist() == [20, 21, 22]
    assert larger.search(own.text, 1, by="text").indices.flatten().tolist() == [20, 21, 21, 22, 22, 22]
    larger.save(tmp_path / "library")
    loaded = RAGDatabase.load(tmp_path / "library")
    assert [entry.id for entry in loaded.entries[-3:]] == ["mine000", "mine001", "mine002"]


def test_unfit_additions_are_refused() -> None:
    with pytest.raises(UserError, match="in the database already"):
        database().add(embedded(1))
    with pytest.raises(UserError, match="holds tokens"):
        database(tokens=True).add(embedded(1, prefix="mine"))
    with pytest.raises(UserError, match="has no caption"):
        Embedded((Entry("a", "a", ()),), torch.zeros(0, D), torch.zeros(1, D), torch.zeros(1, PARTS, PART_WIDTH))


def test_the_original_is_not_changed_by_a_search() -> None:
    library = database()
    before = library.embedded.motion.clone()
    library.search(queries(), 3, exclude_takes=["take0"] * 5)
    assert torch.equal(library.embedded.motion, before)


@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
def test_an_index_finds_what_the_exact_search_finds(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("faiss", reason="FAISS is not installed (faiss-cpu)")
    library = database(6000)
    indexed = library.with_index(kind)
    assert indexed.index.recall(queries(200), 10) > 0.8
    indexed.save(tmp_path / "library")
    loaded = RAGDatabase.load(tmp_path / "library")
    found, again = indexed.search(queries(), 4), loaded.search(queries(), 4)
    torch.testing.assert_close(found.scores, again.scores, atol=2e-3, rtol=0)
    exact = library.search(queries(), 4)
    hits = found.indices == exact.indices
    torch.testing.assert_close(found.scores[hits], exact.scores[hits], atol=1e-5, rtol=0)
    assert all(len(set(row)) == 4 for row in found.indices.tolist()), "a motion was found twice"
    # Exclusions are exact, and a grown library forgets an index that does not hold the new motions.
    excluded = loaded.search(queries(1), 3, exclude_takes=[loaded.entries[int(exact.indices[0, 0])].take])
    assert int(exact.indices[0, 0]) not in excluded.indices[0].tolist()
    assert loaded.add(embedded(1, prefix="mine")).index is None


def test_learning_an_index_grows_as_the_rows_and_adding_to_it_as_their_power_of_one_and_a_half() -> None:
    for rows in (10**5, 10**6, 10**7, 10**8):
        assert lists_of(10 * rows) / lists_of(rows) == pytest.approx(10**0.5, rel=0.01)
    assert lists_of(10_000) == 156 and lists_of(10) == 1, "few rows have as many a list as ever"


def test_rows_whose_width_has_no_factor_keep_their_bytes_in_an_index() -> None:
    """Those with sentence vectors are 897 wide: one byte each would find next to nothing."""
    pytest.importorskip("faiss", reason="FAISS is not installed (faiss-cpu)")
    count, width = 10_000, 97
    centres = torch.randn(5, width, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(count, width, generator=torch.Generator().manual_seed(1))
    made = functional.normalize(centres[torch.arange(count) % 5] + 0.5 * noise, dim=-1)
    rows = MotionRows(made, torch.arange(count), torch.arange(1, count + 1), width)
    found = ApproximateRows.build(rows, "ivfpq").search(made[:50], 10).indices
    exact = (made[:50] @ made.T).topk(10).indices
    hits = [len(set(one) & set(other)) for one, other in zip(found.tolist(), exact.tolist(), strict=True)]
    assert sum(hits) / 500 > 0.6


def test_a_bad_index_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("faiss", reason="FAISS is not installed (faiss-cpu)")
    with pytest.raises(UserError, match="at least 9,984 rows"):
        database().with_index("ivfpq")
    database(30).with_index("hnsw").save(tmp_path / "library")
    unsigned(tmp_path / "library")
    path = tmp_path / "library" / "index.faiss"
    database(20).with_index("hnsw").index.save(path)
    with pytest.raises(UserError, match="build it again"):
        RAGDatabase.load(tmp_path / "library")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match="missing or truncated"):
        RAGDatabase.load(tmp_path / "library")


def test_what_training_captions_retrieve_is_searched_once(tmp_path: Path) -> None:
    library = database()
    vectors, takes = queries(6), ["take0", "take1", "none", "take0", "take3", "take0"]
    captions = ["a", "b", "c", "a", "a", "d"]
    vectors[3] = vectors[4] = vectors[0]
    asked: list[int] = []

    def embed(rows: torch.Tensor) -> torch.Tensor:
        asked.extend(rows.tolist())
        return vectors[rows]

    expected = library.search(vectors, 2, exclude_takes=takes).indices
    for _ in range(2):
        assert torch.equal(training_pool(library, embed, captions, takes, 2, tmp_path), expected)
    assert len(asked) == 5, "the caption and take that come twice are asked for once"
    for other in (library.add(embedded(2, seed=5, prefix="new")), database(count=19)):
        assert torch.equal(
            training_pool(other, embed, captions, takes, 2, tmp_path),
            other.search(vectors, 2, exclude_takes=takes).indices,
        )
    small = database(count=4)
    assert torch.equal(
        training_pool(small, embed, captions, takes, 2, tmp_path), small.search(vectors, 2, exclude_takes=takes).indices
    )
