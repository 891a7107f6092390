"""Motions changed by a prompt: what is kept is given to the generator, what is drawn is joined to it frame by frame.

Letters: T frames, N token steps, J joints, D feature columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from models.configs import SamplingSettings
from models.vq.tokenise import decode_motions, tokenise
from pipeline.composition import Canvas, Composer, Span
from pipeline.constraints import Constraints
from pipeline.stories import LONGEST_STORY, part_rows
from pipeline.text_to_motion import Motion, TextToMotion
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


def edit(
    t2m: TextToMotion,
    source: np.ndarray,
    wanted: Edit,
    constraints: Constraints | None = None,
    seed: int = 0,
    sampling: SamplingSettings | None = None,
    retrieval: bool = True,
) -> Motion:
    """The motion `source` as it is changed.

    Args:
        source: joints (T, J, 3) of the models' skeleton and frame rate, metres, y up.

    Returns:
        its joints; frames and joints that are not drawn, and hang on nothing that is, are those of the source bit by
        bit, unless constraints move them.

    Raises:
        UserError: a section that is none or leaves nothing, an unknown part, a strength that is no share, a motion of
            another skeleton or of a few frames.
    """
    form, fps = t2m.spec.format, t2m.spec.format.fps
    source = np.asarray(source)
    if source.ndim != 3 or source.shape[1:] != (form.n_joints, 3) or len(source) < LEAST_FRAMES:
        raise UserError(
            f"the source must be joints (T, {form.n_joints}, 3) of at least {LEAST_FRAMES} frames, not {source.shape}"
        )
    if not 0 <= wanted.strength <= 1:
        raise UserError(f"strength {wanted.strength:g} is no share: 0 keeps all, 1 draws all anew")
    constraints = constraints or Constraints()
    source, sections = extended(source, wanted.sections, fps)
    joints, rows = np.zeros(len(source), bool), range(t2m.vq.n_parts)
    for start, end in sections:
        joints[start:end] = True
    if wanted.parts:
        rows = part_rows(wanted.parts, form)
    drawn = joints[:, None] & np.isin(np.arange(form.n_joints), [each for row in rows for each in form.parts[row][1]])

    constraints.check(len(source), form)
    features = padded_features(source, form)
    known = tokenise(t2m.vq, [features])[0]
    levels = 1 if t2m.residual is None else known.shape[-1]
    unit = form.unit_length
    steps = np.flatnonzero(np.pad(joints, (0, len(features) - len(joints)), "edge").reshape(-1, unit).any(axis=1))
    span = Span(t2m.checked_text(wanted.text), int(steps[0]), int(steps[-1]) + 1)
    canvas = Canvas.of([span], len(known), t2m.vq.n_parts, levels)
    canvas.codes[:] = known[..., :levels]
    cells = torch.zeros(canvas.known.shape, dtype=torch.bool)
    cells[np.ix_(steps, rows)] = True
    if wanted.strength < 1:
        draw = torch.rand(cells.shape, generator=torch.Generator().manual_seed(seed))
        cells &= draw < wanted.strength
    canvas.known[:], canvas.loops = ~cells, constraints.loop
    composer = Composer(t2m, canvas, seed, sampling, retrieval)
    codes = composer.run().codes[None].to(t2m.device)
    made = decode_motions(t2m.vq, codes, torch.tensor([len(known)]))[0]
    new = splice(source, features_to_joints(made, form)[: len(source)], drawn, form)
    new = constraints.hold(new, form)
    found = composer.found.get(0, ())
    told = tuple(each[:3] for each in found)
    return Motion(span.text, fps, padded_features(new, form)[: len(new)], new, told, seed, None, found)


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
