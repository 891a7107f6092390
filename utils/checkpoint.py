"""Reading and writing of weights: strict, atomic, and without pickle."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from utils.errors import UserError, listed
from utils.files import atomic_path

HALF_LIMIT = torch.finfo(torch.float16).max
LISTED_NAMES = 6


def _misfit(mine: Tensor, given: Any) -> str:
    """Why `given` cannot take the place of `mine`; "" if it can."""
    if not isinstance(given, Tensor):
        return "(no tensor)"
    if given.shape != mine.shape:
        return f"{tuple(given.shape)} instead of {tuple(mine.shape)}"
    if given.is_floating_point() != mine.is_floating_point():
        return f"{given.dtype} instead of {mine.dtype}"
    return ""


def _upgraded(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` with what files of former versions lack, as the module's parts that offer `upgrade_state` complete it."""
    state = dict(state)
    for name, part in module.named_modules():
        if hasattr(part, "upgrade_state"):
            part.upgrade_state(state, f"{name}." if name else "")
    return state


def load_state(module: nn.Module, state: Mapping[str, Tensor], source: Path | str) -> None:
    """Copies `state` into `module`; every name and every shape must fit.

    Args:
        module: what is filled. It stays as it is when the state does not fit.
        state: name -> tensor; half precision is widened to the module's own.
        source: what error messages call the state, usually the file.

    Raises:
        UserError: missing or unexpected names, other shapes, or integers in place of real numbers; they are named.
    """
    state, own = _upgraded(module, state), module.state_dict()
    problems = []
    if missing := [name for name in own if name not in state]:
        problems.append(f"lacks {listed(missing, ', ', LISTED_NAMES)}")
    if unexpected := [name for name in state if name not in own]:
        problems.append(f"has unexpected {listed(unexpected, ', ', LISTED_NAMES)}")
    both = {name: mine for name, mine in own.items() if name in state and isinstance(mine, Tensor)}
    shapes = [f"{name} {reason}" for name, mine in both.items() if (reason := _misfit(mine, state[name]))]
    if shapes:
        problems.append(f"does not fit in {listed(shapes, ', ', LISTED_NAMES)}")
    if problems:
        raise UserError(f"{source} is not a state of this {type(module).__name__}: it {'; '.join(problems)}")
    module.load_state_dict(state, strict=True)


def fitting(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The part of `state` that `module` can take: parameters by name and shape, buffers of a submodule only together.

    Half of a submodule's buffers, say a flag that its other half is in use, would contradict the rest.
    """
    state, own = _upgraded(module, state), module.state_dict()
    parameters = dict(module.named_parameters(remove_duplicate=False))
    fits = {name: name in state and not _misfit(mine, state[name]) for name, mine in own.items()}
    owner = {name: name.rpartition(".")[0] for name in own}
    broken = {owner[name] for name in own if name not in parameters and not fits[name]}
    return {name: state[name] for name in own if fits[name] and (name in parameters or owner[name] not in broken)}


def save_checkpoint(path: Path | str, content: dict[str, Any], former: Path | None = None) -> None:
    """`torch.save`, atomically: an interrupted write leaves the old file, and so does a machine that goes down.

    Args:
        former: where the old file is kept, see `atomic_path`.
    """
    with atomic_path(path, former) as temporary, open(temporary, "wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())


def read_checkpoint(path: Path | str) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU.

    Returns:
        of a `.safetensors` file `{"model": name -> tensor, "metadata": str -> str}`, of any other the saved dictionary
        (those of the training harness hold the model's state under "model" as well).

    Raises:
        UserError: missing, truncated, or not a checkpoint that can be read without running code from it.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
                return {"model": state, "metadata": file.metadata() or {}}
        content = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise UserError(f"checkpoint {path} cannot be read: {error.strerror}") from error
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} is no checkpoint, or one that holds Python objects: it is not loaded") from error
    except Exception as error:  # damaged bytes raise whatever the reader stumbles over
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"checkpoint {path} is truncated or not a checkpoint: {reason}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is no checkpoint: it holds a {type(content).__name__}")
    return content


def read_model(path: Path | str) -> Mapping[str, Tensor]:
    """The model's state in a checkpoint of a run.

    Raises:
        UserError: as `read_checkpoint`, or the file holds no model.
    """
    return model_of(read_checkpoint(path), path)


def model_of(checkpoint: Mapping[str, Any], source: Path | str) -> Mapping[str, Tensor]:
    """The model's state in what `read_checkpoint` gave.

    Raises:
        UserError: there is none.
    """
    state = checkpoint.get("model")
    if not isinstance(state, Mapping):
        raise UserError(f"{source} holds no model: it is not a checkpoint of a training run")
    return state


def to_half(tensor: Tensor) -> Tensor:
    """Half precision where it is harmless: vectors (statistics, biases, norms) are small and sensitive and stay as they
    are, so do integers and tensors with values beyond half precision's range."""
    if tensor.dtype != torch.float32 or tensor.ndim < 2 or bool((tensor.abs() > HALF_LIMIT).any()):
        return tensor
    return tensor.half()


def save_safetensors(path: Path | str, state: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes `state` as a `.safetensors` file, atomically, in half precision where `to_half` allows it.

    Args:
        path: the file.
        state: name -> tensor; tied tensors are written once for each name.
        metadata: text kept in the file's header.
    """
    tensors = {name: to_half(tensor.detach().cpu()).clone().contiguous() for name, tensor in state.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, dict(metadata or {}))
