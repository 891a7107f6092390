"""A large library: searched through codes, exactly; opened where it lies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as functional

from models.rag import codes, database, search, writing
from models.rag.codes import Codes, encode
from models.rag.conditions import ConditionSource
from models.rag.database import Embedded, Entry, RAGDatabase, pad_tokens
from models.rag.entries import Entries, Texts
from models.rag.pool import training_pool
from models.rag.search import MotionRows
from storage.files import read_json, write_json
from utils.errors import UserError

D, MOTIONS = 32, 3000
FACTS = {"retriever": {"name": "tmr", "hash": "abc"}, "dataset": "mini"}
SHIPPED = Path(__file__).parents[2] / "pretrained" / "open" / "database"


def unit(*shape: int, seed: int = 0, spread: float = 0.0) -> torch.Tensor:
    """Unit vectors, even in all directions or mostly in the first few."""
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return functional.normalize(rows * torch.exp(-spread * torch.arange(shape[-1])), dim=-1)


def embedded(count: int = MOTIONS, prefix: str = "", seed: int = 0) -> Embedded:
    """Motion n has 1 + n % 3 captions; two motions a take, some the very same as others."""
    entries = [
        Entry(f"{prefix}{n:05d}", f"{prefix}take{n // 2}", tuple(f"caption {n}.{c} é" for c in range(1 + n % 3)))
        for n in range(count - 1)
    ]
    entries.append(Entry(f"{prefix}last@1-2", f"{prefix}last", ("a part",), (4, 44)))
    rows = sum(len(entry.captions) for entry in entries)
    text, motion = unit(rows, D, seed=seed, spread=0.2), unit(count, D, seed=seed + 1, spread=0.2)
    motion[100:120], text[200:240] = motion[0], text[0]
    grids = [torch.full((2 + n % 4, 6, 1), n % 200) for n in range(count)]
    return Embedded(tuple(entries), text, motion, unit(count, 6, 4, seed=seed + 2), *pad_tokens(grids))


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RAGDatabase:
    """A library that counts as large, in its files."""
    for module in (writing, database):
        monkeypatch.setattr(module, "LARGE", 1000)
    monkeypatch.setattr(codes, "ROWS_AT_ONCE", 1024)
    monkeypatch.setattr(codes, "AXES_STEP", 4)
    monkeypatch.setattr(search, "READ_AT_ONCE", 700)
    facts = FACTS | {"tokenizer": {"name": "vq", "hash": "v"}}
    RAGDatabase(embedded(), facts).save(tmp_path / "large")
    return RAGDatabase.load(tmp_path / "large", "abc")


def held(library: RAGDatabase) -> RAGDatabase:
    """The same library in memory, searched by products."""
    return library.to("cpu")


@pytest.mark.parametrize("spread", [0.0, 0.3])
@pytest.mark.parametrize("bytes_multiplied", [True, False])
@pytest.mark.parametrize("rows", [64 * 20, 64 * 20 + 1, 64 * 40 + 63])
def test_codes_never_lose_a_near_row(spread: float, bytes_multiplied: bool, rows: int, monkeypatch) -> None:
    monkeypatch.setattr(codes, "_products_are_exact", lambda: bytes_multiplied)
    monkeypatch.setattr(codes, "ROWS_AT_ONCE", 1024)
    vectors, queries = unit(rows, 48, spread=spread), unit(7, 48, seed=5, spread=spread / 2)
    vectors[rows // 2] *= 3  # longer than any in a sample might be
    vectors[-1] = queries[0]
    coded = Codes({name: torch.from_numpy(v) for name, v in encode(vectors.__getitem__, rows, 48).items()}, rows, 48)
    kept = MotionRows(vectors, torch.arange(rows), torch.arange(1, rows + 1), 48, coded)
    plain = MotionRows(vectors, torch.arange(rows), torch.arange(1, rows + 1), 48)
    excluded = [[rows - 1, 3], [*range(130)], *([n] for n in range(4)), []]
    for k in (1, 4, 10):
        for left_out in ((), excluded):
            found, expected = kept.search(queries, k, left_out), plain.search(queries, k, left_out)
            assert torch.equal(found.indices, expected.indices)
            torch.testing.assert_close(found.scores, expected.scores, atol=1e-6, rtol=0)
    looked_at = [len(each) for each in coded.candidates(queries, 4, (torch.empty(0, dtype=torch.long),) * 2)]
    assert max(looked_at) < rows / 4, "the codes tell nothing"


def test_a_large_library_finds_what_a_held_one_finds(large: RAGDatabase) -> None:
    small = held(large)
    assert large.in_files and not small.in_files and large.embedded.motion.dtype == torch.float16
    queries = unit(70, D, seed=9, spread=0.2)
    takes = [None, {"take0", "take50"}, "nobody's", *(f"take{n}" for n in range(67))]
    for by in ("motion", "text", "both"):
        assert large.rows(by).codes is not None and small.rows(by).codes is None
        for k in (1, 5, len(large)):
            for exclude in (None, takes):
                found, expected = (each.search(queries, k, exclude, by) for each in (large, small))
                torch.testing.assert_close(found.scores, expected.scores, atol=1e-6, rtol=0)
                same = found.indices == expected.indices
                assert same.float().mean() > 0.95, "only equal scores may change places"
                for motions, take in zip(found.indices.tolist(), exclude or [], strict=False):
                    assert len(set(motions)) == len(motions)
                    if k < 10:
                        names = {take} if isinstance(take, str) else take or set()
                        assert not names & {large.entries[motion].take for motion in motions}


def test_a_query_finds_the_same_alone_and_in_company(large: RAGDatabase) -> None:
    queries = unit(9, D, seed=9, spread=0.2)
    together = large.search(queries, 6)
    for number in range(9):
        alone = large.search(queries[number : number + 1], 6)
        assert torch.equal(alone.indices[0], together.indices[number])
        assert torch.equal(alone.scores[0], together.scores[number])


def test_what_is_retrieved_from_files_is_what_memory_holds(large: RAGDatabase, tmp_path: Path) -> None:
    small, chosen = held(large), torch.tensor([[0, 5, 2999], [7, 7, 1500]])
    ours, expected = large.gather(chosen), small.gather(chosen)
    for name in ("text", "motion", "parts", "tokens", "steps"):
        assert torch.equal(getattr(ours, name), getattr(expected, name)), name
    assert large.fingerprint == RAGDatabase.load(tmp_path / "large").fingerprint
    assert large.entries[-1] == Entry("last@1-2", "last", ("a part",), (4, 44)) and large.entries == embedded().entries
    vectors, takes = unit(5, D, seed=3, spread=0.2), [f"take{n}" for n in range(5)]
    pools = [
        training_pool(each, vectors.__getitem__, list("abcde"), takes, 4, tmp_path / name)
        for name, each in (("large", large), ("small", small))
    ]
    assert torch.equal(*pools) and ConditionSource(None, large, pools[0], 2).pool.shape == (5, 4)


def test_a_large_library_grows_in_its_files(large: RAGDatabase, tmp_path: Path) -> None:
    own = embedded(5, "mine", seed=20)
    large.write_with(own, tmp_path / "larger")
    larger = RAGDatabase.load(tmp_path / "larger", "abc")
    assert len(larger) == MOTIONS + 5 and larger.entries[MOTIONS].id == "mine00000" and larger.in_files
    assert larger.search(own.motion, 1, by="motion").indices.flatten().tolist() == list(range(MOTIONS, MOTIONS + 5))
    with pytest.raises(UserError, match="in the database already"):
        large.write_with(embedded(5), tmp_path / "other")
    assert not (tmp_path / "other").exists()
    in_memory = large.add(own)
    assert torch.equal(in_memory.embedded.text.half(), larger.embedded.text)
    in_memory.save(tmp_path / "saved")
    for name in ("embeddings", "entries", "codes"):
        written = [(tmp_path / place / f"{name}.safetensors").read_bytes() for place in ("larger", "saved")]
        assert written[0] == written[1], name


@pytest.mark.parametrize("file", ["entries.safetensors", "codes.safetensors", "embeddings.safetensors"])
def test_damaged_files_of_a_large_library_are_refused(large: RAGDatabase, tmp_path: Path, file: str) -> None:
    path = tmp_path / "large" / file
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match="truncated"):
        RAGDatabase.load(tmp_path / "large")
    path.unlink()
    if file != "codes.safetensors":
        with pytest.raises(UserError, match="missing"):
            RAGDatabase.load(tmp_path / "large")


@pytest.mark.parametrize("name", ["id_ends", "caption_ends", "take_ends", "take", "frames"])
def test_entries_that_do_not_fit_are_refused(name: str) -> None:
    packed = Entries.of(embedded(20).entries)
    for change in (lambda a: a[:-1], lambda a: a[::-1] + 1, lambda a: a.astype(np.float32)):
        with pytest.raises((ValueError, IndexError)):
            Entries(packed.arrays | {name: change(packed.arrays[name])}, packed.row_motion)
    with pytest.raises(UserError, match="damaged"):
        Texts(np.full(3, 255, np.uint8), np.array([3]))[0]
    with pytest.raises(UserError, match="no Unicode text"):
        Texts.of(["\udc80"])


def test_codes_of_other_rows_are_refused(large: RAGDatabase, tmp_path: Path) -> None:
    RAGDatabase(embedded(2500), FACTS | {"tokenizer": {"name": "vq", "hash": "v"}}).save(tmp_path / "other")
    (tmp_path / "other" / "codes.safetensors").rename(tmp_path / "large" / "codes.safetensors")
    with pytest.raises(UserError, match="does not fit its checksum"):
        RAGDatabase.load(tmp_path / "large")
    manifest = read_json(tmp_path / "large" / "manifest.json")
    del manifest["files"]  # as former ones are
    write_json(tmp_path / "large" / "manifest.json", manifest)
    with pytest.raises(UserError, match="do not belong together"):
        RAGDatabase.load(tmp_path / "large")


def test_the_shipped_library_finds_what_it_always_found() -> None:
    """Former folders are read; numbers are those of former versions, bit for bit."""
    library = RAGDatabase.load(SHIPPED)
    raw = json.loads((SHIPPED / "entries.json").read_text())
    assert [entry.to_dict() for entry in library.entries] == raw and not library.in_files
    queries = library.embedded.text[::701]
    text, owners = library.embedded.text, library.row_motion.long()
    similarity = queries @ ((text + library.embedded.motion[owners]) / 2).T
    best = similarity.new_full((len(queries), len(library)), -torch.inf)
    best.scatter_reduce_(1, owners.expand(len(queries), -1), similarity, "amax")
    found = library.search(queries, 6)
    assert torch.equal(found.scores, best.topk(6).values)
    sums = torch.zeros_like(library.embedded.motion).index_add_(0, owners, text)
    assert torch.equal(library.view.motion_text, functional.normalize(sums, dim=-1))
