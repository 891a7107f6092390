"""Words that a library does not know: told from words that change nothing, in any script, whatever is written."""

from __future__ import annotations

from collections import Counter

import pytest

from models.text.encoder import TextEncoder
from models.text_encoder import build_text_encoder
from models.vocabulary.examples import KINDS, examples
from models.vocabulary.known import LONGEST_NAMED, MOST_NAMED, Remark, Vocabulary
from models.vocabulary.words import count_words, family, grouped, stem, suggestion, words_of

CAPTIONS = ("a person walks slowly to the left", "A man jumps, then sits down.", "she's walking", "he waves both hands")
CHINESE = ("一个人在走路", "他慢慢地跑", "女人挥手")


@pytest.fixture(scope="module")
def minilm() -> TextEncoder:
    return build_text_encoder("minilm")


@pytest.fixture(scope="module")
def vocabulary(minilm: TextEncoder) -> Vocabulary:
    return Vocabulary(count_words(CAPTIONS), minilm)


def test_words_are_those_of_any_script() -> None:
    assert words_of("It’s 3 o'clock: (Bob) walks—slowly_!") == ["it's", "o'clock", "bob", "walks", "slowly"]
    assert words_of("他走路 gehört दौड़ना") == ["他", "走", "路", "gehört", "दौड़ना"]
    assert words_of("12 ?! 🙂 \x00") == []


def test_the_quick_count_is_that_of_the_words() -> None:
    captions = [*CAPTIONS, "'tis the dogs' 3rd_walk", "l'été à pied", *CHINESE]
    assert count_words(captions) == dict(Counter(word for text in captions for word in words_of(text)).most_common())
    assert count_words([]) == {}


@pytest.mark.parametrize(
    "forms",
    ["walk walks walked walking", "jog jogging jogged", "raise raises raising", "carry carries", "sit sat"],
)
def test_forms_of_a_word_are_one(forms: str) -> None:
    assert len(set(map(stem, forms.split()))) == 1


def test_groups_hold_every_word_once() -> None:
    counts = count_words(CAPTIONS)
    groups = grouped(counts)
    assert sum(count for words in groups.values() for _, count in words) == sum(counts.values())
    assert ("walks/walking", 2) in groups["motion"] and ("hands", 1) in groups["body"]


@pytest.mark.parametrize("word", ["backflip", "violin", "dances", "climbing", "crawled"])
def test_words_of_other_motions_weigh(word: str, vocabulary: Vocabulary) -> None:
    assert vocabulary.unknown(f"the figure {word} slightly")[word] > 0.9


@pytest.mark.parametrize(
    "text", ["He hopped carefully towards the camera 3 times", "strolls", "<b>walks</b> in an s", "", "?! 7"]
)
def test_words_that_change_nothing_and_synonyms_do_not(text: str, vocabulary: Vocabulary) -> None:
    assert sum(vocabulary.unknown(text).values()) < 0.3


def test_a_misspelt_word_is_told_with_what_it_may_be(vocabulary: Vocabulary) -> None:
    remark = vocabulary.remark("a person walsk", "a person walks slowly to the left", 0.4)
    assert remark.unknown == (("walsk", "walks"),) and "walsk (walks?)" in str(remark)
    assert suggestion("backflip", list(vocabulary.counts)) is None
    assert not vocabulary.unknown("thier walk").get("thier"), "what is misspelt is a word without motion"


def test_another_language_is_known_where_the_library_speaks_it(vocabulary: Vocabulary, minilm: TextEncoder) -> None:
    told = vocabulary.remark("一个人在走路", CAPTIONS[0], 0.2)
    assert [word for word, _ in told.unknown] == ["一个人在走路"]
    own = Vocabulary(count_words(CHINESE), minilm)
    vectors = minilm.encode([*CHINESE, "一个女人慢慢地走路"])
    assert own.remark("一个女人慢慢地走路", CHINESE[0], float((vectors[:-1] @ vectors[-1]).max())) is None
    assert own.unknown("一个人弹钢琴").keys() == set("弹钢琴")


def test_families_of_synonyms() -> None:
    assert family("hops") == family("jumping") and family("hops") != family("walks")


def test_a_remark_is_one_line_whatever_the_prompt() -> None:
    remark = Remark("x" * 5000, tuple((f"word{number}" * 99, None) for number in range(40)), "y" * 5000, 0.1)
    assert "\n" not in str(remark) and len(str(remark)) < (MOST_NAMED + 3) * (LONGEST_NAMED + 40)
    assert len(remark.to_json()["unknown"]) == 40
    nothing = str(Remark("plays the violin", (), "a person claps", 0.31))
    assert nothing == "nothing like 'plays the violin' in the library; nearest: 'a person claps' (0.31)"


def test_examples_are_varied_captions_of_the_library_and_always_the_same() -> None:
    captions = [
        f"A person {action} {way}."
        for action in ("walks", "jumps", "waves", "kicks")
        for way in ("slowly", "to the left")
    ]
    captions += [
        "walks",
        "a person walks (maybe) slowly",
        "a man \x00 jumps to the left",
        "a person " + "walks and " * 9,
    ]
    chosen = examples(captions, count_words(captions))
    texts = [text for row in chosen.values() for text in row]
    assert set(chosen) <= set(KINDS) and all(len(row) <= KINDS[kind] for kind, row in chosen.items())
    assert len(texts) == len(set(texts)) == 4, "a motion is shown twice, or not at all"
    assert {text[0].upper() + text[1:] + "." for text in texts} <= set(captions)
    assert examples(captions[::-1], count_words(captions)) == chosen
    assert examples([*CHINESE, "他慢慢地走到左边"], count_words(CHINESE)), (
        "captions of another language have no examples"
    )
    assert examples([], {}) == {}
