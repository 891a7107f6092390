"""Captions of the mini dataset: a small grammar that says every scored attribute of a clip, in varied words.

Words carry their part of speech where the lexicon alone cannot tell ("left|NOUN"); the tagged form follows HumanML3D's
text files: nouns and verbs lemmatised, punctuation left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from storage.files import read_json

Segment = Mapping[str, str]

WORDS = read_json(Path(__file__).with_name("words.json"))
# Wordings that only captions of the test split use: a model meets them for the first time there.
TEST_ONLY = frozenset(WORDS["test_only"])


@dataclass(frozen=True)
class Verb:
    """A verb in its third person and its -ing form, each with what always follows it."""

    third: str
    progressive: str
    tail: str = ""


VERBS = {kind: [Verb(*row) for row in rows] for kind, rows in WORDS["verbs"].items()}


def _pick(rng: np.random.Generator, options: Sequence, held_out: bool, key=str):
    """One of the options; wordings of `TEST_ONLY` come only with `held_out`, and are then preferred."""
    rare = [option for option in options if key(option).split("|")[0] in TEST_ONLY]
    common = [option for option in options if key(option).split("|")[0] not in TEST_ONLY]
    pool = rare if rare and held_out and rng.random() < 0.5 else common
    return pool[int(rng.integers(len(pool)))]


def _direction_words(segment: Segment, rng: np.random.Generator) -> tuple[str, ...]:
    kind, direction = segment["locomotion"], segment.get("direction")
    if segment.get("path") == "circle":
        return tuple(_way(rng, name) for name in ("circle", direction) if name)
    if kind in ("walk", "jog", "run"):
        # Drawn whatever the direction is.
        bend, ahead, back = (_way(rng, name) for name in ("bend", "forward", "backward"))
        plain = {"forward": (ahead,), "backward": (back,), None: ("",)}
        return plain.get(direction, ("forward", f"and {bend} {direction}|ADV"))
    side = segment.get("leg_side") if kind == "lunge" else direction
    if side is None:
        return ("",)
    return (_way(rng, f"{kind} {side}" if f"{kind} {side}" in WORDS["ways"] else kind, side),)


def _way(rng: np.random.Generator, name: str, side: str = "") -> str:
    return _choice(rng, WORDS["ways"][name]).replace("{side}", side)


def _choice(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


@dataclass(frozen=True)
class Clause:
    """A verb phrase: the verb and what follows it, as "walks" + "forward slowly"."""

    verb: Verb
    rest: str
    second: str = ""  # a second verb in the third person with its words: "and turns left"

    def third(self) -> str:
        """walks forward and turns left"""
        return _joined(self.verb.third, self.rest, self.second)

    def gerund(self) -> str:
        """walking forward and turning left"""
        return _joined(self.verb.progressive, self.rest, _gerunds(self.second))


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _gerunds(text: str) -> str:
    return text.replace("turns ", "turning ").replace("curves ", "curving ")


def _locomotion_clause(segment: Segment, rng: np.random.Generator, held_out: bool) -> Clause:
    kind = segment["locomotion"]
    verb = _pick(rng, VERBS[kind], held_out, key=lambda item: item.third)
    direction, *second = _direction_words(segment, rng)
    adverbs = [_pick(rng, WORDS["adverbs"][segment[name]], held_out) for name in ("speed", "manner") if name in segment]
    if kind == "walk" and verb.third == "steps" and (segment.get("path") or not direction):
        verb = VERBS["walk"][0]
    if segment.get("path") == "circle":
        return Clause(verb, _joined(direction, *second, *adverbs))
    if kind == "lunge" and verb.third != "lunges" and rng.random() < 0.5:
        return Clause(verb, _joined(verb.tail, direction))
    words = [verb.tail, direction, *adverbs] if rng.random() < 0.65 else [verb.tail, *adverbs, direction]
    return Clause(verb, _joined(*words), second[0] if second else "")


def _gesture_clause(segment: Segment, name: str, rng: np.random.Generator, held_out: bool) -> Clause:
    kind, _, turned = segment[name].partition("_")
    verb = _pick(rng, VERBS[kind], held_out, key=lambda item: item.third)
    if turned:
        return Clause(verb, _joined(verb.tail, _way(rng, kind, turned)))
    if kind in ("nod", "shake", "clap"):
        return Clause(verb, verb.tail)
    if kind == "kick":
        side = segment.get("leg_side")
        return Clause(verb, _joined(verb.tail, _way(rng, kind, side) if side else _way(rng, "kick free")))
    side = segment.get("side")
    tails = WORDS["tails"][kind]["both" if side == "both" else "one" if side else "free"]
    tail = _choice(rng, tails).replace("{side}", side or "")
    if verb.third == "puts":
        tail = tail if "above" in tail else f"{tail} up|ADV"
    if kind == "raise" and verb.third != "puts" and "above" not in tail and rng.random() < 0.3:
        tail += " up|ADV"
    if verb.third == "punches" and kind == "punch" and rng.random() < 0.2:
        return Clause(verb, _joined(tail, verb.tail))
    return Clause(verb, _joined(verb.tail, tail))


def _segment_clause(segment: Segment, rng: np.random.Generator, held_out: bool) -> tuple[Clause, list[Clause]]:
    gestures = [_gesture_clause(segment, name, rng, held_out) for name in ("arm", "leg", "head") if name in segment]
    if "locomotion" in segment:
        return _locomotion_clause(segment, rng, held_out), gestures
    return gestures[0], gestures[1:]


def _phrase(main: Clause, during: list[Clause], form: str, rng: np.random.Generator) -> str:
    text = main.third() if form == "third" else main.gerund()
    for clause in during:
        if form == "third" and rng.random() < 0.25:
            text += f" and {clause.third()} at the same time"
        else:
            text += f" while {clause.gerund()}"
    return text


def caption(segments: Sequence[Segment], rng: np.random.Generator, held_out: bool) -> str:
    """One caption with its tag marks ("left|NOUN"); `held_out` allows the wordings of `TEST_ONLY`."""
    subject = _pick(rng, WORDS["subjects"], held_out)
    pronoun = WORDS["pronouns"].get(subject, "they")
    their = {"he": "his", "she": "her", "they": "their"}[pronoun]
    if pronoun == "they" and rng.random() < 0.5:
        pronoun, their = ("he", "his") if rng.random() < 0.5 else ("she", "her")
    clauses = [_segment_clause(segment, rng, held_out) for segment in segments]
    progressive = rng.random() < 0.35
    text = f"{subject} "
    text += "is|AUX " + _phrase(*clauses[0], "gerund", rng) if progressive else _phrase(*clauses[0], "third", rng)
    for clause in clauses[1:]:
        join = _pick(rng, WORDS["joins"], held_out, key=lambda item: item.strip(" .,").split()[0])
        if "{gerund}" in join:
            text += " before " + _phrase(*clause, "gerund", rng)
        else:
            gerund = progressive and "{pronoun}" not in join
            text += join.replace("{pronoun}", pronoun) + _phrase(*clause, "gerund" if gerund else "third", rng)
    text = text.replace("{their}", their)
    if rng.random() < 0.3:
        text = re.sub(r"(^|\. )([a-z])", lambda match: match.group(1) + match.group(2).upper(), text) + "."
    return text


_LEXICON = {word: tag for tag, words in WORDS["tags"].items() for word in words.split()}
_LEMMAS = {
    form: WORDS["irregular"].get(verb.third, verb.third[:-1])
    for verb in [*chain(*VERBS.values()), Verb("curves", "curving")]
    for form in (verb.third, verb.progressive)
}


def tagged(marked: str) -> tuple[str, list[str]]:
    """The plain caption and its `word/POS` tokens, from a caption with tag marks."""
    tokens = []
    for raw in marked.split():
        word, _, tag = raw.strip(".,").partition("|")
        word = word.lower()
        if not tag and word in _LEMMAS:
            word, tag = _LEMMAS[word], "VERB"
        elif not tag:
            word = WORDS["singular"].get(word, word)
            tag = _LEXICON.get(word, "NOUN")
        tokens.append(f"{word}/{tag}")
    return re.sub(r"\|[A-Z]+", "", marked), tokens


def captions(segments: Sequence[Segment], rng: np.random.Generator, held_out: bool) -> list[tuple[str, list[str]]]:
    """Three or four different captions of a clip, each with its tokens.

    Args:
        held_out: the clip is in the test split: half of its choices that could be a `TEST_ONLY` wording are one.
    """
    wanted = 3 + int(rng.random() < 0.5)
    found: dict[str, list[str]] = {}
    for _ in range(40):
        text, tokens = tagged(caption(segments, rng, held_out and len(found) == 0))
        found.setdefault(text, tokens)
        if len(found) == wanted:
            break
    return list(found.items())
