"""Own clips: whatever is sent is a motion or refused in one line, and what one session adds no other one finds."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from options.app import AppOptions, ClipLimits
from pipeline.app.clips import MOST_WAITING, WAITING_SECONDS, Uploads, read_clip
from pipeline.app.markup import show_result
from pipeline.app.results import ResultStore
from pipeline.app.session import AppSession
from pipeline.text_to_motion import TextToMotion
from tests.visualization.motions import make_walk
from utils.errors import UserError
from visualization.bvh import write_bvh

PRETRAINED = str(Path(__file__).parents[3] / "pretrained")
REQUEST = {"motion_length": None, "seed": 0, "cond_scale": 2.0, "time_steps": 2, "retrieval": True, "motions": 1}
CAPTION = "a person does the zorba twist"


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def archive(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def bomb() -> bytes:
    """A small archive that unpacks to 200 MB of joints."""
    file, header = io.BytesIO(), npy(np.zeros((1, 22, 3)))[:-528].replace(b"(1, 22, 3)", b"(378787, 22, 3)")
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made, made.open("joints.npy", "w") as member:
        member.write(header)
        for _ in range(200):
            member.write(bytes(1_000_000))
    return file.getvalue()


@pytest.fixture(scope="module")
def t2m() -> TextToMotion:
    return TextToMotion.load(PRETRAINED)


@pytest.fixture
def session(t2m: TextToMotion) -> Iterator[AppSession]:
    with ResultStore(3600, 20) as store:
        yield AppSession(t2m, AppOptions(), store)


WALK = make_walk(frames=60)
HOSTILE = {
    "nothing.bvh": (b"", "the file is empty"),
    "run.exe": (b"MZ", "ends in .bvh, .npy or .npz"),
    "takes.amc": (b":FULLY-SPECIFIED", "ends in .bvh, .npy or .npz"),
    "words.bvh": (b"hello " * 100, "words.bvh"),
    "half.bvh": (b"HIERARCHY\nROOT hips\n{\nOFFSET 0 0 0\nCHANNELS 3 Xrotation", "half.bvh"),
    "pickle.npy": (npy(np.zeros(3)).replace(b"'<f8'", b"'|O8'"), "pickle.npy"),
    "cut.npy": (npy(WALK)[:500], "cut.npy"),
    "nan.npy": (npy(np.full_like(WALK, np.nan)), "NaN"),
    "other.npy": (npy(WALK[:, :9]), "wrong joints"),
    "scalar.npy": (npy(np.array(1.0)), "scalar.npy"),
    "features.npy": (npy(np.full((60, 263), np.inf, np.float32)), "not finite"),
    "short.npy": (npy(WALK[:9]), "short.npy has 8 frames, a clip has at least 32"),
    "long.npy": (npy(np.repeat(WALK, 21, axis=0)), "long.npy lasts 63.0 s, at most 60.0 s are read: cut it"),
    "long features.npy": (npy(np.zeros((1201, 263), np.float32)), "at most 60.0 s"),
    "huge.npy": (npy(np.zeros((1, 22, 3))).replace(b"(1, 22, 3)", b"(9**9,22,3)"), "huge.npy"),
    "bomb.npz": (bomb(), "would unpack to 200,0"),
    "broken.npz": (b"PK\x03\x04" + bytes(100), "broken.npz is not a readable .npz file"),
    "poses.npz": (archive(poses=np.zeros((9, 72)), trans=np.zeros((9, 3))), "poses.npz"),
    "nobody.npz": (archive(nothing=np.zeros(3)), "wrong joints"),
    "../../../etc/still.npy": (npy(np.zeros_like(WALK)), "still.npy"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_motion_is_refused_in_one_line(session: AppSession, name: str) -> None:
    data, message = HOSTILE[name]
    for use in (
        lambda token: session.find_similar(token, visitor="a"),
        lambda token: session.add_clip(token, "a", visitor="a"),
    ):
        started = time.process_time()
        with pytest.raises(UserError) as refused:
            use(session.uploads.hold(name, data))
        text = str(refused.value)
        assert message in text and "\n" not in text and len(text) < 400, text
        assert str(session.store.folder) not in text and "/" not in text.replace("npy / ", ""), text
        assert time.process_time() - started < 5
    assert not list(session.store.folder.iterdir()) and not session.rooms.clips("a")
    assert session.line.running == session.line.waiting == 0


def test_uploads_are_few_used_once_and_soon_forgotten() -> None:
    clock = SimpleNamespace(now=0.0)
    uploads = Uploads(ClipLimits(clip_megabytes=0.5), lambda: clock.now)
    with pytest.raises(UserError, match="larger than 0.5 MB"):
        uploads.hold("a.npy", bytes(500_001))
    tokens = [uploads.hold(f"C:/x/{number}.npy", b"x" * 500_000) for number in range(MOST_WAITING)]
    with pytest.raises(UserError, match="too many files at once"):
        uploads.hold("a.npy", b"x")
    assert uploads.take(tokens[0]).name == "0.npy"
    for token, message in ((tokens[0], "send it again"), ("x", "send it again"), ("", "choose a file first")):
        with pytest.raises(UserError, match=message):
            uploads.take(token)
    clock.now = WAITING_SECONDS + 0.1
    with pytest.raises(UserError, match="send it again"):
        uploads.take(tokens[1])
    uploads.hold("a.npy", b"x")


@pytest.mark.parametrize("kind", ["npy", "npz", "bvh", "features"])
def test_a_clip_is_read_as_everywhere(t2m: TextToMotion, tmp_path: Path, kind: str) -> None:
    write_bvh(tmp_path / "walk.bvh", WALK, 20.0)
    features = np.random.default_rng(0).normal(size=(40, 263)).astype(np.float32)
    data = {
        "npy": lambda: npy(WALK),
        "npz": lambda: archive(joints=WALK, fps=np.array(20.0)),
        "bvh": (tmp_path / "walk.bvh").read_bytes,
        "features": lambda: npy(features),
    }[kind]()
    uploads = Uploads(ClipLimits())
    upload = uploads.take(
        uploads.hold("walk.bvh" if kind == "bvh" else f"walk.{kind[:3]}" if kind != "features" else "f.npy", data)
    )
    (tmp_path / "walk.bvh").unlink()
    read, _ = read_clip(upload, t2m.spec, ClipLimits(), tmp_path)
    assert read.shape == ((40 if kind == "features" else 59), 263) and np.isfinite(read).all()
    assert kind != "features" or np.array_equal(read, features)
    assert not list(tmp_path.iterdir()), "a clip stays on the disk"


def test_a_clip_finds_itself_in_the_library(session: AppSession) -> None:
    t2m, number = session.t2m, 3
    from pipeline.library import library_motion

    features = library_motion(t2m.database, number, t2m.spec, lambda name: t2m.vq)
    result = session.find_similar(session.uploads.hold("<b>mine</b>.npy", npy(features)), visitor="a")
    entry = t2m.database.entries[number]
    assert result.neighbours[0].motion_id == entry.id and result.neighbours[0].captions[0] == entry.captions[0]
    assert len(result.neighbours) == session.options.uploads.found
    page = show_result(result)
    assert "Nearest in the library" in page and "<video" not in page and "<b>mine" not in page
    assert session.rooms.results("a") == [result] and not session.rooms.results("b")
    assert session.store.path(result.token, "viewer.html") and session.store.path(result.token, "picture.png")


def test_what_one_session_adds_is_found_and_followed_there_alone(session: AppSession) -> None:
    shared, size = session.t2m.database, len(session.t2m.database)
    clip = session.add_clip(session.uploads.hold("twist.npy", npy(make_walk(frames=320))), CAPTION, visitor="a")
    assert clip.seconds == pytest.approx(15.8, abs=0.2) and len(clip.embedded.entries) > 1, "a long clip has windows"
    asked = {**REQUEST, "prompt": CAPTION}
    mine, others = session.generate(visitor="a", **asked), session.generate(visitor="b", **asked)
    assert mine.neighbours[0].motion_id.startswith("yours_1@") and mine.neighbours[0].used and mine.neighbours[0].shown
    assert mine.neighbours[0].captions == (CAPTION,) and not mine.remarks
    assert not any(each.motion_id.startswith("yours") for each in others.neighbours)
    assert others.remarks or others.neighbours[0].score < mine.neighbours[0].score
    assert session.t2m.database is shared and len(shared) == size, "the shared library has changed"
    assert not [path for path in session.store.folder.iterdir() if not path.name.startswith("result_")]
    session.rooms.forget_clips("a")
    again = session.generate(visitor="a", **asked)
    assert [each.motion_id for each in again.neighbours] == [each.motion_id for each in others.neighbours]


def test_a_session_adds_so_many_clips_and_says_what_they_show(session: AppSession) -> None:
    data = npy(make_walk(frames=60))
    for caption, message in (
        ("", "the caption is empty"),
        (None, "the caption must be text"),
        ("a" * 501, "501 characters"),
    ):
        with pytest.raises(UserError, match=message):
            session.add_clip(session.uploads.hold("a.npy", data), caption, visitor="a")
    most = session.options.uploads.clips
    session.uploads._waiting.clear()
    for number in range(most):
        session.add_clip(session.uploads.hold("a.npy", data), f"clip {number}", visitor="a")
    with pytest.raises(UserError, match=f"{most} clips are as many as a session may add"):
        session.add_clip(session.uploads.hold("a.npy", data), "one more", visitor="a")
    session.add_clip(session.uploads.hold("a.npy", data), "another visitor's", visitor="b")
    assert [clip.caption for clip in session.rooms.clips("a")] == [f"clip {number}" for number in range(most)]


def test_models_without_a_library_say_so() -> None:
    t2m = SimpleNamespace(database=None, retriever=None, spec=None)
    with ResultStore(3600, 20) as store:
        session = AppSession(t2m, AppOptions(), store)
        with pytest.raises(UserError, match="no library"):
            session.find_similar("x")
