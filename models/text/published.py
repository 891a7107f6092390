"""Any text encoder that the transformers library knows, from a folder or from its cache; nothing is downloaded.

Letters: B texts, L tokens, D channels.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.text.encoder import TextEncoder, Tower
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
        config = AutoConfig.from_pretrained(source, local_files_only=True)
        model, projection, missing = _read_model(source, config)
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
    except Exception as error:  # of the library, the hub's client, safetensors and tokenizers: no common base class
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        if Path(source).is_dir():
            raise UserError(f"text encoder {name}: {source} cannot be loaded: {reason}") from error
        raise UserError(
            f"text encoder {name}: {source} is no folder, and not in Hugging Face's cache: `hf download {hub_name}"
            f" --local-dir {folder}` gets it, and minilm needs no download ({reason})"
        ) from error
    if missing:
        raise UserError(f"text encoder {name}: {source} is incomplete: it lacks {', '.join(missing[:3])}")
    if len(tokenizer) > len(model.get_input_embeddings().weight):
        raise UserError(f"text encoder {name}: the vocabulary in {source} is another model's: {len(tokenizer)} tokens")
    longest = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", None) or 512)

    def tokenize(texts: Any) -> list[list[int]]:
        return tokenizer(list(texts), truncation=True, max_length=longest)["input_ids"]

    return TextEncoder(name, PublishedTower(model, projection).requires_grad_(False).eval(), tokenize)


def _read_model(source: str, config: Any) -> tuple[nn.Module, nn.Linear | None, list[str]]:
    """The model, CLIP's projection, and the weights that the files lack."""
    from transformers import AutoModelForTextEncoding, CLIPTextModelWithProjection
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    is_clip = config.model_type in ("clip", "clip_text_model")
    kind = CLIPTextModelWithProjection if is_clip else AutoModelForTextEncoding
    if config.model_type == "clip":
        config = config.text_config
    model, told = kind.from_pretrained(
        source, config=config, local_files_only=True, dtype=torch.float32, output_loading_info=True
    )
    missing = [each for each in sorted(told["missing_keys"]) if not each.startswith("pooler.")]
    return (model.text_model, model.text_projection, missing) if is_clip else (model, None, missing)
