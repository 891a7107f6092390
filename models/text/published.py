"""Any text encoder that the transformers library knows, from a folder or from its cache; nothing is downloaded.

Letters: B texts, L tokens, D channels.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.text.encoder import TextEncoder, Tower, known_words
from storage.checkpoint import is_finite
from storage.files import read_json
from storage.pickles import reason_of
from utils.errors import UserError

# Name -> folder looked at first, name on the Hugging Face hub.
PUBLISHED = {
    "clip": (Path("checkpoints/clip"), "openai/clip-vit-base-patch32"),
    "distilbert": (Path("checkpoints/distilbert"), "distilbert/distilbert-base-uncased"),
}
# What DistilBERT's weights were called in retrievers of former versions, which fused query, key and value.
FORMER = {
    "token": "embeddings.word_embeddings",
    "position": "embeddings.position_embeddings",
    "norm": "embeddings.LayerNorm",
    "out": "attention.out_lin",
    "attention_norm": "sa_layer_norm",
    "expand": "ffn.lin1",
    "contract": "ffn.lin2",
    "ff_norm": "output_layer_norm",
}


# Nothing is downloaded, and no code that lies beside weights is run, whatever their config says.
FROM_DISK = {"local_files_only": True, "trust_remote_code": False}
USUAL_TOKENS, MOST_TOKENS = 512, 1 << 16  # of a text
MOST_LAYERS, MOST_SIZE = 1000, 1 << 24  # of what a config says


class PublishedTower(Tower):
    """A model of the transformers library. The vector of a text is the mean of its tokens, of CLIP its end mark's.

    Args:
        model: gives `last_hidden_state`.
        projection: CLIP's map behind the last norm.
    """

    def __init__(self, model: nn.Module, projection: nn.Linear | None = None) -> None:
        super().__init__(projection.out_features if projection is not None else model.config.hidden_size)
        self.model, self.projection = model, projection

    def forward(self, ids: Tensor, mask: Tensor, padded: bool = True) -> tuple[Tensor, Tensor]:
        """See `Tower`."""
        attend = None
        if padded and self.projection is None:  # CLIP is causal: its tokens never see the padding behind them
            # As the library would make it of the mask, but it would ask the device first whether anything is padded.
            attend = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, float("-inf"))
            attend = attend[:, None, None, :].expand(-1, 1, ids.shape[1], -1)
        rows = self.model(input_ids=ids, attention_mask=attend).last_hidden_state
        states, lengths = (rows if self.projection is None else self.projection(rows)) * mask[..., None], mask.sum(1)
        if self.projection is None:
            return states.sum(1) / lengths[:, None], states
        return states[torch.arange(len(states), device=states.device), lengths - 1], states

    @staticmethod
    def upgrade_state(state: dict[str, Tensor], prefix: str) -> None:
        """Renames the weights of a DistilBERT that a former version trained."""
        for name in [name for name in state if name.startswith(prefix)]:
            old, _, kind = name.removeprefix(prefix).rpartition(".")
            block = re.fullmatch(r"blocks\.(\d+)\.(\w+)", old)
            new = f"{prefix}model." + (f"transformer.layer.{block[1]}." if block else "")
            if block and block[2] == "qkv":
                for part, tensor in zip("qkv", state.pop(name).chunk(3), strict=True):
                    state[f"{new}attention.{part}_lin.{kind}"] = tensor
            elif (own := block[2] if block else old) in FORMER:
                state[f"{new}{FORMER[own]}.{kind}"] = state.pop(name)


def load_published(name: str) -> TextEncoder:
    """A text encoder in single precision, frozen, on the CPU.

    Args:
        name: `clip`, `distilbert`, the folder of a model in Hugging Face's layout, or a model's name on the hub, which
            has to be in its cache.

    Raises:
        UserError: it is not there, or not a text encoder, or incomplete; says what belongs where.
    """
    folder, hub_name = PUBLISHED.get(name, (Path(name), name))
    source = str(folder if folder.is_dir() else hub_name)
    from transformers import AutoConfig, AutoTokenizer

    try:
        files = _files_of(source)
        _check_config(read_json(files["config.json"]))
        config = AutoConfig.from_pretrained(source, **FROM_DISK)
        model, projection, missing = _read_model(source, config, sum(path.stat().st_size for path in files.values()))
        tokenizer = AutoTokenizer.from_pretrained(source, **FROM_DISK)
        n_tokens, n_rows = len(tokenizer), len(model.get_input_embeddings().weight)
        limits = tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", None) or USUAL_TOKENS
        longest = int(min(*limits, MOST_TOKENS))
    except BaseException as error:  # of the library, the hub's client, safetensors, tokenizers: no common base class
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if Path(source).is_dir() or not isinstance(error, OSError):
            raise UserError(f"text encoder {name}: {source} cannot be loaded: {reason_of(error)}") from error
        raise UserError(
            f"text encoder {name} is not on this machine: `hf download {hub_name} --local-dir {folder}` puts it into"
            " its place; or train with --text_encoder minilm, which needs no download"
        ) from error
    if missing:
        raise UserError(f"text encoder {name}: {source} is incomplete: it lacks {', '.join(missing[:3])}")
    if n_tokens > n_rows:
        raise UserError(f"text encoder {name}: the vocabulary in {source} is another model's: {n_tokens} tokens")
    if longest < 2 or not all(is_finite(weight) for weight in model.state_dict().values()):
        raise UserError(f"text encoder {name}: {source} holds NaN or infinity, or reads no tokens")

    def tokenize(texts: Any) -> list[list[int]]:
        return tokenizer(list(texts), truncation=True, max_length=longest)["input_ids"]

    tower = PublishedTower(model, projection).requires_grad_(False).eval()
    return TextEncoder(name, tower, known_words(name, tokenize, n_rows))


def _files_of(source: str) -> dict[str, Path]:
    """The files beside a model's config, by their names."""
    from transformers.utils import cached_file

    folder = Path(cached_file(source, "config.json", local_files_only=True)).parent
    return {path.name: path for path in folder.iterdir() if path.is_file()}


