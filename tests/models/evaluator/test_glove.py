"""GloVe of Guo's evaluators: the published token rules, and what its files may hold."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from models.evaluator.glove import POS_TAGS, WordVectors
from utils.errors import UserError

WORDS = {"sos": 0, "eos": 1, "unk": 2, "walk": 3, "person": 4, "a": 5}
VECTORS = np.random.default_rng(0).normal(size=(6, 300)).astype(np.float32)


def tags_of(tokens: list[str]) -> list[str]:
    _, pos = WordVectors(VECTORS, WORDS).embed(tokens)
    assert (pos.sum(axis=1) == 1).all()
    return [POS_TAGS[number] for number in pos.argmax(axis=1)]


def test_tokens_become_vectors_and_classes() -> None:
    words, pos = WordVectors(VECTORS, WORDS).embed(["a/DET", "person/NOUN", "walk/VERB", "swims/VERB", "person/XYZ"])
    np.testing.assert_array_equal(words, VECTORS[[0, 5, 4, 3, 2, 4, 1]])
    assert words.dtype == pos.dtype == np.float32 and pos.shape == (7, 15)
    # `walk` is an action by itself; an unknown word loses its tag; an unknown tag is OTHER.
    expected = ["OTHER", "DET", "NOUN", "Act_VIP", "OTHER", "OTHER", "OTHER"]
    assert tags_of(["a/DET", "person/NOUN", "walk/VERB", "swims/VERB", "person/XYZ"]) == expected


def test_long_captions_keep_twenty_tokens_between_the_marks() -> None:
    words, _ = WordVectors(VECTORS, WORDS).embed(["a/DET"] * 19 + ["walk/VERB"] + ["person/NOUN"] * 5)
    assert len(words) == 22
    np.testing.assert_array_equal(words[[0, 20, 21]], VECTORS[[0, 3, 1]])
    assert len(WordVectors(VECTORS, WORDS).embed([])[0]) == 2


def test_a_token_without_its_tag_is_named() -> None:
    with pytest.raises(UserError, match="'walk' is not of the form word/POS"):
        WordVectors(VECTORS, WORDS).embed(["walk"])


@pytest.mark.parametrize(
    ("words", "index", "message"),
    [
        ({"a": 1}, {"a": 1}, "our_vab_words.pkl must hold a list of words"),
        (["a"], ["a"], "our_vab_idx.pkl must hold a dictionary"),
        (["a"], {"a": "1"}, "our_vab_idx.pkl must hold a dictionary"),
        (["a", "b"], {"a": 1}, "no row for the word 'b'"),
        (["a"], {"a": 9}, "the word 'a' has no vector, row 9 of 6"),
        (["a"], {"a": 1}, "the words sos, eos, unk are missing"),
    ],
)
def test_wrong_vocabularies_are_named(tmp_path: Path, words: object, index: object, message: str) -> None:
    np.save(tmp_path / "our_vab_data.npy", VECTORS)
    (tmp_path / "our_vab_words.pkl").write_bytes(pickle.dumps(words))
    (tmp_path / "our_vab_idx.pkl").write_bytes(pickle.dumps(index))
    with pytest.raises(UserError, match=message):
        WordVectors.from_folder(tmp_path)
