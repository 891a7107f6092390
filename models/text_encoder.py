"""Text encoders by name: `minilm` (comes with pip, works offline), `clip` (ViT-B/32), `distilbert`, and any other."""

from __future__ import annotations

import torch

from models.text.encoder import TextEncoder, TextFeatures, pad_features
from models.text.store import TextFeatureStore

__all__ = ["TextEncoder", "TextFeatureStore", "TextFeatures", "build_text_encoder", "pad_features"]


def build_text_encoder(
    name: str,
    device: torch.device | str = "cpu",
    trainable: bool = False,
    shared: TextEncoder | None = None,
) -> TextEncoder:
    """Loads a text encoder.

    Args:
        name: `minilm`, or see `load_published`.
        device: where it computes.
        trainable: gives the weights gradients (`forward_features` then has them too).
        shared: taken instead if it has this name.

    Raises:
        UserError: unknown name, or missing or unsuitable weights; says what belongs where.
    """
    if shared is not None and shared.name == name:
        return shared
    if name == "minilm":
        from models.text.minilm import load_minilm

        encoder = load_minilm()
    else:
        from models.text.published import load_published

        encoder = load_published(name)
    encoder.module.requires_grad_(trainable)
    return encoder.to(device)
