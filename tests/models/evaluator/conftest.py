"""Guo's files with tiny random weights, in their published formats and places."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

WORDS = ["sos", "eos", "unk", "a", "person", "walk", "left", "slowly", "dog"]
WIDTHS = {"text": 6, "motion": 10, "movement": 8, "joint": 5, "word": 300}


def published_state(n_features: int = 263, **widths: int) -> dict[str, object]:
    """What `finest.tar` holds, with the names and axes of the published file."""
    sizes = WIDTHS | widths
    generator = torch.Generator().manual_seed(0)

    def encoder(inputs: int, width: int, pos_tags: int) -> dict[str, Tensor]:
        shapes = {"hidden": (2, 1, width)}
        if pos_tags:
            shapes |= {"pos_emb.weight": (inputs, pos_tags), "pos_emb.bias": (inputs,)}
        shapes |= {"input_emb.weight": (width, inputs), "input_emb.bias": (width,)}
        for end in ("", "_reverse"):
            shapes |= {f"gru.weight_ih_l0{end}": (3 * width, width), f"gru.weight_hh_l0{end}": (3 * width, width)}
            shapes |= {f"gru.bias_ih_l0{end}": (3 * width,), f"gru.bias_hh_l0{end}": (3 * width,)}
        shapes |= {"output_net.0.weight": (width, 2 * width), "output_net.0.bias": (width,)}
        shapes |= {"output_net.1.weight": (width,), "output_net.1.bias": (width,)}
        shapes |= {"output_net.3.weight": (sizes["joint"], width), "output_net.3.bias": (sizes["joint"],)}
        return random(shapes)

    def random(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
        return {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}

    movement = sizes["movement"]
    return {
        "text_encoder": encoder(sizes["word"], sizes["text"], 15),
        "motion_encoder": encoder(movement, sizes["motion"], 0),
        "movement_encoder": random(
            {"main.0.weight": (movement, n_features - 4, 4), "main.0.bias": (movement,)}
            | {"main.3.weight": (movement, movement, 4), "main.3.bias": (movement,)}
            | {"out_net.weight": (movement, movement), "out_net.bias": (movement,)}
        ),
        "opt_text_encoder": {"state": {}, "param_groups": [{"lr": 1e-4, "params": [0, 1]}]},
        "epoch": 7,
        "iter": 100,
    }


def write_words(folder: Path, words: Iterable[str] = WORDS, width: int = 300) -> None:
    """`our_vab_*` with more vectors than words, in another order."""
    words = list(words)
    folder.mkdir(exist_ok=True)
    np.save(folder / "our_vab_data.npy", np.random.default_rng(0).normal(size=(len(words) + 3, width)))
    (folder / "our_vab_words.pkl").write_bytes(pickle.dumps(words))
    (folder / "our_vab_idx.pkl").write_bytes(pickle.dumps({word: 2 + row for row, word in enumerate(reversed(words))}))


@pytest.fixture
def guo_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes all files of a dataset and makes their folder the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(dataset: str = "t2m", n_features: int = 263, meta: str = "Comp_v6_KLD01/meta") -> Path:
        root = tmp_path / "checkpoints" / dataset
        (root / "text_mot_match" / "model").mkdir(parents=True)
        torch.save(published_state(n_features), root / "text_mot_match" / "model" / "finest.tar")
        (root / meta).mkdir(parents=True)
        generator = np.random.default_rng(1)
        np.save(root / meta / "mean.npy", generator.normal(size=n_features))
        np.save(root / meta / "std.npy", generator.uniform(0.5, 2, size=n_features))
        write_words(tmp_path / "glove")
        return tmp_path

    return write
