"""Text encoders by name: `minilm` (comes with pip, works offline), `clip` (ViT-B/32), `distilbert`, and any other."""

from __future__ import annotations

from pathlib import Path

import torch

from models.text.encoder import TextEncoder, TextFeatures, TowerEncoder, pad_features
from models.text.store import TextFeatureStore

__all__ = ["TextEncoder", "TextFeatureStore", "TextFeatures", "TowerEncoder", "build_text_encoder", "pad_features"]


def build_text_encoder(
    name: str, path: Path | str | None = None, device: torch.device | str = "cpu", trainable: bool = False
) -> TowerEncoder:
    """Loads a text encoder.

    Args:
        name: `minilm`, or see `load_published`.
        path: where its files are, if not where the name says.
        device: where it computes.
        trainable: gives the weights gradients (`forward_features` then has them too).

    Raises:
        UserError: unknown name, or missing or unsuitable weights; says what belongs where.
    """
    if name == "minilm":
        from models.text.minilm import load_minilm

        encoder = load_minilm(Path(path) if path is not None else None)
    else:
        from models.text.published import load_published

        encoder = load_published(name, path)
    encoder.module.requires_grad_(trainable)
    return encoder.to(device)
