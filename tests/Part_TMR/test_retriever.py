"""The frozen retriever: loading, identity, and embeddings that depend on nothing but their input."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from Part_TMR.retriever import ACTIVATION_AT_ONCE, Retriever
from storage.checkpoint import save_safetensors
from utils.errors import UserError
from utils.run import Run


def motions() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(length, 263)).astype(np.float32) for length in (40, 97, 8, 196, 60)]


def test_embeddings_are_the_same_alone_and_in_any_company(retriever: Retriever, monkeypatch) -> None:
    together = retriever.encode_motion(motions())
    monkeypatch.setitem(ACTIVATION_AT_ONCE, "cpu", 1)
    alone = retriever.encode_motion(motions())
    torch.testing.assert_close(alone.motion, together.motion, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(alone.parts, together.parts, atol=1e-5, rtol=1e-5)
    texts = ["a person walks", "someone turns left and then kicks", "a person walks"]
    rows = retriever.encode_text(texts)
    torch.testing.assert_close(rows[0], rows[2])
    torch.testing.assert_close(retriever.encode_text(texts[1:2])[0], rows[1], atol=1e-5, rtol=1e-5)


def test_empty_lists_give_no_rows(retriever: Retriever) -> None:
    assert retriever.encode_text([]).shape == (0, 12)
    assert retriever.encode_motion([]).parts.shape == (0, 6, 16)


@pytest.mark.parametrize(
    ("motion", "message"),
    [(np.zeros((5, 9)), "shape"), (np.full((8, 263), np.nan), "not finite"), (np.zeros((0, 263)), "shape")],
)
def test_bad_motions_are_refused(retriever: Retriever, motion: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=f"motion 1 .*{message}"):
        retriever.encode_motion([motions()[0], motion])


def test_a_run_loads_to_the_same_retriever(retriever: Retriever, run_dir: Path, word_encoder) -> None:
    loaded = Retriever.load(Run(run_dir), text_encoder=word_encoder)
    assert loaded.hash == retriever.hash and loaded.text_encoder is word_encoder
    torch.testing.assert_close(loaded.encode_motion(motions()).motion, retriever.encode_motion(motions()).motion)


def test_an_export_in_half_precision_keeps_the_hash(retriever: Retriever, run_dir: Path, word_encoder) -> None:
    save_safetensors(run_dir / "model" / "weights.safetensors", retriever.model.state_dict())
    exported = Retriever.load(Run(run_dir), text_encoder=word_encoder)
    assert exported.hash == retriever.hash
    assert not torch.equal(
        exported.model.motion_encoder.projection[0].weight, retriever.model.motion_encoder.projection[0].weight
    )


def test_other_weights_have_another_hash(retriever: Retriever) -> None:
    with torch.no_grad():
        retriever.model.text_head.projection[0].weight[0, 0] += 1.0
    assert Retriever(retriever.model, retriever.text_encoder, "other").hash != retriever.hash


def test_what_is_no_retriever_is_refused(run_dir: Path, tmp_path: Path, word_encoder) -> None:
    with pytest.raises(UserError, match="config.json"):
        Run(tmp_path)
    config = json.loads((run_dir / "config.json").read_text())
    for change, message in (
        ({"stage": "vq"}, "stage 'vq', not of 'tmr'"),
        ({"model": config["model"] | {"wings": 2}}, "unknown keys: wings"),
        ({"model": config["model"] | {"part_dim": 24}}, "motion_encoder"),
    ):
        (run_dir / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(UserError, match=message):
            Retriever.load(Run(run_dir), text_encoder=word_encoder)
    (run_dir / "config.json").write_text(json.dumps(config))
    (run_dir / "model" / "net_best_r1.tar").unlink()
    with pytest.raises(UserError, match="has no checkpoint"):
        Retriever.load(Run(run_dir), text_encoder=word_encoder)
