"""Prompts outside of the library are told, in Python, by the demo and on the page; nothing is refused for it."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import pipeline.remarks
from models.configs import SamplingSettings
from models.rag.database import Entry, RAGDatabase
from options.demo import DemoOptions
from Part_TMR.library import embed_library
from pipeline import TextToMotion
from pipeline.demo_output import MOST_LISTED, DemoRun, known_words
from storage.files import read_json
from utils.errors import UserError

ROOT = Path(__file__).parents[2]
OUTSIDE = ["a man does a backflip", "a person plays the violin", "一个人在走路", "a person walsk", "123"]
INSIDE = ["A man strolls in a circle", "someone waves with the right hand", "the figure jumps, then sits down slowly"]
OPTIONS = DemoOptions(text_path="prompts.txt", formats=("npy",), compare=(), sampling=SamplingSettings(time_steps=1))


@pytest.fixture(scope="module")
def t2m() -> TextToMotion:
    return TextToMotion.load()


def test_only_what_lies_outside_is_told(t2m: TextToMotion) -> None:
    remarks = t2m.remarks.of([*OUTSIDE, *INSIDE])
    assert all(remarks[: len(OUTSIDE)]) and not any(remarks[len(OUTSIDE) :]), list(map(str, remarks))
    captions = t2m.database.entries.captions
    own = [captions[number] for number in range(0, len(captions), 100)]
    assert t2m.remarks.of(own) == [None] * len(own), "the library's own captions are known"
    assert [name for name, _ in remarks[0].unknown] == ["backflip"] and remarks[0].nearest in list(captions)


def test_words_that_training_had_are_known_where_the_library_was_thinned(t2m: TextToMotion) -> None:
    facts = t2m.database.facts | {"words": {"backflip": 7, "person": 1}}
    trained = replace(t2m, database=RAGDatabase(t2m.database.embedded, facts))
    assert trained.remarks.of(OUTSIDE[:1]) == [None] and t2m.remarks.of(OUTSIDE[:1]) != [None]
    before, after = t2m.remarks.vocabulary.counts, trained.remarks.vocabulary.counts
    assert after["backflip"] == 7 and "backflip" not in before and after["person"] > 7


def test_a_remark_does_not_depend_on_its_company(t2m: TextToMotion) -> None:
    sampling = SamplingSettings(time_steps=1)
    together = [motion.remark for motion in t2m.generate([*OUTSIDE, *INSIDE], 40, sampling=sampling)]
    alone = [t2m.generate([prompt], 40, sampling=sampling)[0].remark for prompt in [*OUTSIDE, *INSIDE]]
    assert [str(each) for each in together] == [str(each) for each in alone]


def test_the_meaning_of_captions_finds_the_nearest_where_the_library_holds_it(t2m: TextToMotion) -> None:
    """A word that the retriever never saw is as good as any other there."""
    said = ["a person walks", "a person sits down", "someone bows before the king", "a person waves"]
    motions = [np.zeros((40, t2m.spec.format.n_features), np.float32)] * len(said)
    entries = [Entry(text, text, (text,)) for text in said]
    made = embed_library(t2m.retriever, entries, motions, sentences=True)
    known = replace(t2m, database=RAGDatabase(made, t2m.database.facts | {"score": {"captions": 0.9, "usual": 0.5}}))
    (caption, similarity), *_ = known.remarks.nearest(["a man takes a bow to the king"])
    assert caption == said[2] and 0.6 < similarity < 1


def test_without_library_or_encoder_nothing_is_told(t2m: TextToMotion, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = replace(t2m, database=None)
    assert bare.remarks is None
    with pytest.raises(UserError, match="no library"):
        known_words(bare)

    def missing(*inputs: object, **settings: object) -> None:
        raise UserError("text encoder minilm: missing")

    monkeypatch.setattr(pipeline.remarks, "build_text_encoder", missing)
    assert replace(t2m).remarks.of(OUTSIDE) == [None] * len(OUTSIDE)


def test_the_demo_tells_a_line_a_prompt(
    t2m: TextToMotion, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [f"a person plays violin number {'i' * number}" for number in range(1, MOST_LISTED + 3)]
    requests = [(prompt, 40, seed) for prompt in [OUTSIDE[0], INSIDE[0], *many] for seed in (0, 1)]
    DemoRun(tmp_path, t2m, requests, OPTIONS).run()
    notes = re.findall("^note: .*$", capsys.readouterr().err, re.MULTILINE)
    assert len(notes) == MOST_LISTED + 1 and "backflip" in notes[0] and f"all {len(many) + 1} such" in notes[-1]
    samples = read_json(tmp_path / "result.json")["samples"]
    assert [sample["prompt"] for sample in samples if "remark" not in sample] == [INSIDE[0]] * 2
    assert samples[0]["remark"]["unknown"] == [{"word": "backflip"}] and samples[0]["remark"]["text"] in notes[0]


def test_the_demo_lists_what_is_known(tmp_path: Path) -> None:
    command = [sys.executable, "demo.py", "--list_words", "--gpu_id", "-1", "--output_dir", str(tmp_path / "none")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0 and not (tmp_path / "none").exists(), result.stderr
    assert result.stdout.startswith("motion:\nwalks/walking/walk/walked 2250") and "\n\nbody:\n" in result.stdout
