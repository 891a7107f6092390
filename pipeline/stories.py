"""Stories: prompts with their times and body parts -> one motion of any length, as a whole or piece by piece.

Letters: T frames, N token steps, D feature columns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from models.configs import SamplingSettings
from models.vq.tokenise import decode_motions, tokenise
from pipeline.composition import Canvas, Composer, Span
from pipeline.constraints import Constraints, keep_trunk
from pipeline.motion import Motion, retrieved_of
from pipeline.text_to_motion import TextToMotion
from utils import quaternion
from utils.errors import UserError
from utils.facing import yaw_quaternion
from utils.motion_format import MotionFormat
from utils.representation import features_to_joints, padded_features
from utils.splicing import SEAM_SECONDS, joined

LINE = re.compile(r"(?P<start>[\d.]+)\s*-\s*(?P<end>[\d.]+)\s*s?\s+(?:\[(?P<parts>[^\]]*)\]\s*)?(?P<text>[^\[\s].*)")
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
        frames: of the whole; the last token step may be cut.
    """

    spans: tuple[Span, ...]
    frames: int

    @property
    def steps(self) -> int:
        """N."""
        return -(-self.frames // MotionFormat.unit_length)

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
            raise UserError(f"no body part is called {name!r}: there are {', '.join([*known, *GROUPS])}")
        rows.update(found)
    if not rows:
        raise UserError(f"no body part is named: there are {', '.join([*known, *GROUPS])}")
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
    unit, spans, ends = form.unit_length / form.fps, list[Span](), list[float]()
    for name, (start, end, text, *parts) in zip(names, scenes, strict=True):
        try:
            begin, finish = float(start), float(end)
        except ValueError:
            raise UserError(f"{name}: {start}-{end} are no times in seconds") from None
        if not 0 <= begin < finish <= LONGEST_STORY:
            raise UserError(f"{name}: {start}-{end} s: a scene ends after it starts, within {LONGEST_STORY:g} s")
        if not str(text).strip():
            raise UserError(f"{name}: the prompt is empty")
        try:
            rows = part_rows(parts[0], form) if parts else None
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
        span = Span(" ".join(str(text).split()), round(begin / unit), round(finish / unit), rows)
        if span.start == span.end:
            raise UserError(f"{name}: {start}-{end} s is too short: what is said is made in steps of {unit:g} s")
        for former, other in zip(names, spans, strict=False):
            apart = rows is not None and other.parts is not None and not set(rows) & set(other.parts)
            if (rows is None) == (other.parts is None) and not apart and span.start < other.end:
                how = "overlaps" if span.end > other.start else "comes before"
                raise UserError(f"{name}: {start}-{end} s {how} {former}, which is about the same part")
        spans.append(span)
        ends.append(finish)
    whole = [end for end, span in zip(ends, spans, strict=True) if span.parts is None]
    if not whole:
        raise UserError("the story says nothing of the whole body: give a line without [parts]")
    for name, end in zip(names, ends, strict=True):
        if end > max(whole):
            raise UserError(f"{name}: it goes on after the story's end, {max(whole):g} s")
    return Story(tuple(spans), round(max(whole) * form.fps))


def told_story(scenes: str | Sequence[Scene], form: MotionFormat) -> Story:
    """`read_story` of text, `make_story` of scenes."""
    return read_story(scenes, form) if isinstance(scenes, str) else make_story(scenes, form)


def stream(
    t2m: TextToMotion,
    story: Story,
    seed: int = 0,
    sampling: SamplingSettings | None = None,
    retrieval: bool = True,
    constraints: Constraints | None = None,
    bent: np.ndarray | None = None,
) -> Iterator[Motion]:
    """The story's motion piece by piece, each as soon as it is made; the memory does not grow with the length.

    Pieces follow one another in the same world: put together they are one motion.

    Args:
        constraints: whose poses are given to the generator; `tell` brings the motion to them.
        bent: joints (T, J, 3) along whose path the motion steps.
    """
    canvas = Canvas.of(story.spans, story.steps, t2m.vq.n_parts, t2m.levels)
    if constraints is not None:
        constraints.give(canvas, t2m.vq)
        canvas.loops = constraints.loop
    if bent is not None:
        form = t2m.spec.format
        keep_trunk(canvas, tokenise(t2m.vq, [padded_features(bent, form)])[0], form)
    composer, pieces = Composer(t2m, canvas, seed, sampling, retrieval), Pieces(t2m, canvas)
    for known in composer.steps():
        end = known if known == story.steps else known - LOOK_AHEAD
        if (piece := pieces.upto(end)) is not None:
            rows = [each[: len(each) - max(0, pieces.frames - story.frames)] for each in piece]
            told = tuple(each for found in composer.found.values() for each in found)
            composer.found.clear()
            form = t2m.spec.format
            yield Motion(story.text, form.fps, *rows, retrieved_of(told), seed, None, told, form)


def tell(
    t2m: TextToMotion,
    story: Story,
    seed: int = 0,
    sampling: SamplingSettings | None = None,
    retrieval: bool = True,
    constraints: Constraints | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Motion:
    """The story's motion as a whole.

    Args:
        progress: called with (frames made, frames in all) after each piece; along a way each is made twice. What it
            raises ends the work.

    Raises:
        UserError: see `Constraints.check`.
    """
    constraints, form = constraints or Constraints(), t2m.spec.format
    constraints.check(story.frames, form)
    frames = story.frames * (2 if constraints.waypoints else 1)
    known = 0

    def drawn(bent: np.ndarray | None = None) -> list[Motion]:
        nonlocal known
        made = []
        for piece in stream(t2m, story, seed, sampling, retrieval, constraints, bent):
            made.append(piece)
            known += len(piece.joints)
            if progress is not None:
                progress(known, frames)
        return made

    pieces = drawn()
    features, made = (np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("features", "joints"))
    joints = constraints.hold(made, form, lambda bent: np.concatenate([piece.joints for piece in drawn(bent)]))
    if joints is not made:
        features = padded_features(joints, form)[: len(joints)]
    found = tuple(dict.fromkeys(one for piece in pieces for one in piece.found))
    remark = t2m.remark([span.text for span in story.spans])
    return Motion(story.text, form.fps, features, joints, retrieved_of(found), seed, remark, found, form)


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
        if start:
            old = np.concatenate([self.rows[len(self.rows) - start :], made[start:]])
            made[start:] = joined(old, made, start, len(made), round(SEAM_SECONDS * self.form.fps))
        rows = made[start:stop]
        joints = self._placed(np.concatenate([self.rows[-1:], rows]))[-len(rows) :]
        self.rows = np.concatenate([self.rows, rows])[-LOOK_BACK * unit :]
        self.steps, self.frames = end, self.frames + len(rows)
        return rows, joints

    def _placed(self, rows: np.ndarray) -> np.ndarray:
        """Joints of features (T, D), of which the first is the frame that was placed last, if there was one."""
        turned = yaw_quaternion(np.array(self.turn))
        joints = quaternion.rotate(turned, features_to_joints(rows, self.form).astype(np.float64)) + self.place
        self.turn -= 2 * float(rows[:-1, 0].astype(np.float64).sum())  # the first column is half the turn to come
        self.place = joints[-1, 0] * [1.0, 0.0, 1.0]
        return joints.astype(np.float32)
