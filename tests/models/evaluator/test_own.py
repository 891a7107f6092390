"""Our own evaluator: padding and batch never change an embedding, left differs from right, only fitting runs load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from data.clips import Caption
from data.specs import get_spec
from models.configs import EvaluatorConfig
from models.evaluator.interface import load_evaluator
from models.evaluator.own import EvaluatorNetwork, OwnEvaluator
from models.text.encoder import Tower
from models.text_encoder import TextEncoder, TextFeatures, pad_features
from pipeline.export import export_run
from storage.files import write_json
from utils.errors import UserError
from utils.formats import get_format
from utils.mirror import mirror_features
from utils.normalizer import Normalizer

FORMAT = get_format("humanml3d")
CONFIG = EvaluatorConfig(latent_dim=16, n_heads=2, text_layers=1, motion_layers=2, embed_dim=6)
LENGTHS = (40, 43, 12, 64, 5, 40)
CAPTIONS = [Caption("a person walks"), Caption("someone jumps twice"), Caption("left"), Caption("a person walks")]


class WordEncoder(TextEncoder):
    """Every word has a vector that depends on its letters alone."""

    def __init__(self, name: str = "minilm") -> None:
        super().__init__(name, Tower(8), lambda texts: [text.split() for text in texts])

    @property
    def fingerprint(self) -> str:
        return "words"

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def forward_features(self, texts: Sequence[str]) -> TextFeatures:
        rows = []
        for text in texts:
            states = torch.stack([torch.sin(torch.arange(1, 9) * sum(word.encode())) for word in text.split()])
            rows.append((states.mean(dim=0), states))
        return pad_features(rows)


def network(config: EvaluatorConfig = CONFIG) -> EvaluatorNetwork:
    torch.manual_seed(0)
    model = EvaluatorNetwork(config, get_format("humanml3d"), 8)
    model.normalizer = Normalizer(len(model.normalizer.mean))
    model.normalizer.mean += 0.3
    return model


def motions() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.normal(size=(length, 263)).astype(np.float32) for length in LENGTHS]


@pytest.fixture
def evaluator() -> OwnEvaluator:
    return OwnEvaluator(network(), WordEncoder())


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A folder of runs with the evaluator of `mini` as a training leaves it."""
    run_dir = tmp_path / "logs" / "mini" / "evaluator"
    (run_dir / "model").mkdir(parents=True)
    write_json(run_dir / "config.json", {"stage": "evaluator", "model": asdict(CONFIG), "format": FORMAT.to_json()})
    torch.save({"model": network().state_dict()}, run_dir / "model" / "net_best_r_precision_top1.tar")
    return tmp_path / "logs"


def test_a_sample_is_the_same_alone_and_in_any_batch(evaluator: OwnEvaluator) -> None:
    motion, text = evaluator.embed_motion(motions()), evaluator.embed_text(CAPTIONS)
    assert motion.shape == (6, 6) and text.shape == (4, 6) and motion.dtype == text.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(motion, axis=1), 1, atol=1e-5)
    alone = np.concatenate([evaluator.embed_motion([each]) for each in motions()])
    np.testing.assert_allclose(motion, alone, atol=1e-5)
    np.testing.assert_allclose(motion[::-1], evaluator.embed_motion(motions()[::-1]), atol=1e-5)
    np.testing.assert_allclose(text, np.concatenate([evaluator.embed_text([each]) for each in CAPTIONS]), atol=1e-5)
    np.testing.assert_allclose(text[0], text[3], atol=1e-6)
    assert evaluator.embed_motion([]).shape == evaluator.embed_text([]).shape == (0, 6)


@pytest.mark.parametrize("frames", [40, 41, 43])
@pytest.mark.parametrize("padding", [0, 1, 4, 30])
def test_padding_never_changes_an_embedding(evaluator: OwnEvaluator, frames: int, padding: int) -> None:
    model = evaluator.network
    motion = torch.randn(2, frames, 263)
    padded = torch.cat([motion, 100 * torch.randn(2, padding, 263)], dim=1)
    mask = (torch.arange(frames + padding) < frames).repeat(2, 1)
    expected = model.encode_motion(motion, mask[:, :frames])
    torch.testing.assert_close(model.encode_motion(padded, mask), expected, atol=1e-5, rtol=1e-5)
    states = torch.randn(2, 5, 8)
    words = torch.ones(2, 5, dtype=torch.bool)
    longer = torch.cat([states, 100 * torch.randn(2, 3, 8)], dim=1)
    longer_mask = torch.cat([words, ~words[:, :3]], dim=1)
    torch.testing.assert_close(
        model.encode_text(TextFeatures(longer[:, 0], longer, longer_mask)),
        model.encode_text(TextFeatures(states[:, 0], states, words)),
        atol=1e-5,
        rtol=1e-5,
    )


