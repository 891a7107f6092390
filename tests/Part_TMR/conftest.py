"""A tiny text encoder, a tiny retriever run and a tiny dataset for the retriever's tests."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from models.configs import PartTMRConfig
from models.text.encoder import Tower
from models.text_encoder import TextEncoder, TextFeatures, pad_features
from Part_TMR.model import RetrieverModel
from Part_TMR.retriever import Retriever
from storage.files import write_json
from utils.formats import get_format
from utils.normalizer import Normalizer

WORDS = ["walks", "jumps", "waves", "sits", "kicks", "turns"]


class WordEncoder(TextEncoder):
    """Every word has a random vector that depends on its letters alone."""

    def __init__(self) -> None:
        super().__init__("minilm", Tower(16), lambda texts: [text.split() for text in texts])

    @property
    def fingerprint(self) -> str:
        return "words"

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def forward_features(self, texts: Sequence[str]) -> TextFeatures:
        rows = []
        for text in texts:
            seeds = [zlib.crc32(word.encode()) for word in text.split()]
            states = torch.stack([torch.randn(16, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
            rows.append((states.mean(dim=0), states))
        return pad_features(rows)


@pytest.fixture
def word_encoder() -> WordEncoder:
    return WordEncoder()


@pytest.fixture
def small_config() -> Callable[..., PartTMRConfig]:
    def make(**changes: object) -> PartTMRConfig:
        motion = {"part_dim": 16, "motion_layers": 1, "motion_ff_size": 16, "patch_frames": 4, "embed_dim": 12}
        text = {"text_encoder": "minilm", "text_layers": 1, "text_dim": 16, "queue_size": 10, "dropout": 0.0}
        return PartTMRConfig(**(motion | text | changes))

    return make


@pytest.fixture
def retriever(small_config: Callable[..., PartTMRConfig], word_encoder: WordEncoder) -> Retriever:
    torch.manual_seed(0)
    model = RetrieverModel(small_config(), get_format("humanml3d"), word_encoder.dim)
    model.normalizer = Normalizer(263)
    return Retriever(model, word_encoder, "tmr")


@pytest.fixture
def run_dir(retriever: Retriever, tmp_path: Path) -> Path:
    """A run folder as a training leaves it."""
    folder = tmp_path / "logs" / "tiny" / "tmr"
    (folder / "model").mkdir(parents=True)
    write_json(
        folder / "config.json",
        {"stage": "tmr", "model": asdict(retriever.config), "format": get_format("humanml3d").to_json()},
    )
    torch.save({"model": retriever.model.state_dict()}, folder / "model" / "net_best_r1.tar")
    return folder


@pytest.fixture
def tiny_dataset(tmp_path: Path) -> Path:
    """A dataset folder of 18 random motions: the caption's word moves a column of its own."""
    root, rng = tmp_path / "tiny", np.random.default_rng(0)
    for name in ("new_joint_vecs", "texts"):
        (root / name).mkdir(parents=True)
    (root / "dataset.json").write_text(json.dumps({"fps": 20, "joints": "humanml3d"}))
    ids = [f"{number:06d}" for number in range(18)]
    for number, clip_id in enumerate(ids):
        word = number % len(WORDS)
        features = rng.normal(size=(40 + 4 * (number % 3), 263)).astype(np.float32)
        features[:, 10 * word : 10 * word + 10] += 3
        np.save(root / "new_joint_vecs" / f"{clip_id}.npy", features)
        lines = [f"a person {WORDS[word]}#a/DET#0.0#0.0", f"someone {WORDS[word]} {number}#a/DET#0.0#0.0"]
        (root / "texts" / f"{clip_id}.txt").write_text("\n".join(lines) + "\n")
    np.save(root / "Mean.npy", np.zeros(263, np.float32))
    np.save(root / "Std.npy", np.ones(263, np.float32))
    for split, chosen in (("train", ids[:12]), ("val", ids[12:]), ("test", ids[12:])):
        (root / f"{split}.txt").write_text("\n".join(chosen) + "\n")
    return root
