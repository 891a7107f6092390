"""Captions of the mini dataset: a small grammar that says every scored attribute of a clip, in varied words.

Words carry their part of speech where the lexicon alone cannot tell ("left|NOUN"); the tagged form follows HumanML3D's
text files: nouns and verbs lemmatised, punctuation left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Segment = Mapping[str, str]

# Wordings that only captions of the test split use: a model meets them for the first time there.
TEST_ONLY = frozenset({"strolls", "sprints", "hops", "delivers", "hurls", "the character", "at a leisurely pace"}
                      | {"in a weary way", "merrily", "afterwards", "an individual"})  # fmt: skip

SUBJECTS = (
    "a person", "a person", "a person", "someone", "a man", "a woman", "the figure", "the person", "a human", "he",
    "she", "the man", "a guy", "somebody", "the character", "an individual",
)  # fmt: skip


@dataclass(frozen=True)
class Verb:
    """A verb in its third person and its -ing form, each with what always follows it."""

    third: str
    progressive: str
    tail: str = ""


def _verbs(*rows: tuple[str, str] | tuple[str, str, str]) -> tuple[Verb, ...]:
    return tuple(Verb(*row) for row in rows)


WALK = _verbs(("walks", "walking"), ("walks", "walking"), ("steps", "stepping"), ("strolls", "strolling"))
VERBS: dict[str, tuple[Verb, ...]] = {
    "stand": _verbs(("stands", "standing", "still|ADV"), ("stands", "standing", "in place"),
                    ("stays", "staying", "still|ADV")),
    "walk": WALK,
    "jog": _verbs(("jogs", "jogging"), ("jogs", "jogging"), ("trots", "trotting")),
    "run": _verbs(("runs", "running"), ("runs", "running"), ("sprints", "sprinting")),
    "sidestep": _verbs(("sidesteps", "sidestepping"), ("steps", "stepping", "sideways"),
                        ("shuffles", "shuffling", "sideways")),
    "turn": _verbs(("turns", "turning"), ("turns", "turning"), ("rotates", "rotating")),
    "jump": _verbs(("jumps", "jumping"), ("jumps", "jumping"), ("leaps", "leaping"), ("hops", "hopping")),
    "squat": _verbs(("squats", "squatting", "down"), ("squats", "squatting"), ("does", "doing", "a squat|NOUN"),
                    ("performs", "performing", "a squat|NOUN")),
    "sit": _verbs(("sits", "sitting", "down"), ("sits", "sitting", "down"), ("sits", "sitting", "down on a chair"),
                  ("takes", "taking", "a seat")),
    "kneel": _verbs(("kneels", "kneeling", "down"), ("kneels", "kneeling"), ("kneels", "kneeling", "on the ground"),
                    ("gets", "getting", "down on the knees")),
    "lunge": _verbs(("lunges", "lunging", "forward"), ("does", "doing", "a lunge|NOUN"),
                    ("performs", "performing", "a lunge|NOUN")),
    "wave": _verbs(("waves", "waving"), ("waves", "waving")),
    "raise": _verbs(("raises", "raising"), ("lifts", "lifting"), ("puts", "putting")),
    "clap": _verbs(("claps", "clapping"), ("claps", "clapping", "{their} hands"), ("applauds", "applauding")),
    "punch": _verbs(("punches", "punching"), ("throws", "throwing", "a punch|NOUN"),
                    ("punches", "punching", "forward")),
    "throw": _verbs(("throws", "throwing", "something"), ("throws", "throwing", "a ball"),
                    ("throws", "throwing", "an object"), ("hurls", "hurling", "something")),
    "point": _verbs(("points", "pointing"), ("points", "pointing", "forward"), ("points", "pointing", "ahead")),
    "kick": _verbs(("kicks", "kicking"), ("kicks", "kicking"), ("does", "doing", "a kick|NOUN"),
                   ("delivers", "delivering", "a kick|NOUN")),
    "nod": _verbs(("nods", "nodding"), ("nods", "nodding", "{their} head"),
                  ("nods", "nodding", "{their} head up|ADV and down")),
    "shake": _verbs(("shakes", "shaking", "{their} head"), ("shakes", "shaking", "{their} head in disagreement")),
    "look": _verbs(("looks", "looking"), ("turns", "turning", "{their} head"), ("looks", "looking")),
}  # fmt: skip

SPEED = {
    "slow": ("slowly", "slowly", "at a slow pace", "at a leisurely pace"),
    "fast": ("quickly", "quickly", "fast|ADV", "briskly", "at a fast pace"),
}
MANNER = {
    "tired": ("tiredly", "in a tired way", "wearily", "like a tired person", "in a weary way"),
    "happy": ("happily", "happily", "cheerfully", "in a happy way", "merrily"),
    "sneaky": ("sneakily", "stealthily", "in a crouch|NOUN", "sneakily"),
}
SIDE_TAILS = {
    "wave": (
        "with {their} {side}|ADJ hand",
        "with the {side}|ADJ hand",
        "{their} {side}|ADJ hand",
        "{their} {side}|ADJ arm",
    ),
    "raise": (
        "{their} {side}|ADJ arm",
        "{their} {side}|ADJ hand",
        "the {side}|ADJ arm",
        "{their} {side}|ADJ arm above {their} head",
    ),
    "punch": ("with {their} {side}|ADJ hand", "with the {side}|ADJ fist", "with {their} {side}|ADJ arm"),
    "throw": ("with {their} {side}|ADJ hand", "with the {side}|ADJ hand", "with {their} {side}|ADJ arm"),
    "point": ("with {their} {side}|ADJ hand", "with the {side}|ADJ arm", "with {their} {side}|ADJ hand"),
}
BOTH_TAILS = {
    "wave": ("with both hands", "both hands", "both arms", "with both arms"),
    "raise": ("both arms", "both hands", "both arms above {their} head", "both of {their} arms"),
    "point": ("with both hands", "with both arms"),
}
FREE_TAILS = {
    "wave": ("", "", "hello", "{their} hand", "at someone"),
    "raise": ("an arm", "a hand", "one arm", "{their} arm"),
    "clap": ("",), "punch": ("", ""), "throw": ("",), "point": ("", ""),
}  # fmt: skip

JOINS = (", then ", " and then ", ", and then ", " then ", " before {gerund} ", ". afterwards {pronoun} ")


def _pick(rng: np.random.Generator, options: Sequence, held_out: bool, key=str):
    """One of the options; wordings of `TEST_ONLY` come only with `held_out`, and are then preferred."""
    rare = [option for option in options if key(option).split("|")[0] in TEST_ONLY]
    common = [option for option in options if key(option).split("|")[0] not in TEST_ONLY]
    pool = rare if rare and held_out and rng.random() < 0.5 else common
    return pool[int(rng.integers(len(pool)))]


def _direction_words(segment: Segment, rng: np.random.Generator) -> tuple[str, ...]:
    kind, direction = segment["locomotion"], segment.get("direction")
    if segment.get("path") == "circle":
        circle = _choice(rng, "in a circle", "in a circle", "on a circle", "in circles", "around in a circle")
        turning = {
            "clockwise": ("clockwise", "clockwise", "to the right|NOUN"),
            "counterclockwise": ("counterclockwise", "counter clockwise", "to the left|NOUN"),
        }
        return (circle, _choice(rng, *turning[direction])) if direction else (circle,)
    if kind in ("walk", "jog", "run"):
        side = f"{_choice(rng, 'turns', 'curves')} {direction}|ADV"
        return {
            "forward": (_choice(rng, "forward", "forward", "ahead", "straight ahead", "forwards"),),
            "backward": (_choice(rng, "backwards", "backward", "back|ADV"),),
            "left": ("forward", f"and {side}"), "right": ("forward", f"and {side}"), None: ("",),
        }[direction]  # fmt: skip
    if kind == "sidestep":
        return (_choice(rng, f"to the {direction}|NOUN", f"to {{their}} {direction}|NOUN", f"to the {direction}|NOUN"),)
    if kind == "turn":
        if direction == "around":
            return (_choice(rng, "around", "around", "180 degrees", "all the way around"),)
        return (_choice(rng, f"{direction}|ADV", f"to the {direction}|NOUN", f"to {{their}} {direction}|NOUN"),)
    if kind == "jump":
        if direction is None:
            return ("",)
        if direction == "up":
            return (
                _choice(
                    rng,
                    "up|ADV",
                    "up|ADV in place",
                    "in place",
                    "straight up|ADV",
                    "up|ADV and down",
                    "up|ADV into the air",
                ),
            )
        return (_choice(rng, "forward", "forward", "ahead", "forwards"),)
    if kind == "lunge" and "leg_side" in segment:
        return (
            _choice(rng, f"with {{their}} {segment['leg_side']}|ADJ leg", f"with the {segment['leg_side']}|ADJ leg"),
        )
    return ("",)


def _choice(rng: np.random.Generator, *options: str) -> str:
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
    adverbs = [
        _pick(rng, table[segment[name]], held_out)
        for name, table in (("speed", SPEED), ("manner", MANNER))
        if name in segment
    ]
    if kind == "walk" and verb.third == "steps" and (segment.get("path") or not direction):
        verb = VERBS["walk"][0]
    if segment.get("path") == "circle":
        return Clause(verb, _joined(direction, *second, *adverbs))
    if kind == "lunge" and verb.third != "lunges" and rng.random() < 0.5:
        return Clause(verb, _joined(verb.tail, direction))
    words = [verb.tail, direction, *adverbs] if rng.random() < 0.65 else [verb.tail, *adverbs, direction]
    return Clause(verb, _joined(*words), second[0] if second else "")


def _gesture_clause(segment: Segment, name: str, rng: np.random.Generator, held_out: bool) -> Clause:
    kind = segment[name]
    if name == "head" and kind.startswith("look"):
        side = kind.removeprefix("look_")
        verb = _pick(rng, VERBS["look"], held_out, key=lambda item: item.third)
        return Clause(
            verb,
            _joined(verb.tail, _choice(rng, f"to the {side}|NOUN", f"to {{their}} {side}|NOUN", f"to the {side}|NOUN")),
        )
    verb = _pick(rng, VERBS[kind], held_out, key=lambda item: item.third)
    if name == "head":
        return Clause(verb, verb.tail)
    if name == "leg":
        side = segment.get("leg_side")
        if side is None:
            return Clause(verb, _joined(verb.tail, _choice(rng, "", "", "forward", "in front")))
        leg = _choice(
            rng, f"with {{their}} {side}|ADJ leg", f"with the {side}|ADJ leg", f"with {{their}} {side}|ADJ foot"
        )
        return Clause(verb, _joined(verb.tail, leg))
    side = segment.get("side")
    if kind == "clap":
        return Clause(verb, verb.tail)
    options = BOTH_TAILS[kind] if side == "both" else SIDE_TAILS[kind] if side else FREE_TAILS[kind]
    tail = _choice(rng, *options).replace("{side}", side or "")
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
    subject = _pick(rng, SUBJECTS, held_out)
    pronoun = {"a man": "he", "the man": "he", "a guy": "he", "he": "he", "a woman": "she", "she": "she"}.get(
        subject, "they"
    )
    their = {"he": "his", "she": "her", "they": "their"}[pronoun]
    if pronoun == "they" and rng.random() < 0.5:
        pronoun, their = ("he", "his") if rng.random() < 0.5 else ("she", "her")
    clauses = [_segment_clause(segment, rng, held_out) for segment in segments]
    progressive = rng.random() < 0.35
    text = f"{subject} "
    text += "is|AUX " + _phrase(*clauses[0], "gerund", rng) if progressive else _phrase(*clauses[0], "third", rng)
    for clause in clauses[1:]:
        join = _pick(rng, JOINS, held_out, key=lambda item: item.strip(" .,").split()[0])
        if "{gerund}" in join:
            text += " before " + _phrase(*clause, "gerund", rng)
        else:
            gerund = progressive and "{pronoun}" not in join
            text += join.replace("{pronoun}", pronoun) + _phrase(*clause, "gerund" if gerund else "third", rng)
    text = text.replace("{their}", their)
    if rng.random() < 0.3:
        text = re.sub(r"(^|\. )([a-z])", lambda match: match.group(1) + match.group(2).upper(), text) + "."
    return text


_NOUNS = {
    "hands": "hand", "arms": "arm", "degrees": "degree", "circles": "circle", "knees": "knee",
}  # fmt: skip
_TAGS = {
    "DET": "a an the his her their both an",
    "PRON": "he she they someone somebody something",
    "NOUN": "person man woman figure human guy character individual hand arm leg foot fist head circle pace way chair "
    "seat ball object ground place air disagreement time front crouch degree knee one",
    "ADJ": "slow fast tired happy leisurely weary same",
    "ADV": "forward forwards backward backwards ahead straight sideways slowly quickly briskly tiredly wearily happily "
    "merrily cheerfully sneakily stealthily clockwise counterclockwise counter down then afterwards around all",
    "ADP": "with in on at to into like above of while before",
    "CCONJ": "and",
    "AUX": "is",
    "NUM": "180",
    "INTJ": "hello",
}
_LEXICON = {word: tag for tag, words in _TAGS.items() for word in words.split()}
_LEMMAS = {form: verb.third for rows in VERBS.values() for verb in rows for form in (verb.third, verb.progressive)} | {
    "turns": "turns", "turning": "turns", "curves": "curves", "curving": "curves",
}  # fmt: skip
_IRREGULAR = {"does": "do", "punches": "punch"}


def _lemma(third: str) -> str:
    return _IRREGULAR.get(third, third[:-1])


def tagged(marked: str) -> tuple[str, list[str]]:
    """The plain caption and its `word/POS` tokens, from a caption with tag marks."""
    tokens = []
    for raw in marked.split():
        word, _, tag = raw.strip(".,").partition("|")
        word = word.lower()
        if not tag and word in _LEMMAS:
            word, tag = _lemma(_LEMMAS[word]), "VERB"
        elif not tag:
            word = _NOUNS.get(word, word)
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
