"""The words of Guo's evaluators: GloVe vectors and part-of-speech vectors of `word/POS` tokens.

Letters: L tokens of a caption, V words.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from storage.arrays import read_array
from storage.files import read_bytes
from storage.pickles import read_pickle
from utils.errors import UserError

PREFIX = "our_vab"
MAX_TOKENS = 20  # of a caption, without the two that mark its ends
START, END, UNKNOWN = "sos", "eos", "unk"
OTHER = "OTHER"
POS_TAGS = (
    *("VERB", "NOUN", "DET", "ADP", "NUM", "AUX", "PRON", "ADJ", "ADV"),
    *("Loc_VIP", "Body_VIP", "Obj_VIP", "Act_VIP", "Desc_VIP", OTHER),
)
# Words that have a class of their own instead of their part of speech.
SPECIAL_WORDS = {
    "Loc_VIP": "left right clockwise counterclockwise anticlockwise forward back backward up down straight curve",
    "Body_VIP": "arm chin foot feet face hand mouth leg waist eye knee shoulder thigh",
    "Obj_VIP": "stair dumbbell chair window floor car ball handrail baseball basketball",
    "Act_VIP": "walk run swing pick bring kick put squat throw hop dance jump turn stumble stop sit lift lower raise"
    " wash stand kneel stroll rub bend balance flap jog shuffle lean rotate spin spread climb",
    "Desc_VIP": "slowly carefully fast careful slow quickly happy angry sad happily angrily sadly",
}
CLASS_OF_WORD = {word: name for name, words in SPECIAL_WORDS.items() for word in words.split()}
TAG_NUMBERS = {tag: number for number, tag in enumerate(POS_TAGS)}


class WordVectors:
    """Vectors of words and of their parts of speech.

    Args:
        vectors: (V, 300), any width.
        rows: row of each word; `unk`, `sos` and `eos` are among them.

    Raises:
        UserError: no two-dimensional finite array, a row out of it, or a mark without a vector.
    """

    def __init__(self, vectors: np.ndarray, rows: dict[str, int], source: Path | str = "the vocabulary") -> None:
        if vectors.ndim != 2 or vectors.dtype.kind != "f" or not np.isfinite(vectors).all():
            raise UserError(f"{source}: word vectors must be a finite array of words by dimensions")
        if outside := [word for word, row in rows.items() if not 0 <= row < len(vectors)]:
            raise UserError(
                f"{source}: the word {outside[0]!r} has no vector, row {rows[outside[0]]} of {len(vectors)}"
            )
        if missing := [mark for mark in (START, END, UNKNOWN) if mark not in rows]:
            raise UserError(f"{source}: the words {', '.join(missing)} are missing")
        self._vectors, self._rows = vectors.astype(np.float32), rows

    @classmethod
    def from_folder(cls, folder: Path | str) -> WordVectors:
        """Reads `our_vab_data.npy`, `our_vab_words.pkl` and `our_vab_idx.pkl`.

        Raises:
            UserError: a file is missing or is not what it should be; see `vocabulary_files`.
        """
        data, words_path, index_path = vocabulary_files(folder)
        words, index = (read_pickle(read_bytes(path), path) for path in (words_path, index_path))
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise UserError(f"{words_path} must hold a list of words")
        if not isinstance(index, dict) or any(type(row) is not int for row in index.values()):
            raise UserError(f"{index_path} must hold a dictionary of words and row numbers")
        if unnumbered := [word for word in words if word not in index]:
            raise UserError(f"{index_path} has no row for the word {unnumbered[0]!r} of {words_path.name}")
        return cls(read_array(data), {word: index[word] for word in words}, folder)

    @property
    def width(self) -> int:
        """Dimensions of a word's vector."""
        return self._vectors.shape[1]

    def embed(self, tokens: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The `word/POS` tokens of one caption -> word vectors (L, 300), part-of-speech one-hots (L, 15).

        As published: at most 20 tokens, between `sos` and `eos`; a word without a vector becomes `unk/OTHER`, and some
        words have a class of their own instead of their part of speech.

        Raises:
            UserError: a token without `/`.
        """
        rows, tags = [], []
        for token in [f"{START}/{OTHER}", *tokens[:MAX_TOKENS], f"{END}/{OTHER}"]:
            word, slash, tag = token.rpartition("/")
            if not slash:
                raise UserError(f"the token {token!r} is not of the form word/POS")
            known = word in self._rows
            rows.append(self._rows[word if known else UNKNOWN])
            tags.append(
                TAG_NUMBERS.get(CLASS_OF_WORD.get(word, tag), TAG_NUMBERS[OTHER]) if known else TAG_NUMBERS[OTHER]
            )
        return self._vectors[rows], np.eye(len(POS_TAGS), dtype=np.float32)[tags]


def vocabulary_files(folder: Path | str) -> tuple[Path, Path, Path]:
    """Paths of the vectors, the words and the index."""
    return tuple(Path(folder) / f"{PREFIX}_{name}" for name in ("data.npy", "words.pkl", "idx.pkl"))
