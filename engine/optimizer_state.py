"""An optimiser's state from a file: what does not fit the parameters is refused before an optimiser sees it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from storage.checkpoint import misfit
from utils.errors import UserError

MOMENTS = ("exp_avg", "exp_avg_sq")
SCALE = ("scale", "_growth_tracker")


def checked_moments(saved: Any, parameters: Sequence[Tensor], source: object) -> dict[int, dict[str, Tensor]]:
    """AdamW's state of each parameter that has one, by its number, laid out as the parameter is.

    Args:
        saved: what the optimiser's `state_dict` was.
        parameters: of the optimiser now, in order.
        source: what the message calls the file.

    Raises:
        UserError: other parameters, shapes or kinds of numbers, NaN or infinity, negative squares or steps.
    """

    def refuse(reason: str) -> UserError:
        return UserError(f"{source} is not a state of this training: its optimizer does not fit ({reason})")

    state, groups = (saved.get(name) if isinstance(saved, Mapping) else None for name in ("state", "param_groups"))
    if not isinstance(state, Mapping) or not isinstance(groups, list):
        raise refuse("it has no state and param_groups")
    given = [group.get("params") if isinstance(group, Mapping) else None for group in groups]
    numbers = [number for each in given if isinstance(each, list) for number in each]
    if any(type(number) is not int for number in numbers) or numbers != list(range(len(parameters))):
        raise refuse(f"it is not of {len(parameters)} parameters")
    moments: dict[int, dict[str, Tensor]] = {}
    for number, entry in state.items():
        if type(number) is not int or not 0 <= number < len(parameters):
            raise refuse(f"it knows a parameter {str(number)[:40]}")
        wanted = {"step": torch.zeros(()), **dict.fromkeys(MOMENTS, parameters[number])}
        if not isinstance(entry, Mapping) or set(entry) != set(wanted):
            raise refuse(f"parameter {number} lacks {', '.join(sorted(wanted))}")
        for name, mine in wanted.items():
            if reason := misfit(mine, entry[name]):
                raise refuse(f"{name} of parameter {number}: {reason}")
            if name != "exp_avg" and bool((entry[name] < 0).any()):
                raise refuse(f"{name} of parameter {number} is negative")
        laid_out = {name: torch.empty_like(parameters[number]).copy_(entry[name]).detach() for name in MOMENTS}
        moments[number] = {"step": entry["step"].float(), **laid_out}
    return moments


def checked_scale(saved: Any, source: object) -> dict[str, Any]:
    """What changes in a gradient scaler's state. Its settings are those of the command.

    Raises:
        UserError: no positive finite scale, or no count of steps.
    """
    scale, steps = (saved.get(name) for name in SCALE)
    if not isinstance(scale, float) or not 0 < scale < math.inf or type(steps) is not int or steps < 0:
        raise UserError(f"{source} is not a state of this training: its scaler does not fit")
    return dict(zip(SCALE, (scale, steps), strict=True))
