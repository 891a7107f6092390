"""What a search joins: what the retriever says, what the captions mean, and captions that are the very same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from safetensors.torch import load_file, save_file

from models.rag import codes, database, search, writing
from models.rag.captions import SENTENCE_SPACE, as_bytes, normal_form, unit
from models.rag.database import Embedded, Entry, RAGDatabase
from models.rag.queries import Queries, Score
from models.rag.scoring import weigh
from storage.files import read_json, write_json
from utils.errors import UserError

D, S, MOTIONS = 8, 12, 90
SCORE = Score(captions=0.4, usual=0.8)
FACTS = {"retriever": {"name": "tmr", "hash": "abc"}, "dataset": "mini", "sentences": SENTENCE_SPACE}
SCORED = FACTS | {"score": SCORE.to_dict()}


def draw(*shape: int, seed: int) -> torch.Tensor:
    return functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def embedded(count: int = MOTIONS, prefix: str = "", sentences: bool = True) -> Embedded:
    """Motion n has 1 + n % 3 captions, the last of which three motions share; the retriever knows two of three."""
    entries = []
    for n in range(count):
        own = tuple(f"{prefix}caption {n}.{c}" for c in range(n % 3))
        entries.append(Entry(f"{prefix}{n}", f"{prefix}take{n // 2}", (*own, f"{prefix}Someone does, No. {n // 3}.")))
    owners = np.repeat(np.arange(count), [len(entry.captions) for entry in entries])
    motion, others, meaning = draw(count, D, seed=1), draw(len(owners), D, seed=2), draw(len(owners), S, seed=3)
    known = torch.from_numpy(owners % 3 < 2)[:, None]
    text = functional.normalize(motion[owners] + torch.where(known, 0.2, 5.0) * others, dim=-1)
    kept = as_bytes(meaning) if sentences else None
    return Embedded(
        tuple(entries), text.half().float(), motion.half().float(), torch.zeros(count, 2, 2), sentences=kept
    )


def asked(texts: list[str]) -> Queries:
    return Queries(draw(len(texts), D, seed=5), texts, draw(len(texts), S, seed=6))


@pytest.fixture
def in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RAGDatabase:
    """The library as a large one, searched by its codes."""
    for module in (writing, database):
        monkeypatch.setattr(module, "LARGE", 100)
    monkeypatch.setattr(codes, "GROUP", 4)
    monkeypatch.setattr(codes, "ROWS_AT_ONCE", 64)
    monkeypatch.setattr(codes, "AXES_STEP", 2)
    monkeypatch.setattr(search, "READ_AT_ONCE", 7)
    RAGDatabase(embedded(), SCORED).save(tmp_path / "large")
    return RAGDatabase.load(tmp_path / "large")


def by_hand(library: RAGDatabase, one: Queries, number: int) -> np.ndarray:
    """The score of every motion, one caption at a time."""
    made, scores = library.embedded, np.full(len(library), -np.inf)
    for row, motion in enumerate(library.entries.row_motion):
        text, moves, query = made.text[row].float(), made.motion[motion].float(), one.learned[number]
        learned = float(query @ text + query @ moves) / 2
        if float(1 + text @ moves) / 2 < SCORE.usual:
            learned = SCORE.usual
        meaning = float(unit(made.sentences[row : row + 1])[0] @ one.sentences[number])
        scores[motion] = max(scores[motion], 0.6 * learned + 0.4 * meaning)
    return scores


def test_the_score_of_a_motion_is_the_sum_of_its_parts(in_files: RAGDatabase) -> None:
    library, queries = in_files.to("cpu"), asked(["nothing", "like", "that"])
    assert in_files.rows("score").codes is not None and library.rows("score").codes is None
    for each in (library, in_files):
        found = each.search(queries, 5)
        for number in range(3):
            expected = by_hand(library, queries, number)
            assert found.indices[number].tolist() == np.argsort(-expected)[:5].tolist()
            np.testing.assert_allclose(found.scores[number], np.sort(expected)[::-1][:5], atol=1e-5)
    former = library.search(queries.learned, 5)
    assert torch.equal(former.indices, RAGDatabase(library.embedded, {}).search(queries, 5).indices)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("a person bows", ["A person bows.", "  a  PERSON bows!\n", "“a person—bows”", "a_person_bows"]),
        ("the person's café", ["The person’s CAFE\u0301"]),
        ("人が歩く。", ["人が歩く"]),
        ("वह चलता है", ["वह चलता है।"]),
        ("?!", [" ?! "]),
    ],
)
def test_captions_that_read_alike(text: str, same: list[str]) -> None:
    assert {normal_form(each) for each in same} == {normal_form(text)}
    assert normal_form("a person bow") != normal_form("a person bows") and normal_form("वह") != normal_form("वहा")
    assert normal_form("?") != normal_form("!")


def check_exact(library: RAGDatabase, take: str | None = None) -> None:
    """The very caption comes first, those of the best score before the others, and else all is as it was."""
    texts = ["someone does no 7", "Caption 40.0!", "never said"]
    left_out = None if take is None else [take] * 3
    first = [[n for n in numbers if library.entries[n].take != take] for numbers in ([21, 22, 23], [40], [])]
    for queries in (asked(texts), Queries(asked(texts).learned, texts)):
        plain = library.search(replace(queries, texts=()), 6, left_out)
        for k in (1, 2, 6):
            found = library.search(queries, k, left_out)
            for number, motions in enumerate(first):
                count = min(k, len(motions))
                assert found.exact[number] == count
                row, scores = found.indices[number].tolist(), found.scores[number]
                assert len(set(row)) == k and set(row[:count]) <= set(motions)
                assert (scores[:count].diff() <= 1e-6).all() and (scores[count:].diff() <= 1e-6).all()
                others = [each for each in plain.indices[number].tolist() if each not in motions]
                assert row[count:] == others[: k - count]


def test_the_very_caption_comes_first_at_every_door(in_files: RAGDatabase, tmp_path: Path) -> None:
    small = in_files.to("cpu")
    for library in (in_files, small, RAGDatabase(embedded(sentences=False), {})):
        check_exact(library)
        check_exact(library, "take11")
    larger = in_files.add(Embedded.join([embedded(4, "new ")]))
    assert larger.search(asked(["new caption 2.1"]), 1).indices.item() == MOTIONS + 2
    in_files.write_with(embedded(4, "new "), tmp_path / "larger")
    written = RAGDatabase.load(tmp_path / "larger")
    assert written.search(asked(["new caption 2.1"]), 1).indices.item() == MOTIONS + 2 and written.score == SCORE
    pytest.importorskip("faiss", reason="FAISS is not installed (faiss-cpu)")
    indexed = small.with_index("hnsw")
    check_exact(indexed)
    indexed.save(tmp_path / "indexed")
    check_exact(RAGDatabase.load(tmp_path / "indexed"))


def test_a_library_keeps_what_it_is_searched_by(in_files: RAGDatabase, tmp_path: Path) -> None:
    small = in_files.to("cpu")
    assert torch.equal(small.embedded.sentences, embedded().sentences) and small.score == SCORE
    assert small.fingerprint != RAGDatabase(small.embedded, FACTS).fingerprint
    keys = in_files.entries.keys
    assert all(np.array_equal(keys[name], small_keys) for name, small_keys in small.entries.keys.items())
    path = tmp_path / "large" / "entries.safetensors"
    tensors = load_file(path)
    manifest = read_json(tmp_path / "large" / "manifest.json")
    del manifest["files"]  # as former ones are
    write_json(tmp_path / "large" / "manifest.json", manifest)
    save_file(tensors | {"caption_rows": tensors["caption_rows"] + 1}, path)
    with pytest.raises(UserError, match="do not belong together"):
        RAGDatabase.load(tmp_path / "large")
    tensors = {name: value for name, value in tensors.items() if name not in ("caption_keys", "caption_rows")}
    save_file(tensors, path)
    check_exact(RAGDatabase.load(tmp_path / "large"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": {"captions": 2, "usual": 0.5}}, "do not belong together"),
        ({"score": {"captions": float("nan"), "usual": 0.5}}, "manifest.json|belong together"),
        ({"score": {"captions": True, "usual": 0.5}}, "do not belong together"),
        ({"score": {"captions": 0.5}}, "do not belong together"),
        ({"score": 3}, "do not belong together"),
        ({"sentences": "another"}, "another space"),
        ({"sentences": None}, "do not belong together"),
    ],
)
def test_scores_that_mean_nothing_are_refused(change: dict, message: str, tmp_path: Path) -> None:
    RAGDatabase(embedded(), SCORED).save(tmp_path)
    manifest = read_json(tmp_path / "manifest.json") | change
    write_json(tmp_path / "manifest.json", {name: value for name, value in manifest.items() if value is not None})
    with pytest.raises(UserError, match=message):
        RAGDatabase.load(tmp_path)


def test_additions_need_what_the_library_has() -> None:
    with pytest.raises(UserError, match="sentence vectors"):
        RAGDatabase(embedded(), SCORED).add(embedded(2, "new ", sentences=False))
    with pytest.raises(ValueError, match="sentence vectors"):
        replace(embedded(), sentences=embedded().sentences[1:])


def test_validation_takes_what_helps() -> None:
    """Where the retriever errs and captions tell, they count; where they are noise they do not; own takes do not."""
    count = 60
    motion = draw(count // 2, D, seed=1).repeat_interleave(2, dim=0)  # twins of different takes
    meaning = draw(count // 2, S, seed=2).repeat_interleave(2, dim=0)
    entries = tuple(Entry(f"{n}", f"take{n}", (f"caption {n}",)) for n in range(count))
    noise, right = draw(count, D, seed=3), functional.normalize(motion + 0.1 * draw(count, D, seed=4), dim=-1)
    for text, sentences, low, high in ((noise, meaning, 0.5, 0.9), (right, draw(count, S, seed=5), 0.1, 0.3)):
        made = Embedded(entries, text, motion, torch.zeros(count, 1, 1), sentences=as_bytes(sentences))
        library = RAGDatabase(made, FACTS)
        queries, takes = library.own_queries(), library.row_takes
        found = weigh(library, queries, motion, takes)
        assert low <= found.score.captions <= high and torch.isfinite(found.likeness).all()
        assert weigh(library, queries, motion, ["none"] * count) is None, "the library holds all captions itself"
    assert weigh(RAGDatabase(replace(made, sentences=None), {}), queries, motion, takes) is None
