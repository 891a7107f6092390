"""Captions of a library that show what it knows: of each kind of word a few, the commonest words first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.vocabulary.words import LISTS, family, grouped, stem, words_of

KINDS = {"motion": 14, "body": 3, "where": 4, "how": 4, "count": 2}  # and how many captions of each
SPREAD = 4  # the words are spread over so many times as many of the commonest
FEWEST_WORDS, USUAL_WORDS, MOST_WORDS = 4, 6, 12
MOST_READ = 1 << 13  # captions, evenly spread


def examples(captions: Sequence[str], counts: Mapping[str, int]) -> dict[str, list[str]]:
    """Captions by the kind of the word that each was chosen for; the same ones for the same library.

    Every word is shown once, by a plain caption of the usual length, and no two captions tell the same motions.

    Args:
        captions: of the library.
        counts: how often each word occurs in them.
    """
    tidied: dict[str, list[str]] = {}
    for number in range(0, len(captions), -(-len(captions) // MOST_READ) or 1):
        text = " ".join(captions[number].split()).rstrip(".")
        words = words_of(text)
        if FEWEST_WORDS <= len(words) <= MOST_WORDS and text.isprintable() and "(" not in text:
            tidied[text[:1].lower() + text[1:]] = words
    groups, named = grouped(counts), frozenset(map(stem, LISTS["motion"].split()))
    others = groups.get("motion", [])  # where the language is another one, all that is not in the lists
    groups["motion"] = [row for row in others if stem(row[0].split("/")[0]) in named] or others
    actions = {family(word) for forms, _ in groups["motion"] for word in forms.split("/")}
    told = {text: frozenset(map(family, words)) & actions for text, words in tidied.items()}

    def plainness(text: str) -> tuple[int, int, bool, str]:
        return len(told[text]), abs(len(tidied[text]) - USUAL_WORDS), not text.startswith("a person"), text

    order = sorted(filter(told.get, tidied), key=plainness)
    chosen: dict[str, list[str]] = {}
    seen: set[frozenset[str]] = set()
    for kind, most in KINDS.items():
        words = groups.get(kind, [])[: most * SPREAD]
        for start in range(SPREAD):
            for forms, _ in words[start::SPREAD]:
                names = set(forms.split("/"))
                fits = (text for text in order if told[text] not in seen and not names.isdisjoint(tidied[text]))
                if len(chosen.get(kind, ())) < most and (text := next(fits, None)) is not None:
                    chosen.setdefault(kind, []).append(text)
                    seen.add(told[text])
    return chosen
