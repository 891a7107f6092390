"""What a training goes on with, looked at before any of it is taken: an optimiser believes whatever it is given.

A fused step writes where shapes say, and a moment of another shape would overwrite other memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from utils.checkpoint import misfit
from utils.errors import UserError

MOMENTS = ("exp_avg", "exp_avg_sq")
MOST_STEPS = 1 << 53


def load_optimizer(optimizer: Any, state: Any, source: object) -> None:
    """Fills an AdamW with the moments that it had. Its settings stay: they are the config's, not the file's.

    Args:
        optimizer: or one that is wrapped for several processes; as it is when the state does not fit.
        state: what its `state_dict` gave.
        source: the file, for messages.

    Raises:
        UserError: other groups or parameters, moments of other shapes or kinds or not finite, impossible settings.
    """
    own = optimizer.state_dict()["param_groups"]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if reason := _groups_misfit(own, state) or _moments_misfit(parameters, state["state"]):
        raise UserError(f"{source} is not a state of this training: its optimizer does not fit ({reason})")
    optimizer.load_state_dict({"state": state["state"], "param_groups": own})


def _groups_misfit(own: list[dict[str, Any]], state: Any) -> str:
    """Why the groups of a state are not those of the optimiser; "" if they are."""
    groups = state.get("param_groups") if isinstance(state, Mapping) else None
    if not isinstance(groups, list) or not isinstance(state.get("state"), Mapping):
        return "it lacks state or param_groups"
    if len(groups) != len(own):
        return f"{len(groups)} groups of parameters instead of {len(own)}"
    for number, (mine, given) in enumerate(zip(own, groups, strict=True)):
        if not isinstance(given, Mapping) or given.get("params") != mine["params"]:
            return f"group {number} is of other parameters"
        for name, value in mine.items():
            told = given.get(name, value)
            if None not in (told, value) and (type(told) is not type(value) or not _numbers_finite(told)):
                return f"group {number} has an impossible {name}"
    return ""


def _numbers_finite(value: Any) -> bool:
    each = value if isinstance(value, (list, tuple)) else [value]
    return all(isinstance(number, (int, float)) and math.isfinite(number) for number in each)


def _moments_misfit(parameters: list[Tensor], state: Mapping[Any, Any]) -> str:
    """Why the moments of a state are not those of the parameters, which are counted from 0; "" if they are."""
    count = torch.zeros(())
    for number, moments in state.items():
        if type(number) is not int or not 0 <= number < len(parameters):
            return f"there is no parameter {str(number)[:20]}"
        if not isinstance(moments, Mapping) or set(moments) != {"step", *MOMENTS}:
            return f"parameter {number} has not the moments of AdamW"
        for name in ("step", *MOMENTS):
            mine, given = count if name == "step" else parameters[number], moments[name]
            if reason := misfit(mine, given) or ("" if given.dtype == mine.dtype else f"{given.dtype}"):
                return f"{name} of parameter {number}: {reason}"
        if not 0 <= moments["step"] <= MOST_STEPS or bool((moments["exp_avg_sq"] < 0).any()):
            return f"parameter {number} has negative steps or squares"
    return ""


def load_scaler(scaler: Any, state: Mapping[str, Any], source: object) -> None:
    """Gives a gradient scaler the scale that it had; what it does with it stays its own.

    Raises:
        UserError: no positive finite scale, or no count of steps.
    """
    scale, steps = state.get("scale"), state.get("_growth_tracker")
    if (
        not isinstance(scale, float)
        or not 0 < scale < math.inf
        or type(steps) is not int
        or not 0 <= steps <= MOST_STEPS
    ):
        raise UserError(f"{source} is not a state of this training: its gradient scaler does not fit")
    scaler.load_state_dict({**scaler.state_dict(), "scale": scale, "_growth_tracker": steps})


def check_position(checkpoint: Mapping[str, Any], steps_per_epoch: int, source: object) -> None:
    """What a state says of where it is, and of what was best.

    Raises:
        UserError: counts that no training of such epochs has, or values that none can be best by.
    """
    counts = {name: checkpoint[name] for name in ("step", "epoch", "batch_in_epoch")}
    for name, count in counts.items():
        if type(count) is not int or not 0 <= count <= min(checkpoint["step"], MOST_STEPS):
            raise UserError(f"{source} is not a state of this training: {name} is {str(count)[:20]}")
    if counts["batch_in_epoch"] > steps_per_epoch:
        raise UserError(
            f"{source} is {counts['batch_in_epoch']} batches into an epoch, which has {steps_per_epoch}: it is a state"
            " of other data, another batch size or another number of processes"
        )
    for name, value in checkpoint["best"].items():
        if not isinstance(name, str) or isinstance(value, bool) or not isinstance(value, (int, float)):
            raise UserError(f"{source} is not a state of this training: its best {str(name)[:60]} is no number")
        if not math.isfinite(value):
            raise UserError(f"{source} is not a state of this training: its best {name[:60]} is not finite")
