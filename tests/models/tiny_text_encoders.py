"""Tiny text encoders in the file formats of the published ones, with random weights."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

WIDTH, FF_SIZE, POSITIONS, LAYERS, PROJECTION = 64, 96, 16, 2, 48
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "person", "walks", "turn", "##s", "fast", "."]
MERGES = [("w", "a"), ("l", "k"), ("wa", "lk"), ("walk", "s</w>"), ("o", "n</w>")]
BYTES = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
SYMBOLS = [chr(byte) for byte in BYTES] + [chr(0x100 + index) for index in range(256 - len(BYTES))]
CLIP_TOKENS = [
    *SYMBOLS,
    *(symbol + "</w>" for symbol in SYMBOLS),
    *("".join(pair) for pair in MERGES),
    "<|startoftext|>",
    "<|endoftext|>",
]


def linear(name: str, inputs: int, outputs: int) -> dict[str, Tensor]:
    return {f"{name}.weight": torch.randn(outputs, inputs) * 0.2, f"{name}.bias": torch.randn(outputs) * 0.1}


def norm(name: str) -> dict[str, Tensor]:
    return {f"{name}.weight": 1 + 0.1 * torch.randn(WIDTH), f"{name}.bias": 0.1 * torch.randn(WIDTH)}


def bert_state(prefix: str = "") -> dict[str, Tensor]:
    """As `BertModel` saves it, parts that we do not use included."""
    state = {
        "embeddings.word_embeddings.weight": torch.randn(len(WORDS), WIDTH),
        "embeddings.position_embeddings.weight": torch.randn(POSITIONS, WIDTH),
        "embeddings.token_type_embeddings.weight": torch.randn(2, WIDTH),
        "embeddings.position_ids": torch.arange(POSITIONS)[None],
        **norm("embeddings.LayerNorm"),
        **linear("pooler.dense", WIDTH, WIDTH),
    }
    for number in range(LAYERS):
        block = f"encoder.layer.{number}."
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            state |= linear(block + name, WIDTH, WIDTH)
        state |= linear(block + "intermediate.dense", WIDTH, FF_SIZE) | linear(block + "output.dense", FF_SIZE, WIDTH)
        state |= norm(block + "attention.output.LayerNorm") | norm(block + "output.LayerNorm")
    return {prefix + name: tensor for name, tensor in state.items()}


def distilbert_state(prefix: str = "distilbert.") -> dict[str, Tensor]:
    """As `DistilBertForMaskedLM` saves it."""
    state = {
        "embeddings.word_embeddings.weight": torch.randn(len(WORDS), WIDTH),
        "embeddings.position_embeddings.weight": torch.randn(POSITIONS, WIDTH),
        **norm("embeddings.LayerNorm"),
    }
    for number in range(LAYERS):
        block = f"transformer.layer.{number}."
        for name in ("q_lin", "k_lin", "v_lin", "out_lin"):
            state |= linear(f"{block}attention.{name}", WIDTH, WIDTH)
        state |= linear(block + "ffn.lin1", WIDTH, FF_SIZE) | linear(block + "ffn.lin2", FF_SIZE, WIDTH)
        state |= norm(block + "sa_layer_norm") | norm(block + "output_layer_norm")
    return {prefix + name: tensor for name, tensor in state.items()} | linear("vocab_transform", WIDTH, WIDTH)


def openai_state() -> dict[str, Tensor]:
    """As OpenAI's CLIP names its parameters, a piece of the image half included."""
    state = {
        "positional_embedding": torch.randn(POSITIONS, WIDTH) * 0.1,
        "text_projection": torch.randn(WIDTH, PROJECTION) * 0.1,
        "logit_scale": torch.tensor(4.6),
        "token_embedding.weight": torch.randn(len(CLIP_TOKENS), WIDTH) * 0.2,
        **norm("ln_final"),
    }
    for half, n_layers in (("visual.", 1), ("", LAYERS)):
        for number in range(n_layers):
            block = f"{half}transformer.resblocks.{number}."
            state[block + "attn.in_proj_weight"] = torch.randn(3 * WIDTH, WIDTH) * 0.2
            state[block + "attn.in_proj_bias"] = torch.randn(3 * WIDTH) * 0.1
            state |= linear(block + "attn.out_proj", WIDTH, WIDTH)
            state |= linear(block + "mlp.c_fc", WIDTH, FF_SIZE) | linear(block + "mlp.c_proj", FF_SIZE, WIDTH)
            state |= norm(block + "ln_1") | norm(block + "ln_2")
    return state


