"""Weights, states of trainings, databases, vocabularies, bodies and text encoders."""

from __future__ import annotations

import io
import json
import pickle
import random
import re
import shutil
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, load_file, save
from torch import Tensor

from data.specs import get_spec
from engine.harness import Harness
from models.evaluator.glove import WordVectors
from models.evaluator.guo import GuoEvaluator
from models.rag.database import RAGDatabase
from models.text.minilm import load_minilm
from models.text_encoder import build_text_encoder
from pipeline.inspect import inspect
from pipeline.inspect import lines as inspected_lines
from pipeline.loader import load_run
from storage.checkpoint import save_checkpoint, save_safetensors
from tests.engine.test_harness import SETTINGS, Fit, Points
from tests.fuzz.kinds import Kind, Mutator
from tests.fuzz.mutations import BYTES, JSON, NPY, NPZ, archive_of, flip, members_of, other_json
from tests.models import tiny_text_encoders
from tests.models.evaluator.conftest import published_state, write_words
from tests.models.test_rag_database import database, queries
from tests.test_fit import body_arrays
from utils.run import Run
from visualization.smpl_model import read_body_model

ROOT = Path(__file__).parents[2]
TRAINING = replace(SETTINGS, max_epoch=1, max_steps=4, eval_every_e=100)


# Mutations


def _other_tensor(rng: random.Random, tensor: Tensor) -> Any:
    """Another shape, kind or layout, or other numbers."""
    shape = rng.choice(((), (0,), (1,), (3, 8), (8, 3), (7,), (1 << 20,), (0, 1 << 40), (1,) * 9))
    large = rng.choice(((1 << 30,), (1 << 15, 1 << 15), (1 << 62,), tuple(tensor.shape) or (9,), (8, 1 << 27)))
    spoiled = tensor.clone().double() if tensor.numel() else torch.ones(1)
    spoiled.view(-1)[rng.randrange(spoiled.numel())] = rng.choice((np.nan, np.inf, -np.inf, -1.0, 1e300))
    kinds = (torch.complex64, torch.float64, torch.int64, torch.uint8, torch.bool, torch.bfloat16, torch.float8_e5m2)
    return rng.choice(
        (
            lambda: torch.zeros(shape),
            lambda: torch.zeros(1).expand(large),
            lambda: torch.zeros(64).as_strided((1 << 10, 1 << 10), (0, 0)),
            lambda: torch.zeros(64).as_strided((8, 8, 8), (1, 2, 3)),
            lambda: tensor.to(rng.choice(kinds)),
            lambda: spoiled.to(tensor.dtype),
            lambda: spoiled,
            lambda: tensor.to_sparse() if tensor.ndim else tensor,
            lambda: tensor.to("meta"),
            lambda: torch.nn.Parameter(tensor.float()),
            lambda: torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.quint8),
            lambda: tensor.tolist(),
            lambda: None,
        )
    )()


def _other_value(rng: random.Random, value: Any) -> Any:
    if isinstance(value, Tensor) and rng.random() < 0.8:
        return _other_tensor(rng, value)
    deep: list[Any] = []
    for _ in range(rng.choice((3, 70, 400))):
        deep = [deep]
    numbers = (True, -1, 0, 7, 2**62, 2**70, 10**30, 1e308, float("nan"), float("inf"))
    return rng.choice((*numbers, None, "text", "x" * 5000, [], {}, {3: 4}, (1, 2), deep, [value] * 3, b"bytes"))


def _other_tree(rng: random.Random, tree: Any) -> Any:
    """Replaces, drops, renames or exchanges some values of nested dictionaries and lists."""
    root = [tree]
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places, waiting = [], [root]
        while waiting:
            holder = waiting.pop()
            for key, value in list(holder.items() if isinstance(holder, dict) else enumerate(holder)):
                places.append((holder, key))
                if isinstance(value, (dict, list)) and len(places) < 10_000:
                    waiting.append(value)
        holder, key = rng.choice(places)
        what = rng.randrange(8)
        if what == 0 and isinstance(holder, dict):
            del holder[key]
        elif what == 1 and isinstance(holder, dict):
            holder[rng.choice(("", "step", 3, -1, 2**62, None, "é" * 2000, ("a",)))] = holder.pop(key)
        elif what == 2:
            other, its_key = rng.choice(places)
            holder[key] = other[its_key] if not isinstance(other[its_key], (dict, list)) else None
        else:
            holder[key] = _other_value(rng, holder[key])
    return root[0] if root else None


def other_state(rng: random.Random, content: bytes) -> bytes:
    """Another content of what torch.save wrote."""
    try:
        tree = torch.load(io.BytesIO(content), weights_only=True)
        result = io.BytesIO()
        torch.save(_other_tree(rng, tree), result, _use_new_zipfile_serialization=rng.random() < 0.95)
    except Exception:  # what an earlier mutation damaged, or what cannot be saved
        return flip(rng, content)
    return result.getvalue()


