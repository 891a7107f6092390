"""What a visitor asks for, checked: a client can send anything, whatever the page's controls allow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from data.specs import DatasetSpec
from options.app import RequestLimits
from pipeline.stories import GROUPS, Story, make_story
from storage.files import parse_json
from utils.errors import UserError
from utils.motion_format import MotionFormat

MAX_SEED = 2**31 - 1
LONGEST_TITLE = 160
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
    def title(self) -> str:
        """What it is called."""
        return self.prompt

    @property
    def seeds(self) -> list[int]:
        """Of each motion."""
        return [(self.seed + number) % (MAX_SEED + 1) for number in range(self.motions)]


StoryScene = tuple[float, float, str, str]  # start and end in seconds, body parts or "", prompt


@dataclass(frozen=True)
class StoryRequest(MotionRequest):
    """A story that is wanted; prompt and length are those of the whole.

    Attributes:
        scenes: as the visitor listed them.
        story: the same, checked.
    """

    scenes: tuple[StoryScene, ...] = field(kw_only=True)
    story: Story = field(kw_only=True)

    @property
    def title(self) -> str:
        """The first prompts: all of them may be very long."""
        return self.prompt if len(self.prompt) <= LONGEST_TITLE else f"{self.prompt[:LONGEST_TITLE]}..."


@dataclass(frozen=True)
class EditRequest(MotionRequest):
    """A change of an earlier result.

    Attributes:
        source: the result's token, and which of its motions.
        section: (start, end) seconds of what is drawn; beyond its ends the motion goes on, or begins earlier.
        parts: body parts that are drawn; "": all.
        strength: share of what could be drawn that is.
        source_title, source_seconds: of what is changed, as far as it was found.
    """

    source: tuple[str, int] = field(kw_only=True)
    section: tuple[float, float] = field(kw_only=True)
    parts: str = field(kw_only=True)
    strength: float = field(kw_only=True)
    source_title: str = field(default="", kw_only=True)
    source_seconds: float = field(default=0.0, kw_only=True)


def check_request(limits: RequestLimits, spec: DatasetSpec, values: Mapping[str, Any]) -> MotionRequest:
    """The request, if every value is of its type and within its limits.

    Args:
        values: by the names of the request's attributes.

    Raises:
        UserError: says which value is wrong and what would be right.
    """
    sampling = _sampling(limits, values)
    length = values["motion_length"]
    if length is not None:
        seconds = f" ({spec.min_frames / spec.format.fps:g} to {spec.max_frames / spec.format.fps:g} s)"
        length = _number("the length in frames", length, spec.min_frames, spec.max_frames, int, seconds)
    return MotionRequest(
        check_text("the prompt", values["prompt"], limits.max_prompt_length),
        length,
        **sampling,
        motions=_number("the number of motions", values["motions"], 1, limits.motions, int),
    )


def check_story(limits: RequestLimits, form: MotionFormat, values: Mapping[str, Any]) -> StoryRequest:
    """As `check_request` with `scenes`: a JSON list of [start, end, parts, prompt].

    Raises:
        UserError: that is about a scene begins with its place in the list, `scene 2: `.
    """
    sampling, scenes = _sampling(limits, values), _scenes(limits, form, values["scenes"])
    # Scenes may be told in any order.
    order = sorted(range(len(scenes)), key=lambda number: scenes[number][:2])
    ordered = (scenes[number] for number in order)
    told = [(f"{start:g}", f"{end:g}", text, *([parts] if parts else [])) for start, end, parts, text in ordered]
    story = make_story(told, form, [f"scene {number + 1}" for number in order])
    return StoryRequest(story.text, story.frames, **sampling, scenes=scenes, story=story)


def check_edit(limits: RequestLimits, form: MotionFormat, values: Mapping[str, Any]) -> EditRequest:
    """As `check_request` with `source`, the token of a result and which of its motions, `TOKEN/0`, and `start`, `end`,
    `parts` and `strength` of what is drawn.

    Raises:
        UserError: as `check_request`.
    """
    token, slash, number = values["source"].partition("/") if isinstance(values["source"], str) else ("", "", "")
    if not slash or number not in map(str, range(limits.motions)):
        raise UserError("nothing is chosen to be changed: make a motion, or choose a file")
    most = limits.seconds
    start = _number("the start in seconds", values["start"], -most, most, float)
    end = _number("the end in seconds", values["end"], -most, most, float)
    if start >= end:
        raise UserError(f"{start:g} to {end:g} s: what is drawn ends after it starts")
    return EditRequest(
        check_text("the prompt", values["prompt"], limits.max_prompt_length),
        None,
        **_sampling(limits, values),
        source=(token, int(number)),
        section=(start, end),
        parts=_parts(form, values["parts"]),
        strength=_number("the strength", values["strength"], 0, 1, float),
    )


def part_choices(form: MotionFormat) -> list[str]:
    """Groups of body parts and the parts, as far as the skeleton has them; the whole body is the empty word."""
    names = [name for name, _ in form.parts]
    has = [group for group, ends in GROUPS.items() if any(name.endswith(ends) for name in names)]
    return ["", *has, *names]


def _sampling(limits: RequestLimits, values: Mapping[str, Any]) -> dict[str, Any]:
    """What all requests have."""
    if not isinstance(values["retrieval"], bool):
        raise UserError(f"retrieval must be on or off, not {_shown(values['retrieval'])}")
    return {
        "seed": _number("the seed", values["seed"], 0, MAX_SEED, int),
        "cond_scale": _number("the guidance", values["cond_scale"], 0, limits.max_cond_scale, float),
        "time_steps": _number("the number of steps", values["time_steps"], 1, limits.max_time_steps, int),
        "retrieval": values["retrieval"],
    }


def _scenes(limits: RequestLimits, form: MotionFormat, text: Any) -> tuple[StoryScene, ...]:
    try:
        scenes = parse_json(text.encode(), "the story")
    except (AttributeError, UnicodeEncodeError, UserError) as error:
        raise UserError("the story cannot be read") from error
    if not isinstance(scenes, list) or not all(isinstance(each, list) and len(each) == 4 for each in scenes):
        raise UserError("the story must be a list of scenes")
    if not scenes:
        raise UserError("the story is empty: add a scene")
    if len(scenes) > limits.scenes:
        raise UserError(f"the story has {len(scenes)} scenes, at most {limits.scenes} are told")
    checked = []
    for number, (start, end, parts, prompt) in enumerate(scenes, 1):
        try:
            checked.append(
                (
                    round(_number("the start in seconds", start, 0, limits.seconds, float), 2),
                    round(_number("the end in seconds", end, 0, limits.seconds, float), 2),
                    _parts(form, parts),
                    check_text("the prompt", prompt, limits.max_prompt_length),
                )
            )
        except UserError as error:
            raise UserError(f"scene {number}: {error}") from error
    return tuple(checked)


def _parts(form: MotionFormat, parts: Any) -> str:
    choices = part_choices(form)
    if not isinstance(parts, str) or parts not in choices:
        raise UserError(f"no body part is called {_shown(parts)}: there are {', '.join(choices[1:])}")
    return parts


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
