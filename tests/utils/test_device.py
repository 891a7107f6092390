"""--gpu_id: a GPU that is not there is a warning and the CPU."""

from __future__ import annotations

import pytest
import torch

from utils.device import choose_device, parse_gpu_id, usable_gpus
from utils.errors import UserError


@pytest.fixture(params=[0, 2])
def gpus(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: request.param)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param > 0)
    return request.param


@pytest.mark.parametrize(("text", "numbers"), [("-1", []), (-1, []), ("0", [0]), (3, [3]), ("0,1,5", [0, 1, 5])])
def test_parse(text: str | int, numbers: list[int]) -> None:
    assert parse_gpu_id(text) == numbers


@pytest.mark.parametrize("text", ["", "cuda", "0,", "0,-1", "-2", "1,1", "0.5"])
def test_parse_refuses(text: str) -> None:
    with pytest.raises(UserError, match="--gpu_id must look like auto, -1, 0 or 0,1,2"):
        parse_gpu_id(text)


def test_missing_gpus_warn_in_one_line(gpus: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert usable_gpus("1,4") == ([1] if gpus else [])
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and message.startswith("warning: ")
    assert ("no GPUs found, GPU 1,4 is missing: using the CPU" if not gpus else "2 GPUs found, GPU 4") in message
    assert usable_gpus("-1") == [] and capsys.readouterr().err == ""


def test_choose(gpus: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert choose_device("-1") == choose_device(-1) == torch.device("cpu")
    assert choose_device() == torch.device("cuda:0" if gpus else "cpu") and capsys.readouterr().err == ""
    assert choose_device("1") == torch.device("cuda:1" if gpus else "cpu")
    assert choose_device("7") == torch.device("cpu")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device("0,1") == torch.device("cuda:1" if gpus else "cpu")