def other_record(rng: random.Random, content: bytes) -> bytes:
    """Other parts of an archive of torch, with right checksums: torch's own reader would see no difference."""
    if (parts := members_of(content)) is None:
        return flip(rng, content)
    name = rng.choice([*[name for name in parts if name.endswith("data.pkl")] * len(parts), *parts])
    what, packing = rng.randrange(8), zipfile.ZIP_STORED
    if what < 4:
        parts[name] = (
            other_operation(rng, parts[name]) if name.endswith(".pkl") else rng.choice(BYTES)(rng, parts[name])
        )
    elif what == 4:
        parts[rng.choice(("data.pkl", "../x", "a/" * 200, "archive/data/0", "archive/byteorder"))] = parts.pop(name)
    elif what == 5:
        parts[f"{name.partition('/')[0]}/data/99"] = bytes(1 << 24)
        packing = rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_STORED))
    elif what == 6:
        parts[name] = b""
    else:
        parts |= {f"{name}{number}": b"a" for number in range(3000)}
    return archive_of(parts, packing)


def other_operation(rng: random.Random, content: bytes) -> bytes:
    """Another operation of a pickle: names, lengths beyond the end, numbers, places in the memo, depth."""
    place = rng.randrange(len(content) + 1)
    extreme = rng.choice((0, 1, 255, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1))
    new = rng.choice(
        (
            b"\x8e" + extreme.to_bytes(8, "little"),
            b"\x8d" + extreme.to_bytes(8, "little"),
            b"\x96" + extreme.to_bytes(8, "little"),
            b"\x95" + extreme.to_bytes(8, "little"),
            b"\x8b" + (extreme % 2**31).to_bytes(4, "little"),
            b"r" + (extreme % 2**32).to_bytes(4, "little"),
            b"j" + (extreme % 2**32).to_bytes(4, "little"),
            b"J" + (extreme % 2**32).to_bytes(4, "little"),
            b"cos\nsystem\nU\x05falseR",
            b"cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85R",
            b"ctorch\nzeros\n",
            b"L" + b"9" * rng.choice((50, 5000)) + b"L\n",
            b")" + b"\x85" * rng.choice((100, 200_000)),
            *(bytes([code]) for code in b"(.0]}abdesu2tRQ\x81\x85\x88\x94"),
        )
    )
    numbers = list(re.finditer(rb"K.|M..|J....", content, re.DOTALL))
    if numbers and rng.random() < 0.3:
        chosen = rng.choice(numbers)
        return content[: chosen.start()] + b"J" + (extreme % 2**32).to_bytes(4, "little") + content[chosen.end() :]
    return content[:place] + new + content[place + rng.choice((0, 0, 1, len(new))) :]


def other_plain_pickle(rng: random.Random, content: bytes) -> bytes:
    """Another content of a pickle of words or arrays."""
    try:
        return pickle.dumps(_other_tree(rng, pickle.loads(content)), rng.randrange(6))
    except Exception:  # a pickle that an earlier mutation damaged
        return flip(rng, content)


def other_tensors(rng: random.Random, content: bytes) -> bytes:
    """Another header, other names, shapes and numbers of a safetensors file."""
    try:
        length = int.from_bytes(content[:8], "little")
        if rng.random() < 0.5:
            header = other_json(rng, content[8 : 8 + length])
            told = rng.choice((len(header), len(header), len(header), 2**63, 2**31, 0))
            return told.to_bytes(8, "little") + header + content[8 + length :]
        tensors = load(content)
        for name in rng.sample(list(tensors), min(len(tensors), rng.choice((1, 1, 3)))):
            other = _other_tensor(rng, tensors.pop(name))
            if isinstance(other, Tensor) and other.layout == torch.strided and other.numel() < 1 << 22:
                tensors[rng.choice((name, name, name, "x" * 2000, ""))] = other.clone().contiguous()
        return save(tensors)
    except Exception:  # a file that an earlier mutation damaged
        return flip(rng, content)


STATES: tuple[Mutator, ...] = (*BYTES, *(other_state,) * 8, *(other_record,) * 4)
TENSORS: tuple[Mutator, ...] = (*BYTES, *(other_tensors,) * 6)
PICKLES: tuple[Mutator, ...] = (*BYTES, *(other_operation,) * 4, *(other_plain_pickle,) * 4)


# Runs


def _training(folder: Path) -> list[Path]:
    Harness(folder, Fit(), Points(), None, TRAINING, device="cpu").fit()
    (folder / "model" / "previous.tar").unlink(missing_ok=True)
    return [folder / "model" / "latest.tar"]


def _goes_on(path: Path) -> None:
    """One more step: what an optimiser was given shows when it is used."""
    Harness(path.parents[1], Fit(), Points(), None, replace(TRAINING, max_steps=5), device="cpu").fit()


def _exported(folder: Path) -> list[Path]:
    shutil.copytree(ROOT / "pretrained" / "mini" / "length", folder / "length")
    (weights,) = (folder / "length" / "model").iterdir()
    save_safetensors(weights, load_file(weights), {"step": "3"})
    return [weights, folder / "length" / "config.json"]


