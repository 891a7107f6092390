"""Motions changed by a prompt: what is kept is given to the generator, what is drawn is joined to it frame by frame.

Letters: T frames, N token steps, J joints, D feature columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.configs import SamplingSettings
from models.vq.tokenise import decode_motions, tokenise
from Part_TMR.found import Found
from pipeline.composition import Canvas, Composer, Span
from pipeline.constraints import Constraints, keep_trunk
from pipeline.motion import Motion, retrieved_of
from pipeline.stories import LONGEST_STORY, part_rows
from pipeline.text_to_motion import TextToMotion
from utils.errors import UserError
from utils.representation import features_to_joints, padded_features
from utils.splicing import splice

LEAST_FRAMES = 8  # of a source: two token steps


@dataclass(frozen=True)
class Edit:
    """What is to be changed.

    Attributes:
        text: the prompt.
        sections: (start, end) seconds of what is drawn; none: the whole motion. Beyond the end the motion goes on,
            before 0 it begins earlier.
        parts: names of the body parts that are drawn, see `part_rows`; none: all.
        strength: share of the cells that are drawn; the others keep their codes. 1: all of them.
    """

    text: str
    sections: tuple[tuple[float, float], ...] = ()
    parts: str = ""
    strength: float = 1.0


class EditPlan:
    """A source and what is changed in it, checked: ready for any number of seeds.

    Args:
        t2m: the models.
        source: joints (T, J, 3) of the models' skeleton and frame rate, metres, y up.
        wanted: what is changed.
        constraints: what holds besides.

    Raises:
        UserError: a section that is none, an unknown part, a strength that is no share, an empty prompt, constraints
            that cannot be kept to, or a motion of another skeleton, of a few frames or not finite.
    """

    def __init__(
        self, t2m: TextToMotion, source: np.ndarray, wanted: Edit, constraints: Constraints | None = None
    ) -> None:
        form, unit = t2m.spec.format, t2m.spec.format.unit_length
        source = np.asarray(source)
        if source.ndim != 3 or source.shape[1:] != (form.n_joints, 3) or len(source) < LEAST_FRAMES:
            raise UserError(
                f"the source must be joints (T, {form.n_joints}, 3) of at least {LEAST_FRAMES} frames,"
                f" not {source.shape}"
            )
        if not 0 <= wanted.strength <= 1:
            raise UserError(f"strength {wanted.strength:g} is no share: 0 keeps all, 1 draws all anew")
        rows = part_rows(wanted.parts, form) if wanted.parts else range(form.n_parts)
        self.t2m, self.text, self.strength = t2m, t2m.checked_text(wanted.text), wanted.strength
        self.source, sections = extended(source, wanted.sections, form.fps)
        self.constraints = constraints or Constraints()
        self.constraints.check(len(self.source), form)
        features = padded_features(self.source, form)
        frames = np.zeros(len(features), bool)
        for start, end in sections:
            frames[start : end if end < len(self.source) else None] = True
        members = [joint for row in rows for joint in form.parts[row][1]]
        self.drawn = frames[: len(self.source), None] & np.isin(np.arange(form.n_joints), members)
        self.codes = tokenise(t2m.vq, [features])[0]
        self.steps = np.flatnonzero(frames.reshape(-1, unit).any(axis=1))
        self.cells = torch.zeros(self.codes.shape[:2], dtype=torch.bool)
        self.cells[np.ix_(self.steps, rows)] = True

    def make(
        self,
        seed: int = 0,
        sampling: SamplingSettings | None = None,
        retrieval: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ) -> Motion:
        """The motion as it is changed.

        Args:
            progress: called with (steps known, steps in all) after each window. What it raises ends the work.

        Frames and joints that are not drawn, and hang on nothing that is, are those of the source bit by bit, unless
        constraints move them.
        """
        t2m, form = self.t2m, self.t2m.spec.format
        length, passes = len(self.codes), 2 if self.constraints.waypoints else 1
        found: tuple[Found, ...] = ()

        def drawn(source: np.ndarray, canvas: Canvas, before: int = 0) -> np.ndarray:
            nonlocal found
            composer = Composer(t2m, canvas, seed, sampling, retrieval, context=length)  # all of it is one motion
            for known in composer.steps():
                if progress is not None:
                    progress(before + known, passes * length)
            found = composer.found.get(0, ())
            made = decode_motions(t2m.vq, canvas.codes[None].to(t2m.device), torch.tensor([length]))[0]
            return splice(source, features_to_joints(made, form)[: len(source)], self.drawn, form)

        def again(bent: np.ndarray) -> np.ndarray:
            codes = tokenise(t2m.vq, [padded_features(bent, form)])[0]
            canvas = self._canvas(codes, seed)
            keep_trunk(canvas, codes, form)
            return drawn(bent, canvas, length)

        joints = drawn(self.source, self._canvas(self.codes, seed))
        joints = self.constraints.hold(joints, form, again)
        return Motion(
            self.text,
            form.fps,
            padded_features(joints, form)[: len(joints)],
            joints,
            retrieved_of(found),
            seed,
            t2m.remark([self.text]),
            found,
            form,
        )

    def _canvas(self, codes: Tensor, seed: int) -> Canvas:
        span = Span(self.text, int(self.steps[0]), int(self.steps[-1]) + 1)
        canvas, cells = Canvas.of([span], len(codes), self.t2m.vq.n_parts, self.t2m.levels), self.cells
        if self.strength < 1:
            cells = cells & (torch.rand(cells.shape, generator=torch.Generator().manual_seed(seed)) < self.strength)
        canvas.codes[:], canvas.known[:], canvas.loops = codes[..., : self.t2m.levels], ~cells, self.constraints.loop
        return canvas


def extended(
    source: np.ndarray, sections: Sequence[tuple[float, float]], fps: float
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """The source with what sections add to it, its first and last pose held, and the sections in frames.

    Raises:
        UserError: a section ends before it starts, or lies apart from the motion.
    """
    seconds = len(source) / fps
    for start, end in sections:
        if not -LONGEST_STORY < start < end <= LONGEST_STORY or start > seconds + 1e-6 or end < 0:
            where = f"section {start:g},{end:g} s"
            raise UserError(f"{where}: it must start before it ends, and touch the motion, which has {seconds:g} s")
    frames = [(round(start * fps), round(end * fps)) for start, end in sections] or [(0, len(source))]
    before = max(0, -min(start for start, _ in frames))
    after = max(0, max(end for _, end in frames) - len(source))
    held = np.concatenate([np.repeat(source[:1], before, axis=0), source, np.repeat(source[-1:], after, axis=0)])
    return held, [(start + before, end + before) for start, end in frames]
