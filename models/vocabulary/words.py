"""Texts -> words, in any script, and what a word without its ending is.

The lists in words.json are English; of other languages only what the library's captions hold is known.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from itertools import chain
from pathlib import Path

from storage.files import read_json

LISTS = read_json(Path(__file__).with_name("words.json"))
# Scripts without blanks between words: each letter counts as one. Thai to Khmer, kana and Chinese.
SINGLE = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
MARKS = r"\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0dff"  # that belong to the letter before them
_WORD = re.compile(rf"[{SINGLE}]|[^\W\d_{SINGLE}](?:[^\W\d_{SINGLE}]|[{MARKS}]|['’](?=[^\W\d_]))*")
SINGLE_LETTERS = re.compile(f"[{SINGLE}]")
_ASCII = {code: " " for code in range(128) if not chr(code).isalpha() and chr(code) != "'"}
ENDINGS = ("ingly", "ing", "edly", "ed", "es", "s", "ly", "e")
SUGGESTED = 0.8  # how alike two spellings have to be, see difflib


def words_of(text: str) -> list[str]:
    """The words of a text in small letters, in order; numbers, signs and punctuation are none."""
    return [word.replace("’", "'") for word in _WORD.findall(text.casefold())]


def count_words(captions: Iterable[str]) -> dict[str, int]:
    """How often each word occurs, frequent ones first."""
    others, plain = [], []
    for caption in captions:
        (plain if caption.isascii() else others).append(caption)
    counts = Counter("\n".join(plain).casefold().translate(_ASCII).split())  # five times as fast
    for word in [word for word in counts if word.strip("'") != word]:
        counts[word.strip("'")] += counts.pop(word)
    del counts[""]
    counts.update(chain.from_iterable(map(words_of, others)))
    return dict(counts.most_common())


@lru_cache(1 << 16)
def stem(word: str) -> str:
    """A word without its English ending: walks, walked and walking are one."""
    word = word.removesuffix("'s")
    if word in LISTS["irregular"]:
        return LISTS["irregular"][word]
    for ending in ENDINGS:
        rest = word.removesuffix(ending)
        if rest != word and len(rest) >= 3 and re.search("[aeiouy]", rest) and not word.endswith("ss"):
            if len(rest) > 3 and rest[-1] == rest[-2] and rest[-1] not in "lsz" and ending != "e":
                rest = rest[:-1]  # jogging
            rest = rest[:-1] + "y" if rest.endswith("i") else rest  # carries
            return rest
    return word


def family(word: str) -> str:
    """What words that name the same motion have in common: hops and leaps are jumps."""
    return _FAMILIES.get(stem(word), stem(word))


def belongs(word: str, families: frozenset[str]) -> bool:
    """Whether a word tells what is part of another motion that is told: arms swing in every walk."""
    return not families.isdisjoint(map(family, LISTS["belongs"].get(stem(word), "").split()))


def listed(word: str) -> str:
    """The form in which a word that names a motion is listed; any other word itself."""
    return _MOTION.get(stem(word), word)


def suggestion(word: str, known: Sequence[str]) -> str | None:
    """The known word that a misspelt one may have been."""
    if len(word) < 4:
        return None
    alike = [each for each in known if abs(len(each) - len(word)) <= 1 and each[:1] == word[:1]]
    return next(iter(get_close_matches(word, alike, 1, SUGGESTED)), None)


def grouped(counts: Mapping[str, int]) -> dict[str, list[tuple[str, int]]]:
    """Words by what they tell, those of one stem together under the commonest; frequent ones first."""
    groups: dict[str, dict[str, list[str]]] = {"motion": {}, **{name: {} for name in LISTS["without_motion"]}}
    for word in counts:
        groups[_GROUPS.get(word) or _STEMMED.get(stem(word), "motion")].setdefault(stem(word), []).append(word)
    return {
        name: sorted(
            (("/".join(forms), sum(counts[form] for form in forms)) for forms in stems.values()),
            key=lambda row: -row[1],
        )
        for name, stems in groups.items()
        if stems
    }


def is_without_motion(word: str) -> bool:
    """Whether a word tells who, where, how or how often, or is a small one."""
    letter = len(word) == 1 and not SINGLE_LETTERS.fullmatch(word)  # an s shape, a t pose, markup
    return letter or word in _GROUPS or stem(word) in _STEMMED or (len(word) > 4 and word.endswith("ly"))


_FAMILIES = {stem(word): stem(row.split()[0]) for row in LISTS["alike"] for word in row.split()}
_MOTION = {stem(word): word for word in LISTS["motion"].split()}
_GROUPS = {word: name for name, row in LISTS["without_motion"].items() for word in row.split()}
_STEMMED = {stem(word): name for word, name in reversed(_GROUPS.items())}