def _check_config(config: Any) -> None:
    """Raises `ValueError` for what a config of an encoder has no need of: code, other kernels, impossible sizes."""
    if not isinstance(config, dict):
        raise ValueError("its config is no object")
    for key, value in config.items():
        if (key in ("auto_map", "quantization_config") or "attn_implementation" in key) and value is not None:
            raise ValueError(f"its config asks for more than weights ({key})")
        if isinstance(value, dict):
            _check_config(value)
        least, most = (1, MOST_LAYERS) if "layers" in key else (-MOST_SIZE, MOST_SIZE)
        if isinstance(value, (int, float)) and not least <= value <= most:
            raise ValueError(f"{key[:60]} is not from {least:,} to {most:,}")


def _read_model(source: str, config: Any, size: int) -> tuple[nn.Module, nn.Linear | None, list[str]]:
    """The model, CLIP's projection, and the weights that the files lack.

    Args:
        size: bytes of the files.

    Raises:
        ValueError: the config describes a larger model.
    """
    from transformers import AutoModelForTextEncoding, CLIPTextModelWithProjection
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    is_clip = config.model_type in ("clip", "clip_text_model")
    if config.model_type == "clip":
        config = config.text_config
    kind = CLIPTextModelWithProjection if is_clip else AutoModelForTextEncoding
    with torch.device("meta"):  # a model of sizes without weights: what the files lack would be made
        made = kind(config) if is_clip else kind.from_config(config, trust_remote_code=False)
    if (numbers := sum(weight.numel() for weight in made.parameters())) > size:
        raise ValueError(f"its config describes {numbers:,} numbers, more than its files can hold")
    model, told = kind.from_pretrained(
        source, config=config, dtype=torch.float32, output_loading_info=True, **FROM_DISK
    )
    missing = [each for each in sorted(told["missing_keys"]) if not each.startswith("pooler.")]
    return (model.text_model, model.text_projection, missing) if is_clip else (model, None, missing)
