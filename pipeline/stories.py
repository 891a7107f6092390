"""Stories: prompts with their times and body parts -> one motion of any length, as a whole or piece by piece.

Letters: T frames, N token steps, D feature columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.configs import SamplingSettings
from models.vq.tokenise import decode_motions
from pipeline.composition import Canvas, Composer, Span
from pipeline.text_to_motion import Motion, TextToMotion
from utils import quaternion
from utils.errors import UserError, listed
from utils.facing import yaw_quaternion
from utils.motion_format import MotionFormat
from utils.representation import features_to_joints, root_trajectory
from utils.splicing import SEAM_SECONDS, joined

LINE = re.compile(r"(?P<start>[\d.]+)\s*-\s*(?P<end>[\d.]+)\s*s?\s+(?:\[(?P<parts>[^\]]*)\]\s*)?(?P<text>\S.*)")
GROUPS = {"arms": ("arm",), "legs": ("leg",), "upper_body": ("arm", "head"), "lower_body": ("leg", "spine")}
LONGEST_STORY = 3600.0  # seconds
LOOK_AHEAD = 4  # steps that must be known behind a piece before it is decoded
LOOK_BACK = 12  # steps that are decoded again before it

Scene = tuple[float, float, str] | tuple[float, float, str, str]


@dataclass(frozen=True)
class Story:
    """Prompts on a time line.

    Attributes:
        spans: in token steps.
        frames: of the whole.
    """

    spans: tuple[Span, ...]
    frames: int

    @property
    def text(self) -> str:
        """All prompts in one line."""
        return "; ".join(span.text for span in self.spans)


def part_rows(names: str, form: MotionFormat) -> tuple[int, ...]:
    """Rows of the token grid of body parts and groups of them, with commas between their names.

    Raises:
        UserError: there is no such part.
    """
    known = [name for name, _ in form.parts]
    rows: set[int] = set()
    for name in filter(None, (each.strip().lower().replace(" ", "_") for each in names.split(","))):
        ends = GROUPS.get(name, ())
        found = [row for row, part in enumerate(known) if part == name or part.endswith(ends or "\0")]
        if not found:
            raise UserError(f"no body part is called {name!r}: there are {listed([*known, *GROUPS])}")
        rows.update(found)
    if not rows:
        raise UserError(f"no body part is named: there are {listed([*known, *GROUPS])}")
    return tuple(sorted(rows))


def read_story(text: str, form: MotionFormat) -> Story:
    """Lines of `START-END [parts] prompt`, times in seconds; # starts a comment.

        0-4 a person walks forward
        3-6 [arms] waves the right hand

    Raises:
        UserError: as `make_story`, or a line is none; it is named by its number.
    """
    scenes, lines = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if line := line.partition("#")[0].strip():
            found = LINE.fullmatch(line)
            if not found:
                raise UserError(f"line {number} is not `START-END [parts] prompt`, times in seconds: {line[:60]!r}")
            scenes.append(
                (found["start"], found["end"], found["text"], *([found["parts"]] if found["parts"] is not None else []))
            )
            lines.append(f"line {number}")
    return make_story(scenes, form, lines)


def make_story(scenes: Sequence[Scene], form: MotionFormat, names: Sequence[str] = ()) -> Story:
    """Scenes (start, end, prompt[, parts]), times in seconds, in the order of their times.

    Args:
        names: what the scenes are called where one is refused.

    Raises:
        UserError: nothing is told, a time is none or before that of the scene before, two scenes are about the same
            part at once, a part is unknown, or nothing is said of the whole body.
    """
    names = names or [f"scene {number}" for number in range(1, len(scenes) + 1)]
    if not scenes:
        raise UserError("the story is empty: give lines such as `0-4 a person walks forward`")
    unit, spans = form.unit_length / form.fps, list[Span]()
    for name, (start, end, text, *parts) in zip(names, scenes, strict=True):
        try:
            times = float(start), float(end)
            rows = part_rows(parts[0], form) if parts else None
        except ValueError:
            raise UserError(f"{name}: {start}-{end} are no times in seconds") from None
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
        if not 0 <= times[0] < times[1] < LONGEST_STORY:
            raise UserError(f"{name}: {times[0]:g}-{times[1]:g} s is no stretch of time: it ends after it starts")
        if not str(text).strip():
            raise UserError(f"{name}: the prompt is empty")
        first, last = (round(time / unit) for time in times)
        if first == last:
            raise UserError(f"{name}: {times[0]:g}-{times[1]:g} s is shorter than {unit:g} s")
        span = Span(" ".join(str(text).split()), first, last, rows)
        for other, (former, (begin, finish, *_)) in zip(spans, zip(names, scenes, strict=False), strict=False):
            both = (span.parts is None) == (other.parts is None)
            shared = both and (rows is None or set(rows) & set(other.parts))
            if shared and span.start < other.end:
                word = "overlaps" if span.end > other.start else "comes before"
                raise UserError(
                    f"{name}: {times[0]:g}-{times[1]:g} s {word} {former}, {begin}-{finish} s, about the same part"
                )
        spans.append(span)
    whole = [span.end for span in spans if span.parts is None]
    if not whole:
        raise UserError("the story says nothing of the whole body: give a line without [parts]")
    for name, span in zip(names, spans, strict=True):
        if span.end > max(whole):
            raise UserError(f"{name}: it goes on after the story's end at {max(whole) * unit:g} s")
    return Story(tuple(spans), max(whole) * form.unit_length)


def stream(
    t2m: TextToMotion,
    story: Story,
    seed: int = 0,
    sampling: SamplingSettings | None = None,
    retrieval: bool = True,
) -> Iterator[Motion]:
    """The story's motion piece by piece, each as soon as it is made; the memory does not grow with the length.

    Pieces follow one another in the same world: put together they are one motion.
    """
    levels = 1 if t2m.residual is None else t2m.residual.num_quantizers
    steps = story.frames // t2m.spec.format.unit_length
    canvas = Canvas.of(story.spans, steps, t2m.vq.n_parts, levels)
    composer, pieces = Composer(t2m, canvas, seed, sampling, retrieval), Pieces(t2m, canvas)
    for known in composer.steps():
        rows = pieces.upto(known if known == steps else known - LOOK_AHEAD)
        if rows is not None:
            told = tuple(each for found in composer.found.values() for each in found)
            composer.found.clear()
            yield Motion(story.text, t2m.spec.format.fps, *rows, tuple(each[:3] for each in told), seed, None, told)


def whole_story(pieces: Iterable[Motion]) -> Motion:
    """The motion of all pieces of a `stream`."""
    first, *others = pieces
    features, joints = (
        np.concatenate([getattr(each, name) for each in (first, *others)]) for name in ("features", "joints")
    )
    found = tuple(dict.fromkeys(one for each in (first, *others) for one in each.found))
    return replace(first, features=features, joints=joints, found=found, retrieved=tuple(one[:3] for one in found))


class Pieces:
    """A canvas decoded piece by piece, each with some steps on both sides, and led on from the piece before."""

    def __init__(self, t2m: TextToMotion, canvas: Canvas) -> None:
        self.vq, self.form, self.canvas = t2m.vq, t2m.spec.format, canvas
        self.steps, self.frames = 0, 0
        self.rows = np.zeros((0, self.form.n_features), np.float32)  # the last features, as they were given away
        self.turn, self.place = 0.0, np.zeros(3)  # of the last frame

    def upto(self, end: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Features (T, D) and joints (T, J, 3) from where the last piece ended to step `end`; None: nothing is new."""
        if end <= self.steps:
            return None
        first, last = max(self.steps - LOOK_BACK, 0), min(end + LOOK_AHEAD, len(self.canvas.known))
        codes = self.canvas.codes[first:last][None].to(self.vq.normalizer.mean.device)
        made = decode_motions(self.vq, codes, np.array([last - first]))[0]
        unit = self.form.unit_length
        start, stop = (self.steps - first) * unit, (end - first) * unit
        old = np.concatenate([self.rows[len(self.rows) - start :], made[start:]])
        made[start:] = (
            joined(old, made, start, len(made), round(SEAM_SECONDS * self.form.fps)) if start else made[start:]
        )
        rows = made[start:stop]
        joints = self._placed(np.concatenate([self.rows[-1:], rows]))[-len(rows) :]
        self.rows = np.concatenate([self.rows, rows])[-LOOK_BACK * unit :]
        self.steps, self.frames = end, self.frames + len(rows)
        return rows, joints

    def _placed(self, rows: np.ndarray) -> np.ndarray:
        """Joints of features (T, D), of which the first is the frame that was placed last, if there was one."""
        turned = yaw_quaternion(np.array(self.turn))
        joints = quaternion.rotate(turned, features_to_joints(rows, self.form).astype(np.float64)) + self.place
        rotation, _ = root_trajectory(rows, self.form)
        self.turn -= 2 * float(np.arctan2(rotation[-1, 2], rotation[-1, 0]))
        self.place = joints[-1, 0] * [1.0, 0.0, 1.0]
        return joints.astype(np.float32)
