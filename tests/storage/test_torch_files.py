"""Archives of torch: what torch.save writes comes back, and nothing that is damaged or looks larger than it is."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from storage.checkpoint import load_state, read_checkpoint, save_checkpoint, save_safetensors
from storage.torch_files import KINDS
from utils.errors import UserError

SHARED, MANY = torch.arange(24.0), torch.zeros(10_000)


def parts_of(content: Any) -> dict[str, bytes]:
    file = io.BytesIO()
    torch.save(content, file)
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, parts: dict[str, bytes], packing: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def test_all_that_is_dense_comes_back(tmp_path: Path) -> None:
    content = {
        "kinds": {name: torch.tensor([0, 1, 2]).to(kind) for name, kind in KINDS.items()},
        "views": {"a": SHARED[4:], "b": SHARED.view(4, 6).T, "c": SHARED.view(4, 6)[:, ::2], "whole": SHARED},
        "odd": [torch.zeros(()), torch.zeros(0, 3), torch.nn.Parameter(torch.ones(2)), None, True, -(2**63), 1e-300],
        "module": torch.nn.BatchNorm1d(3).state_dict(),
    }
    save_checkpoint(tmp_path / "a.tar", content)
    read = read_checkpoint(tmp_path / "a.tar")
    theirs = torch.load(tmp_path / "a.tar", weights_only=True)
    for group in ("kinds", "views", "module"):
        assert read[group].keys() == theirs[group].keys()
        assert all(torch.equal(read[group][name], value) for name, value in theirs[group].items())
        assert all(read[group][name].dtype == value.dtype for name, value in theirs[group].items())
    assert read["views"]["a"].untyped_storage().data_ptr() == read["views"]["whole"].untyped_storage().data_ptr()
    assert read["odd"][3:] == content["odd"][3:] and read["odd"][1].shape == (0, 3)
    shapes = read_checkpoint(tmp_path / "a.tar", values=False)
    assert all(value.is_meta and value.shape == theirs["views"][name].shape for name, value in shapes["views"].items())


@pytest.mark.parametrize("name", ["a.tar", "a.safetensors"])
def test_every_turned_bit_of_the_numbers_is_noticed(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    state = {"a": torch.randn(64), "b": torch.randn(3, 5)}
    save_checkpoint(path, {"model": state}) if name.endswith("tar") else save_safetensors(path, state)
    whole = path.read_bytes()
    for tensor in read_checkpoint(path)["model"].values():
        start = whole.index(tensor.contiguous().numpy().tobytes())
        for place in range(start, start + tensor.nbytes, 7):
            content = bytearray(whole)
            content[place] ^= 1 << place % 8
            path.write_bytes(content)
            with pytest.raises(UserError, match="Bad CRC-32|does not fit its checksum"):
                read_checkpoint(path)


def test_exports_without_a_checksum_are_read(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.ones(3)}, tmp_path / "a.safetensors", {"step": "3"})
    read = read_checkpoint(tmp_path / "a.safetensors")
    assert read["metadata"] == {"step": "3"} and torch.equal(read["model"]["a"], torch.ones(3))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(1 << 30),
        torch.zeros(1).expand(1 << 15, 1 << 15),
        torch.zeros(8).as_strided((4, 4), (1, 1)),
        torch.zeros(64).as_strided((8, 8, 8), (1, 2, 3)),
        torch.zeros(3, dtype=torch.complex64),
        torch.eye(3).to_sparse(),
        torch.zeros(3, device="meta"),
        torch.zeros(3, dtype=torch.float8_e5m2),
        torch.zeros((1,) * 9),
    ],
    ids=[
        "stride 0",
        "strides 0",
        "overlap",
        "overlaps",
        "complex",
        "sparse",
        "meta",
        "small",
        "dimensions",
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_of_other_kinds_are_refused(tensor: torch.Tensor, tmp_path: Path) -> None:
    torch.save({"model": {"a": tensor}}, tmp_path / "a.tar")
    with pytest.raises(UserError, match="a.tar"):
        read_checkpoint(tmp_path / "a.tar")


@pytest.mark.parametrize(
    "content",
    [
        {"a": [MANY[:] for _ in range(5)]},
        {"a": 2**63},
        {("a",): 1},
        {"a" * 1001: 1},
        {1.5: 1},
        {"a": {torch.zeros(1): 1}},
    ],
    ids=["shared too often", "number", "tuple key", "long key", "real key", "tensor key"],
)
def test_contents_beyond_the_limits_are_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.tar")
    with pytest.raises(UserError, match="a.tar"):
        read_checkpoint(tmp_path / "a.tar")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda parts: parts.pop("archive/data/0"), "is missing or of another size"),
        (lambda parts: parts.update({"archive/data/0": bytes(1 << 20)}), "is missing or of another size"),
        (lambda parts: parts.pop("archive/data.pkl"), "no archive of torch.save"),
        (lambda parts: parts.update({"archive/byteorder": b"big"}), "another order of bytes"),
        (lambda parts: parts.update({"archive/data.pkl": parts["archive/data.pkl"][:-9]}), "is not read"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change: Callable[[Any], Any], words: str, tmp_path: Path) -> None:
    parts = parts_of({"a": torch.zeros(3)})
    pack(tmp_path / "a.tar", parts)
    assert torch.equal(read_checkpoint(tmp_path / "a.tar")["a"], torch.zeros(3))
    change(parts)
    pack(tmp_path / "a.tar", parts)
    with pytest.raises(UserError, match=words):
        read_checkpoint(tmp_path / "a.tar")


def test_packed_and_former_files_are_refused(tmp_path: Path) -> None:
    pack(tmp_path / "a.tar", parts_of({"a": torch.zeros(1 << 22)}), zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="it is packed"):
        read_checkpoint(tmp_path / "a.tar")
    torch.save({"a": torch.zeros(3)}, tmp_path / "a.tar", _use_new_zipfile_serialization=False)
    with pytest.raises(UserError, match="torch before 1.6 wrote it: .* save it again"):
        read_checkpoint(tmp_path / "a.tar")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_named(value: float) -> None:
    module = torch.nn.Linear(3, 2)
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    state["bias"][1] = value
    with pytest.raises(UserError, match=r"does not fit in bias \(NaN or infinity\)"):
        load_state(module, state, "file")
    assert module.bias.isfinite().all()


def test_a_module_on_meta_takes_memory_when_its_state_fits() -> None:
    with torch.device("meta"):
        fits, never = torch.nn.Linear(3, 2), torch.nn.Linear(1 << 20, 1 << 20)
    state = torch.nn.Linear(3, 2).state_dict()
    load_state(fits, state, "file")
    assert torch.equal(fits.weight, state["weight"])
    with pytest.raises(UserError, match="instead of"):
        load_state(never, state, "file")
