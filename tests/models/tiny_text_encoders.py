"""Tiny text encoders in the file formats of the published ones, with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

WIDTH, FF_SIZE, POSITIONS, LAYERS, PROJECTION = 64, 96, 16, 2, 48
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "person", "walks", "turn", "##s", "fast", ".", "[MASK]"]
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


def clip_state() -> dict[str, Tensor]:
    """As `CLIPModel` saves it, a piece of the image half included."""
    state = {
        "logit_scale": torch.tensor(4.6),
        "text_projection.weight": torch.randn(PROJECTION, WIDTH) * 0.1,
        "text_model.embeddings.token_embedding.weight": torch.randn(len(CLIP_TOKENS), WIDTH) * 0.2,
        "text_model.embeddings.position_embedding.weight": torch.randn(POSITIONS, WIDTH) * 0.1,
        "vision_model.encoder.layers.0.self_attn.q_proj.weight": torch.randn(4, 4),
        **norm("text_model.final_layer_norm"),
    }
    for number in range(LAYERS):
        block = f"text_model.encoder.layers.{number}."
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            state |= linear(f"{block}self_attn.{name}", WIDTH, WIDTH)
        state |= linear(block + "mlp.fc1", WIDTH, FF_SIZE) | linear(block + "mlp.fc2", FF_SIZE, WIDTH)
        state |= norm(block + "layer_norm1") | norm(block + "layer_norm2")
    return state


def write_bert(folder: Path, kind: str = "bert", file: str = "model.safetensors", words: list[str] = WORDS) -> Path:
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
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    if kind == "bert":
        ids = {word: index for index, word in enumerate(words)}
        tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
        tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def write_clip(folder: Path) -> Path:
    """A Hugging Face folder of CLIP with `vocab.json` and `merges.txt`."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(clip_state(), folder / "model.safetensors")
    text = {"num_attention_heads": WIDTH // 64, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
    text |= {"hidden_size": WIDTH, "intermediate_size": FF_SIZE, "num_hidden_layers": LAYERS}
    text |= {"vocab_size": len(CLIP_TOKENS), "max_position_embeddings": POSITIONS, "projection_dim": PROJECTION}
    text |= {"bos_token_id": len(CLIP_TOKENS) - 2, "eos_token_id": len(CLIP_TOKENS) - 1, "pad_token_id": 0}
    (folder / "config.json").write_text(json.dumps({"model_type": "clip", "text_config": text}))
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(CLIP_TOKENS)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in MERGES) + "\n", "utf-8")
    return folder


def write_t5(folder: Path) -> Path:
    """A Hugging Face folder of T5, whose tokenizer is a file of the tokenizers library."""
    sizes = {"d_model": WIDTH, "d_kv": 16, "d_ff": FF_SIZE, "num_layers": LAYERS, "num_heads": 4}
    words = ["<pad>", "</s>", "<unk>", *WORDS[4:]]
    T5EncoderModel(T5Config(vocab_size=len(words), **sizes)).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>").save_pretrained(folder)
    return folder
