"""Captions as users have them, words with tags, and the words of mirrored clips."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.captions import Caption, parse_caption, read_captions
from data.prepare.captions import CaptionSet, _usable, caption_line, mirrored, tag
from utils.errors import UserError


@pytest.mark.parametrize(
    "line, caption",
    [
        ("a man walks", Caption("a man walks")),
        ("  a   man\twalks ", Caption("a man walks")),
        ("he says #1", Caption("he says #1")),
        ("a man walks#a/DET man/NOUN walk/VERB#0.0#0.0", Caption("a man walks", ("a/DET", "man/NOUN", "walk/VERB"))),
        ("a man walks#a/DET#1.5#nan", Caption("a man walks", ("a/DET",), 1.5, 0.0)),
        ("call #5 now##1#2", Caption("call #5 now", (), 1.0, 2.0)),
        ("человек идёт", Caption("человек идёт")),
        ("a man walks#a/DET man/NOUN", Caption("a man walks", ("a/DET", "man/NOUN"))),
        ("a man walks#a/DET man/NOUN#0.0", Caption("a man walks", ("a/DET", "man/NOUN"))),
        ("a man walks#1.5#3", Caption("a man walks", (), 1.5, 3.0)),
        ("a man walks#52", Caption("a man walks")),
        ("a man walks # 0.0", Caption("a man walks")),
        ("a man walks#", Caption("a man walks")),
        ("a man walks##", Caption("a man walks")),
        ("move #3 of the kata", Caption("move #3 of the kata")),
        ("steps #1 #2 #3 are done", Caption("steps #1 #2 #3 are done")),
        ("move #3 of the kata#move/NOUN", Caption("move #3 of the kata", ("move/NOUN",))),
        ("a man walks#a/DET\r", Caption("a man walks", ("a/DET",))),
        ("a man#a/DET man / walks/ /X#0#0", Caption("a man", ("a/DET", "man/OTHER", "walks/OTHER"))),
    ],
)
def test_lines(line: str, caption: Caption) -> None:
    assert _usable(parse_caption(line, plain=True)) == caption


@pytest.mark.parametrize(
    "line, words",
    [("#a/DET#0#0", "empty"), ("a#b#-1#0", "'-1' is no time"), ("a#b/X#c#d", "'c' is no time"),
     ("a##3#2", "not before"), ("a##inf#0", "no time"), ("a#b/X#1#x", "'x' is no time")],
)  # fmt: skip
def test_malformed_lines(line: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _usable(parse_caption(line, plain=True))


@settings(max_examples=60, deadline=None)
@given(text=st.text(min_size=1), start=st.floats(0, 1e6), length=st.floats(0.5, 10))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, text: str, start: float, length: float
) -> None:
    try:
        caption = _usable(parse_caption(f"{text}#a/OTHER#{start}#{start + length}", plain=True))
    except ValueError:
        return
    path = tmp_path_factory.mktemp("texts") / "a.txt"
    path.write_bytes(caption_line(caption).encode("utf-8", "replace"))
    assert len(read_captions(path)) == 1 and read_captions(path)[0].start == caption.start


def test_folder(tmp_path: Path) -> None:
    """Good lines are kept beside bad ones; every bad one is named with its file and line."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.txt").write_text("a man walks\n\na man walks\n#x#0#0\nhe runs#he/PRON#0#0\n", encoding="utf-8-sig")
    (tmp_path / "deep" / "b c.txt").write_text("she waves")
    (tmp_path / "empty.txt").write_text(" \n\n")
    (tmp_path / "latin.txt").write_bytes("Bär".encode("latin-1"))
    (tmp_path / "wide.txt").write_bytes("he walks".encode("utf-16-le"))
    (tmp_path / "marked.txt").write_bytes("he walks".encode("utf-16"))
    (tmp_path / "mac.txt").write_bytes(b"he walks\rhe runs")
    found = CaptionSet()
    found.read_folder(tmp_path)
    texts = {name: [caption.text for caption in rows] for name, rows in found.by_clip.items()}
    assert texts == {
        "a": ["a man walks", "he runs"], "deep_b_c": ["she waves"], "mac": ["he walks", "he runs"],
        "empty": [], "latin": [], "wide": [], "marked": [],
    }  # fmt: skip
    reasons = {(each.file, each.reason.partition(":")[0]) for each in found.refused}
    assert reasons == {
        ("a.txt line 4", "the caption is empty"),
        ("empty.txt", "the caption file is empty"),
        ("latin.txt", "the caption file is not UTF-8 text"),
        ("wide.txt", "the caption file is not UTF-8 text"),
        ("marked.txt", "the caption file is not UTF-8 text"),
    }


