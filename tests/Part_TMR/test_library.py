"""What goes into the database, and users' own motion files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.rag.database import Entry
from Part_TMR.library import embed_library, read_motion, read_own_clips
from Part_TMR.retriever import Retriever
from utils.errors import UserError
from utils.skeleton import get_skeleton

FRAMES = (40, 199)


def walk(n_frames: int = 61) -> np.ndarray:
    """The rest pose, carried forward: joints (T, 22, 3)."""
    skeleton = get_skeleton("humanml3d")
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


def test_joints_and_features_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "joints.npy", walk())
    features = read_motion(tmp_path / "joints.npy", "humanml3d")
    assert features.shape == (60, 263) and features.dtype == np.float32
    np.save(tmp_path / "features.npy", features.astype(np.float64))
    np.testing.assert_array_equal(read_motion(tmp_path / "features.npy", "humanml3d"), features)


@pytest.mark.parametrize("content", [np.zeros((50, 251)), np.zeros((50, 21, 3)), np.zeros((0, 263)), np.array("walk")])
def test_other_arrays_are_refused(tmp_path: Path, content: np.ndarray) -> None:
    np.save(tmp_path / "x.npy", content)
    with pytest.raises(UserError, match=r"x.npy must hold features \(frames, 263\)"):
        read_motion(tmp_path / "x.npy", "humanml3d")


def test_a_folder_of_own_clips(tmp_path: Path) -> None:
    for name in ("first", "second"):
        np.save(tmp_path / f"{name}.npy", np.zeros((50, 263)))
        (tmp_path / f"{name}.txt").write_text(f"the {name} clip#the/DET#0.0#0.0\n\n one more of the {name} \n")
    entries, motions = read_own_clips(tmp_path, (), "humanml3d", FRAMES, 4)
    assert [entry.id for entry in entries] == ["first", "second"]
    assert entries[1].captions == ("the second clip", "one more of the second")
    assert [len(motion) for motion in motions] == [48, 48]


def test_unfit_own_clips_are_refused(tmp_path: Path) -> None:
    def read(captions: tuple[str, ...] = ()) -> None:
        read_own_clips(tmp_path, captions, "humanml3d", FRAMES, 4)

    with pytest.raises(UserError, match="holds no .npy"):
        read()
    np.save(tmp_path / "one.npy", np.zeros((20, 263)))
    with pytest.raises(UserError, match="has 20 frames, a clip has 40 to 199"):
        read(("a clip",))
    np.save(tmp_path / "one.npy", np.zeros((60, 263)))
    with pytest.raises(UserError, match="has no caption"):
        read()
    with pytest.raises(UserError, match="has no caption"):
        read((" ",))
    np.save(tmp_path / "two.npy", np.zeros((60, 263)))
    with pytest.raises(UserError, match="describes one clip"):
        read(("a clip",))