def hugging_face_clip_state(openai: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights as `CLIPModel` names them."""
    state = {
        "logit_scale": openai["logit_scale"],
        "text_projection.weight": openai["text_projection"].T.contiguous(),
        "text_model.embeddings.token_embedding.weight": openai["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": openai["positional_embedding"],
        "vision_model.encoder.layers.0.self_attn.q_proj.weight": torch.randn(4, 4),
    }
    names = {"attn.out_proj": "self_attn.out_proj", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    names |= {"ln_1": "layer_norm1", "ln_2": "layer_norm2"}
    for kind in ("weight", "bias"):
        state[f"text_model.final_layer_norm.{kind}"] = openai[f"ln_final.{kind}"]
        for number in range(LAYERS):
            theirs, ours = f"transformer.resblocks.{number}.", f"text_model.encoder.layers.{number}."
            parts = openai[f"{theirs}attn.in_proj_{kind}"].chunk(3)
            for name, part in zip("qkv", parts, strict=True):
                state[f"{ours}self_attn.{name}_proj.{kind}"] = part.clone()
            for name, other in names.items():
                state[f"{ours}{other}.{kind}"] = openai[f"{theirs}{name}.{kind}"]
    return state


def write_bert(folder: Path, kind: str = "bert", file: str = "model.safetensors") -> Path:
    """A Hugging Face folder of BERT or DistilBERT with a `vocab.txt`."""
    folder.mkdir(parents=True, exist_ok=True)
    state = bert_state() if kind == "bert" else distilbert_state()
    if file.endswith(".safetensors"):
        save_file(state, folder / file)
    else:
        torch.save(state, folder / file)
    config = {
        "bert": {"model_type": "bert", "num_attention_heads": 4, "hidden_act": "gelu", "layer_norm_eps": 1e-12}
        | {"hidden_size": WIDTH, "intermediate_size": FF_SIZE, "num_hidden_layers": LAYERS}
        | {"vocab_size": len(WORDS), "max_position_embeddings": POSITIONS},
        "distilbert": {"model_type": "distilbert", "n_heads": 4, "activation": "gelu", "dim": WIDTH}
        | {"hidden_dim": FF_SIZE, "n_layers": LAYERS, "vocab_size": len(WORDS), "max_position_embeddings": POSITIONS},
    }[kind]
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return folder


def write_clip_folder(folder: Path, openai: dict[str, Tensor]) -> Path:
    """A Hugging Face folder of CLIP with `vocab.json` and `merges.txt`."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(hugging_face_clip_state(openai), folder / "model.safetensors")
    text = {"num_attention_heads": WIDTH // 64, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
    text |= {"hidden_size": WIDTH, "intermediate_size": FF_SIZE, "num_hidden_layers": LAYERS}
    text |= {"vocab_size": len(CLIP_TOKENS), "max_position_embeddings": POSITIONS, "projection_dim": PROJECTION}
    text |= {"bos_token_id": len(CLIP_TOKENS) - 2, "eos_token_id": len(CLIP_TOKENS) - 1, "pad_token_id": 0}
    (folder / "config.json").write_text(json.dumps({"model_type": "clip", "text_config": text}))
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(CLIP_TOKENS)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in MERGES) + "\n", "utf-8")
    return folder


def write_openai_vocabulary(folder: Path) -> None:
    """`bpe_simple_vocab_16e6.txt.gz`, which lists more merges than the model has tokens for."""
    lines = ['"bpe_simple_vocab_16e6.txt#version: 0.2', *(" ".join(pair) for pair in MERGES), "f a", "fa st</w>"]
    (folder / "bpe_simple_vocab_16e6.txt.gz").write_bytes(gzip.compress("\n".join(lines).encode()))


def write_torchscript(path: Path, state: dict[str, Tensor]) -> Path:
    """A TorchScript archive of half-precision parameters, as `ViT-B-32.pt` is."""
    root = nn.Module()
    for name, tensor in state.items():
        *parents, leaf = name.split(".")
        module = root
        for parent in parents:
            if not hasattr(module, parent):
                module.add_module(parent, nn.Module())
            module = getattr(module, parent)
        module.register_parameter(leaf, nn.Parameter(tensor.half(), requires_grad=False))
    torch.jit.script(root).save(str(path))
    return path
