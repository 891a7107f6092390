"""Published weights -> `TextTower`: Hugging Face folders of BERT, DistilBERT and CLIP, and OpenAI's `ViT-B-32.pt`."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.text.tower import TextTower, TowerConfig
from utils.checkpoint import read_checkpoint
from utils.errors import UserError
from utils.files import read_json

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin", "ViT-B-32.pt")


@dataclass(frozen=True)
class Family:
    """How one kind of checkpoint names the tower's parts (a block's names follow `block` and its number)."""

    name: str
    token: str
    position: str
    norm: str
    block: str
    qkv: tuple[str, ...]
    out: str
    attention_norm: str
    expand: str
    contract: str
    ff_norm: str
    token_type: str | None = None
    projection: str | None = None


FAMILIES = (
    Family(
        "bert",
        "embeddings.word_embeddings",
        "embeddings.position_embeddings",
        "embeddings.LayerNorm",
        "encoder.layer.{}.",
        ("attention.self.query", "attention.self.key", "attention.self.value"),
        "attention.output.dense",
        "attention.output.LayerNorm",
        "intermediate.dense",
        "output.dense",
        "output.LayerNorm",
        token_type="embeddings.token_type_embeddings",
    ),
    Family(
        "distilbert",
        "embeddings.word_embeddings",
        "embeddings.position_embeddings",
        "embeddings.LayerNorm",
        "transformer.layer.{}.",
        ("attention.q_lin", "attention.k_lin", "attention.v_lin"),
        "attention.out_lin",
        "sa_layer_norm",
        "ffn.lin1",
        "ffn.lin2",
        "output_layer_norm",
    ),
    Family(
        "clip",
        "embeddings.token_embedding",
        "embeddings.position_embedding",
        "final_layer_norm",
        "encoder.layers.{}.",
        ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "self_attn.out_proj",
        "layer_norm1",
        "mlp.fc1",
        "mlp.fc2",
        "layer_norm2",
        projection="text_projection",
    ),
    Family(
        "openai",
        "token_embedding",
        "positional_embedding",
        "ln_final",
        "transformer.resblocks.{}.",
        ("attn.in_proj",),
        "attn.out_proj",
        "ln_1",
        "mlp.c_fc",
        "mlp.c_proj",
        "ln_2",
        projection="text_projection",
    ),
)


def find_weights(path: Path) -> Path:
    """The weight file that `path` is, or that lies in the folder `path`.

    Raises:
        UserError: there is none.
    """
    if path.is_file():
        return path
    for name in WEIGHT_FILES:
        if (path / name).is_file():
            return path / name
    raise UserError(f"{path} holds no text encoder: it needs one of {', '.join(WEIGHT_FILES)}")


def load_tower(path: Path, pooling: str | None = None) -> tuple[TextTower, str]:
    """Reads a tower in single precision, frozen, on the CPU.

    Safetensors are mapped, not read: pages that no text touches (most of the vocabulary) are never loaded.

    Args:
        path: a weight file, or a Hugging Face folder with its `config.json`.
        pooling: `mean` or `last`; by default `last` for CLIP and `mean` for the others.

    Returns:
        the tower and its family (`bert`, `distilbert` or `clip`).

    Raises:
        UserError: no weights, or weights of another kind of model (names what is missing or does not fit).
    """
    file = find_weights(path)
    state = _read_state(file)
    family, prefix = _recognise(state, file)
    config_path = file.with_name("config.json")
    settings = read_json(config_path) if config_path.is_file() and family.name != "openai" else {}
    if not settings and family.name in ("bert", "distilbert"):
        raise UserError(f"{config_path} is missing: it tells the number of attention heads of {file.name}")
    try:
        tower_state = _rename(state, family, prefix)
        config = _configure(tower_state, settings, family, pooling)
    except KeyError as error:
        raise UserError(f"{file} is incomplete: it lacks {error.args[0]}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{config_path} does not describe {file.name}: {error}") from error
    with torch.device("meta"):
        tower = TextTower(config)
    try:
        tower.load_state_dict(tower_state, strict=True, assign=True)
    except RuntimeError as error:
        raise UserError(f"{file} does not fit its own shapes: {' '.join(str(error).split())[:300]}") from error
    return tower.requires_grad_(False).eval(), "clip" if family.name == "openai" else family.name


def _read_state(file: Path) -> dict[str, Tensor]:
    """The file's tensors by name; OpenAI's bare parameters get the names that modules would give them."""
    if _is_torchscript(file):
        try:
            with warnings.catch_warnings():
                # Deprecated for new files; OpenAI's are what they are.
                warnings.simplefilter("ignore", DeprecationWarning)
                state = dict(torch.jit.load(str(file), map_location="cpu").state_dict())
        except RuntimeError as error:
            raise UserError(f"{file} is a damaged TorchScript archive: {str(error).splitlines()[0]:.120}") from error
    else:
        content: dict[str, Any] = read_checkpoint(file)
        for key in ("model", "state_dict"):
            if isinstance(content.get(key), Mapping):
                content = content[key]
        state = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    return {_module_name(name): value for name, value in state.items()}


def _is_torchscript(file: Path) -> bool:
    """Whether the file is a TorchScript archive, which `torch.load` refuses (reading it runs no Python code)."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _module_name(name: str) -> str:
    """`attn.in_proj_weight` -> `attn.in_proj.weight`; a bare embedding or projection -> `NAME.weight`."""
    for kind in ("weight", "bias"):
        if name.endswith(f"in_proj_{kind}"):
            return name.removesuffix(f"_{kind}") + f".{kind}"
    return f"{name}.weight" if name.endswith(("positional_embedding", "text_projection")) else name


