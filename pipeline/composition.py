"""Motions of any length out of cells that are kept and cells that prompts speak of: window after window.

A `Canvas` is a grid of tokens, time x body part, of which some cells are known; each of the others has a prompt. What
lies before a window, and after it where that is known, is given to the masked transformer; what the window is about is
drawn. A plain motion is the canvas of one prompt, of which nothing is known, in one window.

Letters: N token steps, J part rows, Q quantisers, P prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.configs import SamplingSettings
from models.transformer.sampling import Given, Noise, sample_base, sample_residual
from Part_TMR.found import Found, describe
from pipeline.text_to_motion import TextToMotion
from storage.row_store import digest

CONTEXT = 2  # steps before a window that are given to it: with more of another scene less of its own is seen


@dataclass(frozen=True)
class Span:
    """What a prompt is about.

    Attributes:
        text: the prompt.
        start, end: token steps.
        parts: rows of the grid; None: all that no other prompt speaks of.
    """

    text: str
    start: int
    end: int
    parts: tuple[int, ...] | None = None


@dataclass
class Canvas:
    """A motion being made.

    Attributes:
        spans: one a prompt.
        codes: (N, J, Q) of the cells that are known.
        known: (N, J).
        prompt: (N, J) the span that says what is drawn in a cell.
        loops: the end leads to the start, which is given to its last window.
    """

    spans: Sequence[Span]
    codes: Tensor
    known: Tensor
    prompt: Tensor
    loops: bool = False

    @classmethod
    def of(cls, spans: Sequence[Span], n_steps: int, n_parts: int, levels: int) -> Canvas:
        """Nothing is known. A gap between spans of the whole body is shared by those beside it.

        Args:
            spans: of which one at least is about the whole body; those do not overlap.
        """
        whole = sorted((span.start, number) for number, span in enumerate(spans) if span.parts is None)
        prompt = torch.full((n_steps, n_parts), whole[0][1])
        for (_, former), (start, number) in zip(whole, whole[1:], strict=False):
            prompt[(spans[former].end + start) // 2 :] = number
        for number, span in enumerate(spans):
            for part in span.parts or ():
                prompt[span.start : span.end, part] = number
        known = torch.zeros(n_steps, n_parts, dtype=torch.bool)
        return cls(spans, torch.zeros(n_steps, n_parts, levels, dtype=torch.long), known, prompt)

    def window(self, start: int, longest: int, context: int) -> tuple[int, int, int]:
        """The end of what is drawn together from step `start` on, and the first and the last step that are seen for it.

        A window ends where another prompt begins to speak of the whole body, so that each is about one thing; what is
        too long for one is drawn in equal ones.

        Args:
            longest: steps that are seen together.
            context: steps of what is known that are seen on either side, as far as there is room.
        """
        ends = (span.start for span in self.spans if span.parts is None and span.start > start)
        end = min([len(self.known), *ends])
        settled = self.known.all(dim=1)
        if settled[start:end].any():
            end = start + int(settled[start:end].nonzero()[0])
        room = longest - min(start, CONTEXT)
        end = start + -(-(end - start) // -(-(end - start) // room))
        if self.loops and not start:  # what the end leads to must be there before it
            end = min(end, max(len(self.known) // 2, 1))
        spare = longest - (end - start)
        known_after = settled[end : end + context]
        after = int((~known_after).nonzero()[0]) if not known_after.all() else len(known_after)
        before = min(start, context, max(spare - after, spare // 2))
        return end, start - before, end + min(after, spare - before)


class Composer:
    """Draws what a canvas does not know yet.

    Args:
        t2m: the models.
        canvas: is filled.
        seed: the same canvas and seed give the same motion; the first window is drawn as a plain motion is.
        sampling, retrieval: see `TextToMotion.generate_each`.
        context: see `Canvas.window`.

    Attributes:
        found: for each span that was drawn, the motions that helped.
    """

    def __init__(
        self,
        t2m: TextToMotion,
        canvas: Canvas,
        seed: int = 0,
        sampling: SamplingSettings | None = None,
        retrieval: bool = True,
        context: int = CONTEXT,
    ) -> None:
        self.context = context
        self.t2m, self.canvas, self.seed, self.retrieval = t2m, canvas, seed, retrieval
        self.sampling = sampling or SamplingSettings()
        self.longest = t2m.spec.max_frames // t2m.spec.format.unit_length
        self.found: dict[int, tuple[Found, ...]] = {}

    def steps(self) -> Iterator[int]:
        """Draws window after window; yields up to which step everything is known."""
        canvas, number, end = self.canvas, 0, 0
        while not canvas.known.all():
            start = int((~canvas.known.all(dim=1)).nonzero()[0])
            end, first, last = canvas.window(start, self.longest, self.context)
            self._draw(start, end, first, last, number)
            number += 1
            yield end
        if end < len(canvas.known):  # what was known from the start
            yield len(canvas.known)

    def _draw(self, start: int, end: int, first: int, last: int, number: int) -> None:
        t2m, canvas, device = self.t2m, self.canvas, self.t2m.device
        seen = torch.arange(first, last)
        if canvas.loops and last == len(canvas.known):
            seen = torch.cat([seen, torch.arange(min(CONTEXT, start))])
        known, prompt = canvas.known[seen], canvas.prompt[seen]
        asked = prompt[~known].unique()
        texts = [canvas.spans[index].text for index in asked.tolist()]
        condition, looked = t2m.looked_up(texts, self.retrieval)
        begins = torch.tensor([canvas.spans[index].start for index in asked.tolist()], device=device)
        if condition.retrieved is not None:
            condition = replace(condition, retrieved=condition.retrieved.delayed(begins - first))
        if looked:
            self.found |= dict(zip(asked.tolist(), describe(t2m.retriever, t2m.database, *looked), strict=True))
        # Where a cell is known any prompt will do.
        place = torch.searchsorted(asked, prompt.contiguous()).clamp(max=len(asked) - 1)
        given = Given(
            canvas.codes[seen][None].to(device),
            known[None].to(device),
            torch.zeros(len(asked), dtype=torch.long, device=device),
            place[None].to(device),
        )
        steps = torch.tensor([len(seen)])
        noise = Noise([self._seed(number)], steps)
        base = sample_base(t2m.masked, condition, steps, noise, self.sampling, given)
        codes = base[..., None]
        if t2m.residual is not None:
            codes = sample_residual(t2m.residual, base, condition, steps, self.sampling, given)
        drawn = ~canvas.known[start:end]
        canvas.codes[start:end][drawn] = codes[0, start - first : end - first].cpu()[drawn]
        canvas.known[start:end] = True

    def _seed(self, number: int) -> int:
        return self.seed if not number else int.from_bytes(digest(f"{self.seed} {number}")[:4], "little")
