"""Folders of text encoders from strangers: nothing in them is run, and none takes more than it holds."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from models.text import minilm
from models.text.encoder import known_words
from storage.checkpoint import read_checkpoint
from tests.models import tiny_text_encoders as tiny
from tests.models.test_text_encoder import load
from utils.errors import UserError


class Payload(torch.nn.Module):
    """A TorchScript module that runs code when it is loaded: it writes a file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = str(path)

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path, self.training = state
        torch.save(torch.zeros(1), state[0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Command:
    """A pickle that runs a command."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def _custom_code(folder: Path, kind: str) -> None:
    """Code beside the weights, which the config asks for."""
    for name in ("modeling_own", "configuration_own", "tokenization_own"):
        (folder / f"{name}.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
    if kind == "tokenizer":
        asked = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["tokenization_own.Own", None]}}
        (folder / "tokenizer_config.json").write_text(json.dumps(asked))
        return
    path = folder / "config.json"
    asked = {"AutoConfig": "configuration_own.Own", "AutoModelForTextEncoding": "modeling_own.Own"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": asked, "model_type": kind}))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: torch.save({"a": Command(folder / "ran")}, folder / "pytorch_model.bin"),
        lambda folder: (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Command(folder / "ran"))),
        lambda folder: torch.jit.script(Payload(folder / "ran")).save(str(folder / "pytorch_model.bin")),
        lambda folder: torch.save({"a": Command(folder / "ran")}, folder / "model.safetensors"),
        lambda folder: _custom_code(folder, "distilbert"),
        lambda folder: _custom_code(folder, "own"),
        lambda folder: _custom_code(folder, "tokenizer"),
    ],
    ids=["archive", "pickle", "TorchScript", "safetensors", "model code", "config code", "tokenizer code"],
)
def test_nothing_in_a_folder_is_run(spoil: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny.write_bert(tmp_path / "model", "distilbert")
    spoil(folder)
    if (folder / "pytorch_model.bin").exists():
        (folder / "model.safetensors").unlink()
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # whoever asks gets the answer of one who does not read
    try:
        load("distilbert", folder)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert (folder / "tokenization_own.py").is_file(), "a tokenizer may be read as a plain one"
    assert not (folder / "ran").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_payload_would_run(tmp_path: Path) -> None:
    """TorchScript runs it; our reader of checkpoints does not."""
    torch.jit.script(Payload(tmp_path / "ran")).save(str(tmp_path / "a.tar"))
    with pytest.raises(UserError, match="a.tar"):
        read_checkpoint(tmp_path / "a.tar")
    assert not (tmp_path / "ran").exists()
    torch.jit.load(tmp_path / "a.tar")
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("file", ["config.json", "sentence_bert_config.json", "tokenizer.json"])
@pytest.mark.parametrize(
    "content", ["[]", "3", '"a"', "null", "{", "[" * 10**5, '{"max_seq_length": %s}', '{"model": %s}']
)
def test_wrong_files_of_a_folder_are_named(file: str, content: str, tmp_path: Path) -> None:
    folder = tiny.write_bert(tmp_path)
    for value in ("1e999", "-5", "null", "[]", "true", "1" + "0" * 18):
        (folder / file).write_text(content % value if "%" in content else content)
        if "max_seq" in content and file == "sentence_bert_config.json" and value.startswith("10"):
            assert len(load("minilm", folder).tokenize(["a " * 99])[0]) == tiny.POSITIONS
        elif file != "sentence_bert_config.json" or "model" not in content:
            with pytest.raises(UserError) as error:
                load("minilm", folder)
            assert str(folder) in str(error.value) and len(str(error.value)) < 600
        if "%" not in content:
            break


@pytest.mark.parametrize(
    "change",
    [
        {"n_layers": 10**9}, {"dim": 10**9}, {"dim": 2**20, "hidden_dim": 2**20}, {"n_layers": -1}, {"n_layers": "2"},
        {"vocab_size": 10**7}, {"max_position_embeddings": 10**7}, {"num_labels": 10**9}, {"n_heads": 0},
        {"_attn_implementation": "someone/kernels"}, {"quantization_config": {"quant_method": "gptq"}},
    ],
)  # fmt: skip
def test_configs_beyond_the_files_are_refused(change: dict, tmp_path: Path) -> None:
    folder = tiny.write_bert(tmp_path, "distilbert")
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match="cannot be loaded"):
        load("distilbert", folder)


def test_the_package_is_known_by_its_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = minilm._package_folder()
    for name in (*minilm.HASHES, "vocab.txt"):
        (tmp_path / name).symlink_to(original / name)
    monkeypatch.setattr(minilm, "_package_folder", lambda: tmp_path)
    assert minilm.load_minilm().dim == 384
    content = bytearray((original / "model.safetensors").read_bytes())
    content[-1000] ^= 1
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match="model.safetensors is not the published file: .*--force-reinstall"):
        minilm.load_minilm()


@pytest.mark.parametrize("ids", [[], [3, 12], [-1]])
def test_tokens_that_the_weights_do_not_have_are_refused(ids: list[int]) -> None:
    assert known_words("mine", lambda texts: [[0, 11]] * len(texts), 12)(["a", "b"]) == [[0, 11]] * 2
    with pytest.raises(UserError, match="mine: its tokenizer makes of 'waves'"):
        known_words("mine", lambda texts: [[1], ids], 12)(["walks", "waves"])