def _recognise(state: Mapping[str, Tensor], file: Path) -> tuple[Family, str]:
    """The family whose first block is in the state, and what precedes its names there (`bert.`, `text_model.`)."""
    for family in FAMILIES:
        first = family.block.format(0) + family.qkv[0] + ".weight"
        for name in state:
            prefix = name.removesuffix(first)
            # CLIP's image half is built of the same blocks.
            if prefix != name and "vis" not in prefix:
                return family, prefix
    raise UserError(f"{file} is no text encoder: it holds neither BERT, DistilBERT nor CLIP weights")


def _rename(state: Mapping[str, Tensor], family: Family, prefix: str) -> dict[str, Tensor]:
    """The tower's state dict; KeyError names what the file lacks."""
    renamed: dict[str, Tensor] = {}

    def take(own: str, *names: str, biased: bool = True) -> None:
        for kind in ("weight", "bias") if biased else ("weight",):
            parts = [state[f"{prefix}{name}.{kind}"].float() for name in names]
            renamed[f"{own}.{kind}"] = parts[0] if len(parts) == 1 else torch.cat(parts)

    take("token", family.token, biased=False)
    take("position", family.position, biased=False)
    take("norm", family.norm)
    if family.token_type:
        # All our texts are first segments: their type is a constant, which the positions absorb.
        renamed["position.weight"] = (
            renamed["position.weight"] + state[f"{prefix}{family.token_type}.weight"][0].float()
        )
    number = 0
    while f"{prefix}{family.block.format(number)}{family.qkv[0]}.weight" in state:
        block = family.block.format(number)
        take(f"blocks.{number}.qkv", *(block + name for name in family.qkv))
        for own in ("out", "attention_norm", "expand", "contract", "ff_norm"):
            take(f"blocks.{number}.{own}", block + getattr(family, own))
        number += 1
    if family.projection:
        # In Hugging Face's CLIP the projection lies outside `text_model.`; OpenAI's is stored transposed.
        name = prefix.removesuffix("text_model.") + f"{family.projection}.weight"
        projection = state[name].float()
        renamed["projection.weight"] = projection.T.contiguous() if family.name == "openai" else projection
    return renamed


def _configure(
    state: Mapping[str, Tensor], settings: Mapping[str, Any], family: Family, pooling: str | None
) -> TowerConfig:
    """The architecture: sizes from the weights' shapes, the rest from `config.json`."""
    vocabulary, width = state["token.weight"].shape
    is_clip = family.name in ("clip", "openai")
    settings = settings.get("text_config") or settings
    n_heads = settings.get("num_attention_heads", settings.get("n_heads", width // 64 if is_clip else None))
    if not isinstance(n_heads, int) or n_heads < 1 or width % n_heads:
        raise ValueError(f"{n_heads!r} attention heads for {width} channels")
    activation = settings.get("hidden_act", settings.get("activation", "quick_gelu" if is_clip else "gelu"))
    if activation not in ("gelu", "quick_gelu"):
        raise ValueError(f"unknown activation {activation!r}")
    return TowerConfig(
        vocabulary=vocabulary,
        positions=len(state["position.weight"]),
        width=width,
        n_layers=len({name.split(".")[1] for name in state if name.startswith("blocks.")}),
        n_heads=n_heads,
        ff_size=len(state["blocks.0.expand.weight"]),
        activation=activation,
        norm_first=is_clip,
        causal=is_clip,
        pooling=pooling or ("last" if is_clip else "mean"),
        epsilon=float(settings.get("layer_norm_eps", 1e-5 if is_clip else 1e-12)),
        projection=len(state["projection.weight"]) if "projection.weight" in state else 0,
        dropout=0.0 if is_clip else float(settings.get("hidden_dropout_prob", settings.get("dropout", 0.1))),
    )
