"""Weights are read strictly and written atomically, and no file's code is ever run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from torch import nn

from storage.checkpoint import (
    fitting,
    load_state,
    read_checkpoint,
    read_model,
    save_checkpoint,
    save_safetensors,
    to_half,
)
from utils.errors import UserError


def net(width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width))


def test_round_trip(tmp_path: Path) -> None:
    content = {"model": net().state_dict(), "step": 3, "best": {"fid": 0.5}, "config": {"betas": [0.9], "name": None}}
    save_checkpoint(tmp_path / "new" / "a.tar", content)
    read = read_checkpoint(tmp_path / "new" / "a.tar")
    assert read.keys() == content.keys() and read["best"] == content["best"] and read["config"] == content["config"]
    other = net()
    load_state(other, read["model"], "a.tar")
    assert all(torch.equal(value, content["model"][name]) for name, value in other.state_dict().items())


def test_load_state_names_what_does_not_fit_and_changes_nothing() -> None:
    module, before = net(), net()
    before.load_state_dict(module.state_dict())
    state = net(5).state_dict()
    state["odd"] = state.pop("0.bias")
    state["1.num_batches_tracked"] = torch.tensor(0.5)
    with pytest.raises(UserError) as error:
        load_state(module, state, "some/file.tar")
    for part in (
        "some/file.tar is not a state of this Sequential",
        "lacks 0.bias",
        "unexpected odd",
        "0.weight (5, 3) instead of (4, 3)",
        "1.num_batches_tracked torch.float32 instead of torch.int64",
    ):
        assert part in str(error.value)
    assert "\n" not in str(error.value)
    assert all(torch.equal(value, before.state_dict()[name]) for name, value in module.state_dict().items())


def test_buffers_fit_together_or_not_at_all() -> None:
    state = net(5).state_dict() | {"odd": torch.zeros(1)}
    assert set(fitting(net(5), state)) == set(net(5).state_dict())
    assert not set(fitting(net(), state)), "the count of batches alone would go with other statistics"
    assert set(fitting(net(), net().state_dict() | {"1.weight": torch.zeros(5)})) == set(net().state_dict()) - {
        "1.weight"
    }


def test_many_names_are_shortened() -> None:
    with pytest.raises(UserError, match="lacks 0.weight, 0.bias, .* and 1 more"):
        load_state(net(), {}, "file")


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "latest.tar"
    save_checkpoint(path, {"step": 1})

    def dies(content: object, file: BinaryIO) -> None:
        file.write(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", dies)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, {"step": 2})
    monkeypatch.undo()
    assert read_checkpoint(path) == {"step": 1} and os.listdir(tmp_path) == ["latest.tar"]


class Evil:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("evil",)


@pytest.mark.parametrize("name", ["a.tar", "a.safetensors"])
def test_bad_files_are_named_in_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    with pytest.raises(UserError, match="does not exist"):
        read_checkpoint(path)
    save = save_checkpoint if path.suffix == ".tar" else save_safetensors
    save(path, {"weight": torch.randn(100, 100)})
    whole = path.read_bytes()
    contents = [
        b"",
        b"hello",
        whole[: len(whole) // 2],
        whole[:-10],
        pickle.dumps(Evil(), protocol=2),
        pickle.dumps([1], protocol=2),
        b"\x80\x04",
    ]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(UserError) as error:
            read_checkpoint(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)
    torch.save({"model": Evil()}, path)
    with pytest.raises(UserError):
        read_checkpoint(path)
    assert not (tmp_path / "evil").exists()


def test_a_list_is_no_checkpoint(tmp_path: Path) -> None:
    torch.save([1], tmp_path / "a.tar")
    with pytest.raises(UserError, match="holds a list"):
        read_checkpoint(tmp_path / "a.tar")


@pytest.mark.parametrize("content", [{}, {"weight": torch.zeros(2)}, {"model": torch.zeros(2)}])
def test_a_checkpoint_without_a_model_is_named(content: dict, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.tar", content)
    with pytest.raises(UserError, match="a.tar holds no model"):
        read_model(tmp_path / "a.tar")
    save_checkpoint(tmp_path / "a.tar", {"model": {"weight": torch.ones(2)}})
    assert torch.equal(read_model(tmp_path / "a.tar")["weight"], torch.ones(2))


def test_half_precision_only_where_harmless() -> None:
    matrix = torch.tensor([[1.0, 2.0]])
    assert to_half(matrix).dtype == torch.float16
    for tensor in (torch.ones(3), torch.tensor(2.0), torch.tensor([[1e6]]), torch.tensor([[1]])):
        assert to_half(tensor) is tensor


def test_tied_and_strided_tensors_are_written_whole(tmp_path: Path) -> None:
    weight = torch.randn(4, 6).half().float()
    state = {"a": weight, "b": weight, "c": weight.T, "d": weight[:, ::2], "count": torch.tensor(3)}
    save_safetensors(tmp_path / "a.safetensors", state, metadata={"step": "3"})
    read = read_checkpoint(tmp_path / "a.safetensors")
    assert read["metadata"] == {"step": "3"}
    assert all(torch.equal(read["model"][name].to(tensor.dtype), tensor) for name, tensor in state.items())
