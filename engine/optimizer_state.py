"""An optimiser's state from a file: what does not fit the parameters is refused before an optimiser sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from utils.errors import UserError

MOMENTS = ("exp_avg", "exp_avg_sq")


def checked_moments(saved: Any, parameters: Sequence[Tensor], source: object) -> dict[int, dict[str, Tensor]]:
    """AdamW's state of each parameter that has one, by its number, laid out as the parameter is.

    Args:
        saved: what the optimiser's `state_dict` was.
        parameters: of the optimiser now, in order.
        source: what the message calls the file.

    Raises:
        UserError: other parameters, shapes or kinds of numbers.
    """

    def refuse(reason: str) -> UserError:
        return UserError(f"{source} is not a state of this training: its optimizer does not fit ({reason})")

    state, groups = (saved.get(name) if isinstance(saved, Mapping) else None for name in ("state", "param_groups"))
    if not isinstance(state, Mapping) or not isinstance(groups, list):
        raise refuse("it has no state and param_groups")
    numbers = [group.get("params") if isinstance(group, Mapping) else None for group in groups]
    if any(not isinstance(each, list) for each in numbers) or sum(numbers, []) != list(range(len(parameters))):
        raise refuse(f"it is not of {len(parameters)} parameters")
    moments: dict[int, dict[str, Tensor]] = {}
    for number, entry in state.items():
        if type(number) is not int or not 0 <= number < len(parameters):
            raise refuse(f"it knows a parameter {str(number)[:40]}")
        parameter, wanted = parameters[number], {"step", *MOMENTS}
        if not isinstance(entry, Mapping) or set(entry) != wanted:
            raise refuse(f"parameter {number} lacks {', '.join(sorted(wanted))}")
        for name, value in entry.items():
            shape = parameter.shape if name in MOMENTS else torch.Size()
            if not isinstance(value, Tensor) or value.shape != shape or not value.is_floating_point():
                raise refuse(f"{name} of parameter {number} is no tensor of shape {tuple(shape)}")
        laid_out = {name: torch.empty_like(parameter).copy_(entry[name]).detach() for name in MOMENTS}
        moments[number] = {"step": entry["step"].clone(), **laid_out}
    return moments
