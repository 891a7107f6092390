"""Reading and writing of weights: strict, atomic, and without pickle."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from storage.checkpoint_names import EXPORT_SUFFIX
from storage.files import atomic_path
from storage.pickles import MOST_NAME, reason_of
from storage.tensor_files import read_tensors, write_tensors
from storage.torch_files import read_torch
from utils.errors import UserError, listed

HALF_LIMIT = torch.finfo(torch.float16).max
LISTED_NAMES, MOST_LISTED = 6, 100


def misfit(mine: Tensor, given: Any) -> str:
    """Why `given` cannot take the place of `mine`; "" if it can."""
    if not isinstance(given, Tensor):
        return "(no tensor)"
    if given.shape != mine.shape:
        return f"{tuple(given.shape)} instead of {tuple(mine.shape)}"
    if given.is_floating_point() != mine.is_floating_point():
        return f"{given.dtype} instead of {mine.dtype}"
    return "" if is_finite(given) else "(NaN or infinity)"


def is_finite(tensor: Tensor) -> bool:
    """Whether a tensor holds neither NaN nor infinity: both show in its extremes, which cost one look."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    return bool(torch.stack(torch.aminmax(tensor)).isfinite().all())


def named_tensors(state: Any, source: object) -> Mapping[str, Tensor]:
    """`state`, if it is one: name -> tensor.

    Raises:
        UserError: something else; `source` is named.
    """
    if not isinstance(state, Mapping):
        raise UserError(f"{source} holds no tensors by name")
    for name, value in state.items():
        if not isinstance(name, str) or len(name) > MOST_NAME or not isinstance(value, Tensor):
            raise UserError(f"{source} holds something else than tensors by name: {str(name)[:60]!r}")
    return state


def _upgraded(module: nn.Module, state: Mapping[str, Tensor], source: object) -> dict[str, Tensor]:
    """`state` with what files of former versions lack, as the module's parts that offer `upgrade_state` complete it."""
    upgraded = dict(named_tensors(state, source))
    try:
        for name, part in module.named_modules():
            if hasattr(part, "upgrade_state"):
                part.upgrade_state(upgraded, f"{name}." if name else "")
    except (IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{source} is not a state of this {type(module).__name__}: {reason_of(error)}") from error
    return upgraded


def load_state(module: nn.Module, state: Mapping[str, Tensor], source: Path | str) -> None:
    """Copies `state` into `module`; every name and every shape must fit.

    Args:
        module: what is filled. It stays as it is when the state does not fit. Made on the device "meta", it gets its
            memory, on the CPU, only when the state does.
        state: name -> tensor; half precision is widened to the module's own.
        source: what error messages call the state, usually the file.

    Raises:
        UserError: missing or unexpected names, other shapes, integers in place of real numbers, or NaN and infinity;
            they are named.
    """
    state, own = _upgraded(module, state, source), module.state_dict()
    problems = []
    if missing := [name for name in own if name not in state]:
        problems.append(f"lacks {listed(missing, ', ', LISTED_NAMES)}")
    if unexpected := [name[:MOST_LISTED] for name in state if name not in own]:
        problems.append(f"has unexpected {listed(unexpected, ', ', LISTED_NAMES)}")
    both = {name: mine for name, mine in own.items() if name in state and isinstance(mine, Tensor)}
    shapes = [f"{name} {reason}" for name, mine in both.items() if (reason := misfit(mine, state[name]))]
    if shapes:
        problems.append(f"does not fit in {listed(shapes, ', ', LISTED_NAMES)}")
    if problems:
        raise UserError(f"{source} is not a state of this {type(module).__name__}: it {'; '.join(problems)}")
    if any(mine.is_meta for mine in own.values()):
        module.to_empty(device="cpu")
    module.load_state_dict(state, strict=True)


def fitting(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The part of `state` that `module` can take: parameters by name and shape, buffers of a submodule only together.

    Half of a submodule's buffers, say a flag that its other half is in use, would contradict the rest.
    """
    state, own = _upgraded(module, state, "the state"), module.state_dict()
    parameters = dict(module.named_parameters(remove_duplicate=False))
    fits = {name: name in state and not misfit(mine, state[name]) for name, mine in own.items()}
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


def read_checkpoint(path: Path | str, values: bool = True) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU, within limits and compared with its checksums.

    Args:
        values: False reads only what there is: tensors of a `.tar` are on the device "meta".

    Returns:
        of a `.safetensors` file `{"model": name -> tensor, "metadata": str -> str}`, of any other the saved dictionary
        (those of the training harness hold the model's state under "model" as well).

    Raises:
        UserError: missing, truncated, damaged, or not a checkpoint that can be read without running code from it.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist")
    try:
        if path.suffix == EXPORT_SUFFIX:
            state, metadata = read_tensors(path, "pt")
            return {"model": state, "metadata": metadata}
        content = read_torch(path, values)
    except UserError as error:
        raise UserError(f"checkpoint {error}") from error
    except PermissionError as error:
        raise UserError(f"checkpoint {path} cannot be read: {error.strerror}") from error
    except Exception as error:  # damaged bytes raise whatever the reader stumbles over
        raise UserError(f"checkpoint {path} is truncated or not a checkpoint: {reason_of(error)}") from error
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
        UserError: there is none, or it is none.
    """
    if not isinstance(checkpoint.get("model"), Mapping):
        raise UserError(f"{source} holds no model: it is not a checkpoint of a training run")
    return named_tensors(checkpoint["model"], f"{source}: its model")


def to_half(tensor: Tensor) -> Tensor:
    """Half precision where it is harmless: vectors (statistics, biases, norms) are small and sensitive and stay as they
    are, so do integers and tensors with values beyond half precision's range."""
    if tensor.dtype != torch.float32 or tensor.ndim < 2 or bool((tensor.abs() > HALF_LIMIT).any()):
        return tensor
    return tensor.half()


def save_safetensors(path: Path | str, state: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes `state` as a `.safetensors` file with a checksum, atomically, in half precision where `to_half` allows it.

    Args:
        path: the file.
        state: name -> tensor; tied tensors are written once for each name.
        metadata: text kept in the file's header.
    """
    tensors = {name: to_half(tensor.detach().cpu()).clone().contiguous() for name, tensor in state.items()}
    write_tensors(path, tensors, save_file, metadata)