def _trained(folder: Path) -> list[Path]:
    (weights,) = _exported(folder)[:1]
    content = {"model": load_file(weights), "step": 3, "metrics": {"loss": 0.5}, "config": {"stage": "length"}}
    save_checkpoint(weights.with_suffix(".tar"), content)
    weights.unlink()
    return [weights.with_suffix(".tar")]


def _load_run(path: Path) -> None:
    folder = path.parent if path.suffix == ".json" else path.parents[1]
    list(inspected_lines(inspect(folder)))
    load_run(Run(folder))


# Databases


def _database(folder: Path, signed: bool, index: bool = False) -> list[Path]:
    library = database(tokens=True).with_index("hnsw") if index else database(tokens=True)
    library.save(folder / "library")
    manifest = folder / "library" / "manifest.json"
    if not signed:
        told = json.loads(manifest.read_text())
        manifest.write_text(json.dumps({name: value for name, value in told.items() if name != "files"}))
    files = ("index.faiss",) if index else (manifest.name, "entries.json", "embeddings.safetensors")
    return [folder / "library" / name for name in files]


def _search(path: Path) -> None:
    list(inspected_lines(inspect(path.parent)))
    library = RAGDatabase.load(path.parent, "abc")
    library.gather(library.search(queries(2), 3).indices)


# Evaluators, bodies, text encoders


def _words(folder: Path) -> list[Path]:
    write_words(folder, width=8)
    return sorted(folder.iterdir())


def _guo(folder: Path) -> list[Path]:
    (folder / "t2m" / "text_mot_match" / "model").mkdir(parents=True)
    torch.save(published_state(), folder / "t2m" / "text_mot_match" / "model" / "finest.tar")
    (folder / "t2m" / "Comp_v6_KLD01" / "meta").mkdir(parents=True)
    for name in ("mean", "std"):
        np.save(folder / "t2m" / "Comp_v6_KLD01" / "meta" / f"{name}.npy", np.ones(263))
    write_words(folder / "glove")
    return [folder / "t2m" / "text_mot_match" / "model" / "finest.tar"]


def _judge(path: Path) -> None:
    root = path.parents[3]
    GuoEvaluator.load(get_spec("humanml3d"), checkpoints=root, glove=root / "glove")


def _body_pickle(folder: Path) -> list[Path]:
    (folder / "SMPL_NEUTRAL.pkl").write_bytes(pickle.dumps(body_arrays(), 2))
    return [folder / "SMPL_NEUTRAL.pkl"]


def _body_archive(folder: Path) -> list[Path]:
    np.savez(folder / "SMPL_NEUTRAL.npz", **body_arrays())
    return [folder / "SMPL_NEUTRAL.npz"]


def _encoder(folder: Path, names: tuple[str, ...], kind: str) -> list[Path]:
    tiny_text_encoders.write_bert(folder, kind)
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 12}')
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 12, "do_lower_case": true}')
    if "pytorch_model.bin" in names:
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    return [folder / name for name in names]


def _read_bert(path: Path) -> None:
    load_minilm(path.parent).encode(["a person walks", ""])


def _read_published(path: Path) -> None:
    build_text_encoder(str(path.parent)).encode(["a person walks", ""])


SETTINGS_FILES = ("config.json", "tokenizer.json", "sentence_bert_config.json")
KINDS = (
    Kind("training state", _training, _goes_on, STATES, weight=8),
    Kind("exported weights", _exported, _load_run, TENSORS, weight=3),
    Kind("trained weights", _trained, _load_run, STATES, weight=3),
    Kind("database", partial(_database, signed=True), _search, (*TENSORS, *JSON), weight=2),
    Kind("former database", partial(_database, signed=False), _search, (*TENSORS, *JSON), weight=4),
    Kind("index", partial(_database, signed=False, index=True), _search, BYTES),
    Kind(
        "words", _words, lambda path: WordVectors.from_folder(path.parent).embed(["a/DET"]), (*PICKLES, *NPY), weight=4
    ),
    Kind("Guo's weights", _guo, _judge, STATES, weight=3),
    Kind("body pickle", _body_pickle, read_body_model, PICKLES, weight=4),
    Kind("body archive", _body_archive, read_body_model, NPZ, weight=2),
    Kind("BERT's weights", partial(_encoder, names=("model.safetensors",), kind="bert"), _read_bert, TENSORS, weight=2),
    Kind("BERT's settings", partial(_encoder, names=SETTINGS_FILES, kind="bert"), _read_bert, JSON, weight=4),
    Kind(
        "published encoder",
        partial(_encoder, names=("config.json", "tokenizer_config.json", "model.safetensors"), kind="distilbert"),
        _read_published,
        (*JSON, *TENSORS),
        weight=2,
    ),
    Kind(
        "published pickle",
        partial(_encoder, names=("pytorch_model.bin",), kind="distilbert"),
        _read_published,
        STATES,
    ),
)
