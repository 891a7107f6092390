"""Whatever a client sends, only a request within the limits comes through, and the message says what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.specs import get_spec
from options.app import RequestLimits
from pipeline.app.requests import MAX_SEED, MotionRequest, check_request
from utils.errors import UserError

MINI, LIMITS = get_spec("mini"), RequestLimits()
GOOD = {
    "prompt": "a person waves",
    "motion_length": 60,
    "seed": 7,
    "cond_scale": 2.5,
    "time_steps": 10,
    "retrieval": True,
    "motions": 1,
}


def check(**changes: Any) -> MotionRequest:
    return check_request(LIMITS, MINI, GOOD | changes)


def test_a_good_request_comes_through_tidied() -> None:
    assert check() == MotionRequest("a person waves", 60, 7, 2.5, 10, True)
    tidied = check(
        prompt=" a\tperson\n\x00 \ud800waves\u202e ", motion_length=None, seed=7.0, cond_scale=2, time_steps=4.0
    )
    assert tidied == MotionRequest("a person waves", None, 7, 2.0, 4, True)
    assert isinstance(tidied.seed, int) and isinstance(tidied.time_steps, int)
    assert check(prompt="\U0001f3c3" * LIMITS.max_prompt_length).prompt == "\U0001f3c3" * LIMITS.max_prompt_length


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": " \n\x00"}, "the prompt is empty"),
        ({"prompt": "a" * 501}, "the prompt has 501 characters, at most 500 are read"),
        ({"prompt": None}, "the prompt must be text, not nothing"),
        ({"prompt": {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}}, "must be text, not a dict"),
        ({"motion_length": 36}, "the length in frames must be 40 to 120 (2 to 6 s), not 36"),
        ({"motion_length": 121}, "must be 40 to 120"),
        ({"motion_length": float("nan")}, "the length in frames must be a whole number, not nan"),
        ({"motion_length": float("inf")}, "must be a whole number, not inf"),
        ({"motion_length": 60.5}, "must be a whole number, not 60.5"),
        ({"motion_length": "60"}, "must be a whole number, not '60'"),
        ({"motion_length": True}, "must be a whole number, not True"),
        ({"seed": -1}, f"the seed must be 0 to {MAX_SEED}, not -1"),
        ({"seed": MAX_SEED + 1}, "the seed must be"),
        ({"seed": 10**5000}, "the seed must be"),
        ({"seed": None}, "the seed must be a whole number, not nothing"),
        ({"seed": [1]}, "the seed must be a whole number, not a list"),
        ({"cond_scale": float("nan")}, "the guidance must be a number, not nan"),
        ({"cond_scale": float("-inf")}, "the guidance must be a number"),
        ({"cond_scale": 10.5}, "the guidance must be 0 to 10, not 10.5"),
        ({"cond_scale": False}, "the guidance must be a number"),
        ({"time_steps": 0}, "the number of steps must be 1 to 50, not 0"),
        ({"time_steps": 51}, "must be 1 to 50"),
        ({"time_steps": "x" * 10_000}, "the number of steps must be a whole number, not 'xxx"),
        ({"retrieval": "yes"}, "retrieval must be on or off, not 'yes'"),
        ({"retrieval": 1}, "retrieval must be on or off, not 1"),
        ({"motions": 0}, "the number of motions must be 1 to 4, not 0"),
        ({"motions": 5}, "must be 1 to 4"),
        ({"motions": None}, "the number of motions must be a whole number, not nothing"),
    ],
)
def test_bad_values_are_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as refused:
        check(**changes)
    assert message in str(refused.value) and len(str(refused.value)) < 160 and "\n" not in str(refused.value)


def test_several_motions_have_seeds_that_follow_each_other() -> None:
    assert check(motions=3).seeds == [7, 8, 9]
    assert check(motions=3, seed=MAX_SEED).seeds == [MAX_SEED, 0, 1]


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.fixed_dictionaries({name: ANYTHING for name in GOOD}))
def test_whatever_is_sent_the_request_is_within_the_limits_or_refused(values: dict[str, Any]) -> None:
    try:
        request = check_request(LIMITS, MINI, values)
    except UserError:
        return
    assert request.prompt == request.prompt.strip() and request.prompt.isprintable()
    assert 1 <= len(request.prompt) <= LIMITS.max_prompt_length
    assert request.motion_length is None or MINI.min_frames <= request.motion_length <= MINI.max_frames
    assert 0 <= request.seed <= MAX_SEED and 1 <= request.time_steps <= LIMITS.max_time_steps
    assert len(request.seeds) == request.motions <= LIMITS.motions and all(
        0 <= seed <= MAX_SEED for seed in request.seeds
    )
    assert 0 <= request.cond_scale <= LIMITS.max_cond_scale and isinstance(request.retrieval, bool)
