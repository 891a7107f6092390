"""What goes into the database, and users' own motion files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from data.clips import load_split
from data.specs import DatasetSpec, get_spec, moved
from models.rag.conditions import ConditionSource
from models.rag.database import Embedded, Entry, RAGDatabase
from models.text_encoder import TextFeatureStore
from Part_TMR.library import embed_library, read_motion, read_own_clips
from Part_TMR.model import RetrieverModel
from Part_TMR.retriever import Retriever
from pipeline.library import entry_of, library_motion
from utils.errors import UserError
from utils.formats import get_format
from utils.mirror import mirror_features
from utils.processes import Draws
from utils.representation import features_to_joints
from visualization.bvh import write_bvh

SPEC = get_spec("humanml3d")


def walk(n_frames: int = 61) -> np.ndarray:
    """The rest pose, carried forward: joints (T, 22, 3)."""
    skeleton = get_format("humanml3d")
    pose = np.zeros((22, 3))
    for joint, parent in enumerate(skeleton.parents):
        if parent >= 0:
            pose[joint] = pose[parent] + 0.2 * skeleton.directions[joint]
    return (pose + np.linspace(0, 1, n_frames)[:, None, None] * [0, 0, 1]).astype(np.float32)


def test_rows_belong_to_their_motions(retriever: Retriever) -> None:
    rng = np.random.default_rng(0)
    motions = [rng.normal(size=(length, 263)).astype(np.float32) for length in (60, 40, 80)]
    captions = [("a person walks", "someone walks"), ("a person walks",), ("they sit",)]
    entries = [Entry(f"{n}", f"{n}", texts) for n, texts in enumerate(captions)]
    tokens = [torch.full((len(motion) // 4, 6, 2), n) for n, motion in enumerate(motions)]
    embedded = embed_library(retriever, entries, motions, tokens)
    for number, motion in enumerate(motions):
        alone = retriever.encode_motion([motion])
        torch.testing.assert_close(embedded.motion[number], alone.motion[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(embedded.parts[number], alone.parts[0], atol=1e-5, rtol=1e-5)
        assert (embedded.tokens[number, : len(motion) // 4] == number).all() and embedded.steps[number] == len(
            motion
        ) // 4
    assert torch.equal(embedded.text[0], embedded.text[2])
    torch.testing.assert_close(embedded.text[3], retriever.encode_text(["they sit"])[0], atol=1e-5, rtol=1e-5)


def test_kept_embeddings_are_those_of_these_weights(
    retriever: Retriever, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    motions = [rng.normal(size=(length, 263)).astype(np.float32) for length in (60, 40, 80)]
    entries = [Entry(f"{n}", f"{n}", texts) for n, texts in enumerate([("a walks", "b sits"), ("a walks",), ("c",)])]

    def check(retriever: Retriever) -> Embedded:
        kept, direct = (embed_library(retriever, entries, motions, cache_dir=place) for place in (tmp_path, None))
        for name in ("motion", "parts", "text"):
            torch.testing.assert_close(getattr(kept, name), getattr(direct, name), atol=1e-3, rtol=1e-3)
        return kept

    first = check(retriever)
    with monkeypatch.context() as patch:
        for name in ("encode_motion", "encode_text"):
            patch.setattr(RetrieverModel, name, None)
        again = embed_library(retriever, entries, motions, cache_dir=tmp_path)
    assert torch.equal(again.motion, first.motion) and torch.equal(again.text, first.text)

    motions[1] = motions[1] + 0.1
    assert (check(retriever).motion != first.motion).any(dim=1).tolist() == [False, True, False]
    with torch.no_grad():
        for parameter in retriever.model.parameters():
            parameter.mul_(1.1)
    others = Retriever(retriever.model, retriever.text_encoder, "tmr")
    assert others.hash != retriever.hash
    check(others)
    monkeypatch.setattr(type(others.text_encoder), "fingerprint", "other words")
    monkeypatch.setattr(others.model, "encode_text", lambda texts: torch.ones(len(texts.mask), 12))
    assert (embed_library(others, entries, motions, cache_dir=tmp_path).text == 1).all()


def test_joints_and_features_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "joints.npy", walk())
    features = read_motion(tmp_path / "joints.npy", SPEC)
    assert features.shape == (60, 263) and features.dtype == np.float32
    np.save(tmp_path / "features.npy", features.astype(np.float64))
    np.testing.assert_array_equal(read_motion(tmp_path / "features.npy", SPEC), features)


def test_bvh_is_read_as_joints_are(tmp_path: Path) -> None:
    np.save(tmp_path / "joints.npy", walk())
    spec = SPEC
    expected = read_motion(tmp_path / "joints.npy", spec)
    features = read_motion(write_bvh(tmp_path / "walk.bvh", walk(), spec.format.fps), spec)
    assert features.shape == expected.shape
    apart = features_to_joints(features) - features_to_joints(expected)
    assert np.linalg.norm(apart, axis=-1).mean() < 0.02
    with pytest.raises(UserError, match="the format kit has chest, left_heel, .*, which the file lacks"):
        read_motion(tmp_path / "walk.bvh", get_spec("kit"))
    (tmp_path / "walk.bvh").write_text("HIERARCHY")
    with pytest.raises(UserError, match="walk.bvh") as refusal:
        read_motion(tmp_path / "walk.bvh", spec)
    assert str(refusal.value).count("walk.bvh") == 1


@pytest.mark.parametrize("content", [np.zeros((50, 251)), np.zeros((50, 21, 3)), np.zeros((0, 263)), np.array("walk")])
def test_other_arrays_are_refused(tmp_path: Path, content: np.ndarray) -> None:
    np.save(tmp_path / "x.npy", content)
    words = r"x.npy must hold features \(frames, 263\)" if content.ndim == 2 else "x.npy: wrong joints: the shape is"
    with pytest.raises(UserError, match=words):
        read_motion(tmp_path / "x.npy", SPEC)


@pytest.mark.parametrize(
    "content, message",
    [
        (np.full((50, 22, 3), np.nan), "x.npy: NaN: or infinity or an absurd number, first in frame 0"),
        (np.full((50, 22, 3), "a"), "x.npy: wrong joints: they must be numbers"),
        (np.full((50, 263), np.inf), "x.npy has values that are not finite"),
        (b"walk\n", "x.npy is not a readable .npy file: it holds something else than numbers"),
    ],
)
def test_bad_values_are_refused_with_the_file(tmp_path: Path, content: np.ndarray | bytes, message: str) -> None:
    if isinstance(content, bytes):
        (tmp_path / "x.npy").write_bytes(content)
    else:
        np.save(tmp_path / "x.npy", content)
    with pytest.raises(UserError, match=message):
        read_motion(tmp_path / "x.npy", SPEC)


def test_a_folder_of_own_clips(tmp_path: Path) -> None:
    for name in ("first", "Mfirst"):
        np.save(tmp_path / f"{name}.npy", np.zeros((50, 263)))
        (tmp_path / f"{name}.txt").write_text(f"the {name} clip#the/DET#0.0#0.0\n\n one more of the {name} \n")
    clips = read_own_clips(tmp_path, (), SPEC)
    assert [(clip.id, clip.take) for clip in clips] == [("Mfirst", "first"), ("first", "first")]
    assert [caption.text for caption in clips[1].captions] == ["the first clip", "one more of the first"]
    assert [len(clip.features) for clip in clips] == [48, 48] and clips[0].frames is None


def test_long_own_clips_become_windows(tmp_path: Path) -> None:
    motion = np.repeat(np.arange(602.0)[:, None], 263, axis=1)
    np.save(tmp_path / "long.npy", motion)
    (tmp_path / "long.txt").write_text("a day at the office\nhe sits down#he/PRON sit/VERB down/ADV#25#28\n")
    clips = read_own_clips(tmp_path / "long.npy", (), SPEC)
    seen = {int(frame) for clip in clips for frame in clip.features[:, 0]}
    assert seen == set(range(600)) and {clip.take for clip in clips} == {"long"}
    sitting = [clip.id for clip in clips if any(caption.text == "he sits down" for caption in clip.captions)]
    assert sitting == [clips[-2].id, "long@25-28"], "the last window, and the part itself"


@pytest.fixture
def long_clips(tmp_path: Path) -> DatasetSpec:
    """Two short clips, a long one of two phases and its mirrored twin."""
    spec, rng = moved(SPEC, tmp_path / "long"), np.random.default_rng(0)
    for folder in (spec.features_dir, spec.texts_dir):
        folder.mkdir(parents=True)
    texts = {
        "000000": "a person walks#a/DET#0#0\n",
        "000001": "he walks then sits#he/PRON#0#0\nhe sits#he/PRON#20#24\n",
        "000002": "someone jumps#someone/PRON#0#0\n",
    }
    for clip_id, text in texts.items():
        features = rng.normal(size=(600 if clip_id == "000001" else 60, 263)).astype(np.float32)
        np.save(spec.features_dir / f"{clip_id}.npy", features)
        (spec.texts_dir / f"{clip_id}.txt").write_text(text)
    np.save(spec.features_dir / "M000001.npy", mirror_features(np.load(spec.features_dir / "000001.npy")))
    (spec.texts_dir / "M000001.txt").write_text(texts["000001"])
    spec.split_path("train").write_text("000000\n000001\nM000001\n000002\n")
    return spec


def test_no_window_of_a_clip_or_its_mirror_is_its_own_answer(
    long_clips: DatasetSpec, retriever: Retriever, tmp_path: Path
) -> None:
    clips = load_split(long_clips, "train", windows=True)
    entries = [entry_of(clip) for clip in clips]
    embedded = embed_library(retriever, entries, [clip.features for clip in clips])
    facts = {"retriever": {"name": "tmr", "hash": retriever.hash}, "dataset": "humanml3d"}
    RAGDatabase(embedded, facts).save(tmp_path / "database")
    library = RAGDatabase.load(tmp_path / "database", retriever.hash)
    assert library.entries == tuple(entries) and len(entries) == 2 + 2 * (4 + 1)

    training = load_split(long_clips, "train", keep_long=True)
    takes = [clip.take for clip in training for _ in clip.captions]
    captions = [caption.text for clip in training for caption in clip.captions]
    pool = library.search(retriever.encode_text(captions), 4, exclude_takes=takes).indices
    assert pool.shape[1] == 2, "the long clips leave two others"
    for take, row in zip(takes, pool.tolist(), strict=True):
        assert take not in {library.entries[number].take for number in row}
    found = library.search(retriever.encode_text(["he sits"]), 3, by="text").indices[0].tolist()
    assert all(library.entries[number].take == "000001" for number in found), "without exclusion they are the answer"


def test_a_library_of_one_take_leaves_nothing_to_retrieve(tmp_path: Path, retriever: Retriever) -> None:
    """Then a caption's condition is one without retrieval; a take beside it changes that."""
    motions = [np.random.default_rng(seed).normal(size=(48, 263)).astype(np.float32) for seed in range(3)]
    for takes, left in ((["a", "a", "a"], 0), (["a", "a", "b"], 1)):
        entries = [Entry(f"{take}{number}", take, (f"caption {number}",)) for number, take in enumerate(takes)]
        library = RAGDatabase(embed_library(retriever, entries, motions), {})
        pool = library.search(retriever.encode_text(["one", "two"]), 2, exclude_takes=["a", "a"]).indices
        assert pool.shape == (2, left)
        assert library.search(retriever.encode_text(["one"]), 2).indices.shape == (1, 2), "others still find them"
        if not left:
            texts = TextFeatureStore(retriever.text_encoder, ["one", "two"], tmp_path)
            draws = Draws(2, torch.device("cpu"))
            condition = ConditionSource(texts, library, pool, 2).batch(torch.tensor([0, 1]), draws)
            assert not condition.keep_retrieval.any() and condition.keep_text.all()
            assert condition.retrieved.motion.shape[0] == 2