def test_tables(tmp_path: Path) -> None:
    """With and without a header line, and both shapes of JSON, mean the same."""
    rows = {"a": [Caption("he walks, slowly"), Caption("er läuft", (), 1.0, 2.5)], "sub_b": [Caption("she waves")]}
    tables = {
        "plain.csv": 'a.bvh,"he walks, slowly"\na,er läuft,1,2.5\nsub/b.npy,she waves\n',
        "semicolons.csv": 'Name;Caption;Start;End\r\na;he walks, slowly\r\na;"er läuft";1;2,5\r\nsub/b;she waves;;\r\n',
        "tabs.csv": '"name"\t"caption"\t"start"\t"end"\na\the walks, slowly\na\ter läuft\t1\t2.5\nsub/b\tshe waves\n',
        "head.csv": 'End,caption,name,start\n,"he walks, slowly",a,\n2.5,er läuft,a,1\n,she waves,sub/b,\n',
        "list.json": json.dumps(
            [{"name": "a", "caption": "he walks, slowly"}, {"name": "a", "caption": "er läuft", "start": 1, "end": 2.5}]
            + [{"name": "sub/b", "caption": "she waves"}]
        ),
        "lists.json": json.dumps(
            [
                {"name": "a", "caption": ["he walks, slowly", "he walks, slowly"]},
                {"name": "sub/b", "caption": "she waves"},
            ]
            + [{"name": "a", "caption": ["er läuft"], "start": 1, "end": 2.5}]
        ),
        "object.json": json.dumps(
            {"a": ["he walks, slowly", {"caption": "er läuft", "start": 1, "end": 2.5}], "sub/b": "she waves"}
        ),
    }
    for name, text in tables.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        found = CaptionSet()
        found.read_table(tmp_path / name)
        assert found.by_clip == rows and not found.refused, name


def test_bad_tables(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,he walks\nb,\n,lost\nc,x,1,2,3\nd,x,soon\n")
    found = CaptionSet()
    found.read_table(tmp_path / "a.csv")
    assert [caption.text for caption in found.by_clip["a"]] == ["he walks"]
    assert [(each.name, each.file) for each in found.refused] == [
        ("b", "a.csv line 2"), ("", "a.csv line 3"), ("c", "a.csv line 4"), ("d", "a.csv line 5"),
    ]  # fmt: skip
    for name, content, words in [
        ("b.json", b"{", "not valid JSON"), ("c.json", b"3", "a list or an object"), ("d.csv", b"", "is empty"),
        ("e.csv", b"\xff\xfe", "not UTF-8"), ("f.txt", b"", "ends in .csv or .json"), ("g.csv", b'a,"b', "CSV"),
    ]:  # fmt: skip
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=words):
            CaptionSet().read_table(tmp_path / name)
    with pytest.raises(UserError, match="does not exist"):
        CaptionSet().read_table(tmp_path / "none.csv")


def test_words_without_spacy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    tokens, note = tag(["A man's left-hand waves, idly."])
    assert note and "pip install spacy" in note
    assert tokens == [("a/OTHER", "man's/OTHER", "lefthand/OTHER", "waves/OTHER", "idly/OTHER")]


def test_words_with_spacy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nouns and verbs as lemmas, all else as written, "left" never as a form of "leave"."""

    class Word:
        def __init__(self, text: str, pos: str, lemma: str) -> None:
            self.text, self.pos_, self.lemma_ = text, pos, lemma

    doc = [Word("A", "DET", "a"), Word("man", "NOUN", "man"), Word("waves", "VERB", "wave"),
           Word("left", "VERB", "leave"), Word("quickly", "ADV", "quick"), Word(".", "PUNCT", ".")]  # fmt: skip
    model = types.SimpleNamespace(pipe=lambda texts: [doc for _ in texts])
    monkeypatch.setitem(sys.modules, "spacy", types.SimpleNamespace(load=lambda name: model))
    tokens, note = tag(["A man waves left quickly."])
    assert note is None
    assert tokens == [("a/DET", "man/NOUN", "wave/VERB", "left/VERB", "quickly/ADV")]


def test_mirrored_captions() -> None:
    caption = Caption("he waves the Left hand right away", ("left/ADJ", "hand/NOUN", "right/ADV", "away/ADV"), 1.0, 2.0)
    other = mirrored(caption)
    assert other.text == "he waves the Right hand right away"
    assert other.tokens == ("right/ADJ", "hand/NOUN", "right/ADV", "away/ADV")
    assert (other.start, other.end) == (1.0, 2.0)
    counter = Caption("he turns counter clockwise", ("counter/ADV", "clockwise/ADV"))
    assert mirrored(counter).text == "he turns clockwise" and mirrored(counter).tokens == ("clockwise/ADV",)
    assert mirrored(Caption("he turns left")).tokens == ()
