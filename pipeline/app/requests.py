"""What a visitor asks for, checked: a client can send anything, whatever the page's controls allow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from data.specs import DatasetSpec
from options.app import RequestLimits
from utils.errors import UserError

MAX_SEED = 2**31 - 1
Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class MotionRequest:
    """One motion that is wanted.

    Attributes:
        prompt: one line of printable text.
        motion_length: frames, or None: estimated from the prompt.
        seed: of the sampling.
        cond_scale: guidance scale of the base tokens, as the demo's `--cond_scale`; 1: no guidance.
        time_steps: passes of the masked transformer.
        retrieval: False withholds the database.
        motions: how many, each with a seed of its own, the first with `seed`.
    """

    prompt: str
    motion_length: int | None
    seed: int
    cond_scale: float
    time_steps: int
    retrieval: bool
    motions: int = 1

    @property
    def seeds(self) -> list[int]:
        """Of each motion."""
        return [(self.seed + number) % (MAX_SEED + 1) for number in range(self.motions)]


def check_request(limits: RequestLimits, spec: DatasetSpec, values: Mapping[str, Any]) -> MotionRequest:
    """The request, if every value is of its type and within its limits.

    Args:
        values: by the names of the request's attributes.

    Raises:
        UserError: says which value is wrong and what would be right.
    """
    if not isinstance(values["retrieval"], bool):
        raise UserError(f"retrieval must be on or off, not {_shown(values['retrieval'])}")
    length = values["motion_length"]
    if length is not None:
        seconds = f" ({spec.min_frames / spec.format.fps:g} to {spec.max_frames / spec.format.fps:g} s)"
        length = _number("the length in frames", length, spec.min_frames, spec.max_frames, int, seconds)
    return MotionRequest(
        check_text("the prompt", values["prompt"], limits.max_prompt_length),
        length,
        _number("the seed", values["seed"], 0, MAX_SEED, int),
        _number("the guidance", values["cond_scale"], 0, limits.max_cond_scale, float),
        _number("the number of steps", values["time_steps"], 1, limits.max_time_steps, int),
        values["retrieval"],
        _number("the number of motions", values["motions"], 1, limits.motions, int),
    )


def check_text(name: str, text: Any, limit: int) -> str:
    """One line of printable text that describes a motion.

    Raises:
        UserError: it is none, or longer than `limit`; `name` says what it is.
    """
    if not isinstance(text, str):
        raise UserError(f"{name} must be text, not {_shown(text)}")
    if len(text) > limit:
        raise UserError(f"{name} has {len(text)} characters, at most {limit} are read: shorten it")
    # Control characters and halves of surrogate pairs have no place in file names, captions or the tokenizer.
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    if not text:
        raise UserError(f"{name} is empty: describe a motion, for example 'a person waves'")
    return text


def _number(name: str, value: Any, low: float, high: float, kind: type[Number], note: str = "") -> Number:
    proper = float.is_integer if kind is int else math.isfinite
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or (isinstance(value, float) and not proper(value))
    ):
        raise UserError(f"{name} must be a {'whole ' * (kind is int)}number, not {_shown(value)}")
    if not low <= value <= high:
        raise UserError(f"{name} must be {low:.10g} to {high:.10g}{note}, not {_shown(value)}")
    return kind(value)


def _shown(value: Any) -> str:
    """A client's value for a message, cut short. Huge integers have no decimal form that Python would make."""
    if value is None:
        return "nothing"
    if isinstance(value, (bool, str, float)):
        text = repr(value)
    else:
        text = str(value) if isinstance(value, int) and abs(value) < 10**20 else f"a {type(value).__name__}"
    return text if len(text) <= 40 else f"{text[:40]}..."
