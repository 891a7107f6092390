"""What does not fit is refused before an optimiser sees it: a fused step would write into other memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from engine.optimizer_state import checked_moments, checked_scale
from engine.run_state import check_position
from utils.errors import UserError


def state_of(module: torch.nn.Module) -> dict[str, Any]:
    optimizer = torch.optim.AdamW(module.parameters(), fused=True)
    module(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


def test_moments_come_back() -> None:
    module = torch.nn.Linear(3, 2)
    state = state_of(module)
    moments = checked_moments(state, list(module.parameters()), "file")
    assert moments.keys() == state["state"].keys()
    for number, entry in moments.items():
        assert all(torch.equal(value, state["state"][number][name]) for name, value in entry.items())


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda state: state.pop("state"), "no state and param_groups"),
        (lambda state: state.update(param_groups=None), "no state and param_groups"),
        (lambda state: state.update(param_groups=[]), "not of 2 parameters"),
        (lambda state: state.update(param_groups=[3, None]), "not of 2 parameters"),
        (lambda state: state["param_groups"][0].update(params=[0]), "not of 2 parameters"),
        (lambda state: state["param_groups"][0].update(params=[1, 0]), "not of 2 parameters"),
        (lambda state: state["param_groups"][0].update(params=[False, True]), "not of 2 parameters"),
        (lambda state: state["param_groups"][0].update(params=[torch.zeros(4), 1]), "not of 2 parameters"),
        (lambda state: state["param_groups"].append({"params": [2]}), "not of 2 parameters"),
        (lambda state: state["state"].update({5: state["state"][0]}), "knows a parameter 5"),
        (lambda state: state["state"].update({"0": state["state"][0]}), "knows a parameter 0"),
        (lambda state: state["state"].update({0: None}), "parameter 0 lacks"),
        (lambda state: state["state"][0].pop("step"), "parameter 0 lacks"),
        (lambda state: state["state"][0].update(max_exp_avg_sq=torch.zeros(2, 3)), "parameter 0 lacks"),
        (
            lambda state: state["state"][0].update(exp_avg=torch.zeros(3, 2)),
            r"exp_avg of parameter 0: \(3, 2\) instead",
        ),
        (lambda state: state["state"][0].update(exp_avg=torch.zeros(1 << 20)), "exp_avg of parameter 0"),
        (lambda state: state["state"][0].update(exp_avg=[0.0] * 6), "exp_avg of parameter 0: .no tensor"),
        (
            lambda state: state["state"][0].update(exp_avg=torch.zeros(2, 3, dtype=torch.int64)),
            "exp_avg of parameter 0",
        ),
        (lambda state: state["state"][0].update(exp_avg=torch.full((2, 3), torch.nan)), "NaN or infinity"),
        (lambda state: state["state"][1].update(exp_avg_sq=torch.full((2,), torch.inf)), "NaN or infinity"),
        (lambda state: state["state"][1].update(exp_avg_sq=-torch.ones(2)), "exp_avg_sq of parameter 1 is negative"),
        (lambda state: state["state"][0].update(step=torch.tensor(-1.0)), "step of parameter 0 is negative"),
        (lambda state: state["state"][0].update(step=torch.ones(2)), "step of parameter 0"),
        (lambda state: state["state"][0].update(step=3), "step of parameter 0"),
    ],
)
def test_other_states_are_refused(spoil: Callable[[dict[str, Any]], Any], words: str) -> None:
    module = torch.nn.Linear(3, 2)
    state = state_of(module)
    spoil(state)
    with pytest.raises(UserError, match=f"file is not a state of this training: its optimizer does not fit .*{words}"):
        checked_moments(state, list(module.parameters()), "file")


@pytest.mark.parametrize(
    "state",
    [{}, {"scale": 0.0}, {"scale": torch.inf}, {"scale": 2}, {"scale": torch.ones(1)}, {"_growth_tracker": -1},
     {"_growth_tracker": True}, {"_growth_tracker": 1.5}],
)  # fmt: skip
def test_a_scale_is_positive_and_finite(state: dict[str, Any]) -> None:
    good = {"scale": 65536.0, "_growth_tracker": 7, "growth_factor": "not read"}
    assert checked_scale(good, "file") == {"scale": 65536.0, "_growth_tracker": 7}
    with pytest.raises(UserError, match="its scaler does not fit"):
        checked_scale(good | state if state else {}, "file")


def test_a_state_beyond_its_epoch_is_refused() -> None:
    check_position({"batch_in_epoch": 5}, 5, "file")
    with pytest.raises(UserError, match="6 batches into an epoch of 5"):
        check_position({"batch_in_epoch": 6}, 5, "file")