def test_a_window_of_the_library_is_shown_as_it_is(long_clips: DatasetSpec, retriever: Retriever) -> None:
    clips = load_split(long_clips, "train", windows=True)
    entries = [entry_of(clip) for clip in clips]
    library = RAGDatabase(embed_library(retriever, entries, [clip.features for clip in clips]), {})
    for number, clip in enumerate(clips):
        shown = library_motion(library, number, long_clips, tokenizer=None)
        np.testing.assert_array_equal(shown, clip.features)


def test_unfit_own_clips_are_refused(tmp_path: Path) -> None:
    def read(captions: tuple[str, ...] = ()) -> None:
        read_own_clips(tmp_path, captions, SPEC)

    with pytest.raises(UserError, match="holds no motion"):
        read()
    np.save(tmp_path / "one.npy", np.zeros((20, 263)))
    with pytest.raises(UserError, match="has 20 frames, a clip has at least 40"):
        read(("a clip",))
    np.save(tmp_path / "one.npy", np.zeros((60, 263)))
    with pytest.raises(UserError, match="has no caption"):
        read()
    with pytest.raises(UserError, match="has no caption"):
        read((" ",))
    for line, message in (("a#a/DET#1#x", "one.txt line 1: 'x' is no time"), ("a#a/DET#90#95", "no caption describes")):
        (tmp_path / "one.txt").write_text(line)
        with pytest.raises(UserError, match=message):
            read()
    np.save(tmp_path / "two.npy", np.zeros((60, 263)))
    with pytest.raises(UserError, match="describes one clip"):
        read(("a clip",))