def test_every_valid_frame_and_the_side_count(evaluator: OwnEvaluator) -> None:
    model = evaluator.network
    motion = torch.randn(1, 43, 263, requires_grad=True)
    model.encode_motion(motion, torch.arange(43)[None] < 41)[0, 0].backward()
    reached = motion.grad.abs().sum(dim=(0, 2)) > 0
    assert reached[:41].all() and not reached[41:].any()
    original = motions()
    mirrored = [mirror_features(each) for each in original]
    assert np.abs(evaluator.embed_motion(original) - evaluator.embed_motion(mirrored)).max() > 0.01


def test_a_run_and_its_export_load(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(logs.parent)
    monkeypatch.setattr("models.text_encoder.build_text_encoder", lambda *_, **__: WordEncoder())
    trained = load_evaluator(get_spec("mini"), logs)
    assert (trained.name, trained.dimension, trained.n_features) == ("own", 6, 263)
    np.testing.assert_allclose(
        trained.embed_motion(motions()), OwnEvaluator(network(), WordEncoder()).embed_motion(motions())
    )
    export_run(logs / "mini" / "evaluator", logs.parent / "pretrained" / "mini" / "evaluator")
    shipped = load_evaluator(get_spec("mini"), "elsewhere")
    np.testing.assert_allclose(shipped.embed_motion(motions()), trained.embed_motion(motions()), atol=5e-3)
    assert shipped.fingerprint == trained.fingerprint


def test_what_does_not_fit_is_refused(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(logs.parent)
    monkeypatch.setattr("models.text_encoder.build_text_encoder", lambda *_, **__: WordEncoder())
    spec, run_dir = get_spec("mini"), logs / "mini" / "evaluator"

    def refused(message: str, checkpoints_dir: Path | str = logs) -> None:
        with pytest.raises(UserError, match=message):
            load_evaluator(spec, checkpoints_dir)

    with monkeypatch.context() as alone:
        alone.setattr("storage.shipped.ROOT", logs.parent)  # what is shipped would be found from anywhere
        refused("it belongs at elsewhere/mini/evaluator or pretrained/mini/evaluator.*train_evaluator.py", "elsewhere")
    config = {"stage": "evaluator", "model": asdict(CONFIG), "format": FORMAT.to_json()}
    write_json(run_dir / "config.json", config | {"stage": "vq"})
    refused("stage 'vq', not of 'evaluator'")
    write_json(run_dir / "config.json", config | {"model": asdict(CONFIG) | {"widht": 3}})
    refused("widht")
    write_json(run_dir / "config.json", config | {"model": asdict(CONFIG) | {"motion_layers": 1}})
    refused("unexpected motion_encoder.attention.1")
    write_json(run_dir / "config.json", config | {"format": get_format("kit").to_json()})
    refused("21 joints, not 22")
    write_json(run_dir / "config.json", config)
    state = network().state_dict()
    torch.save({"model": {name: state[name] for name in list(state)[1:]}}, run_dir / "model" / "latest.tar")
    (run_dir / "model" / "net_best_r_precision_top1.tar").unlink()
    refused("latest.tar is not a state of this EvaluatorNetwork: it lacks")
    (run_dir / "model" / "latest.tar").unlink()
    refused("has no checkpoint")


def test_bad_input_is_named(evaluator: OwnEvaluator) -> None:
    with pytest.raises(UserError, match="motion 1 has 3 frames: the evaluator reads at least 4"):
        evaluator.embed_motion([np.zeros((4, 263)), np.zeros((3, 263))])
    with pytest.raises(UserError, match="caption 1 is empty"):
        evaluator.embed_text([Caption("a person walks"), Caption("  ")])
