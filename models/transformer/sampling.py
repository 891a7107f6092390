"""From all-masked to tokens: one function a level, each with an explicit schedule. Inputs are never written into.

Letters: B batch, N token steps, J part rows, Q quantisers, V codes. Masks: True = valid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from models.configs import SamplingSettings
from models.transformer.blocks import ProjectedMemory
from models.transformer.condition import Condition
from models.transformer.copying import Copying, mixed, told_apart
from models.transformer.masked import MaskedTransformer
from models.transformer.residual import ResidualTransformer
from utils.batches import length_mask
from utils.processes import gumbel


def mask_schedule(n_cells: int, time_steps: int) -> list[int]:
    """How many cells are masked before each pass: cosine from all of them down to 1.

    >>> mask_schedule(294, 10)
    [294, 290, 276, 255, 225, 189, 147, 101, 51, 1]
    """
    last = max(time_steps - 1, 1)
    return [max(1, round(n_cells * math.cos(math.pi / 2 * step / last))) for step in range(time_steps)]


class Guidance:
    """RAG-CFG: l0 + scale (l - l0), where l0 sees neither text nor retrieval.

    With a scale of its own, the retrieval is guided on top of the text: l0 + scale (l_text - l0) +
    retrieval_scale (l - l_text), where l_text sees the text alone (guidance by several conditions, InstructPix2Pix,
    eq. 3). What does not change from pass to pass is computed here, once.

    Guidance goes beyond what was learned, and most so for codes that training hardly had, whose logits are noise: so
    only codes are left that the whole condition itself finds plausible, as in contrastive decoding (Li et al. 2023,
    eq. 2).

    Args:
        model: whose logits are guided.
        condition: of B samples.
        scale: 1 means no guidance, at half the cost.
        retrieval_scale: None guides text and retrieval together, with `scale`.
        plausible: the share of the most probable code's probability that a code needs before guidance; 0: none.
    """

    def __init__(
        self,
        model: MaskedTransformer | ResidualTransformer,
        condition: Condition,
        scale: float,
        retrieval_scale: float | None = None,
        plausible: float = 0.0,
    ):
        if retrieval_scale is None or not condition.keep_retrieval.any():
            retrieval_scale = scale
        passes = (
            (retrieval_scale, condition),
            (scale - retrieval_scale, condition.withheld(retrieval=True)),
            (1 - scale, condition.withheld(text=True, retrieval=True)),
        )
        self.model, self.plausible = model, plausible
        self.passes = [(weight, seen, self._project(seen)) for weight, seen in passes if weight]
        self.whole = [(1.0, *first) for _, *first in self.passes[:1]] if retrieval_scale else self.passes

    def logits(self, *inputs: Tensor, guided: bool = True, **asked: Tensor) -> Tensor:
        """The model's inputs (B, ...) before the condition -> logits (B, ...), guided or of the whole condition.

        `asked` goes to the model too.
        """
        passes = self.passes if guided else self.whole
        return self._combined([(weight, self.model(*inputs, *seen, **asked)) for weight, *seen in passes])

    def first_logits(self, tokens: Tensor, step_mask: Tensor, wanted: Tensor) -> Tensor:
        """`logits` of motions of which nothing is known: without a condition those of one length are alike."""
        first = (step_mask.sum(dim=1)[:, None] == step_mask.sum(dim=1)).int().argmax(dim=1)  # (B,) of the same length
        kinds, kind = first.unique(return_inverse=True)
        each = []
        for weight, seen, projected in self.passes:
            if seen.keep_text.any() or seen.keep_retrieval.any():
                logits = self.model(tokens, step_mask, seen, projected, wanted)
            else:
                projected = projected and projected.samples(kinds)
                logits = self.model(tokens[kinds], step_mask[kinds], seen.rows(kinds), projected)
                logits = logits[kind].flatten(0, 2)[wanted]
            each.append((weight, logits))
        return self._combined(each)

    def _combined(self, each: list[tuple[float, Tensor]]) -> Tensor:
        """Weights and logits of the passes, that of the whole condition first -> guided logits."""
        guided = sum(weight * logits for weight, logits in each)
        if len(each) == 1 or not self.plausible:
            return guided
        whole = each[0][1]
        return guided.masked_fill(whole < whole.amax(dim=-1, keepdim=True) + math.log(self.plausible), -math.inf)

    def _project(self, condition: Condition) -> ProjectedMemory | None:
        projected = self.model.project(condition)
        return None if projected is None else projected.visible()


def keep_top(logits: Tensor, topkr: float) -> Tensor:
    """Keeps the top (1 - topkr) share of the logits (..., V), at least one; the rest become -inf."""
    kept = max(1, math.ceil((1 - topkr) * logits.shape[-1]))
    threshold = logits.topk(kept, dim=-1).values[..., -1:]
    return logits.masked_fill(logits < threshold, -math.inf)


@dataclass(frozen=True)
class Given:
    """What is known of motions before they are drawn, and who says what is drawn where.

    Of the rows of a condition, P prompts, several may speak of one motion: each of cells of its own.

    Attributes:
        codes: (B, N, J, Q) of the cells that are kept; what the others hold is not read.
        kept: (B, N, J) cells that are not drawn.
        motion: (P,) the motion that each prompt is about.
        prompt: (B, N, J) the prompt that says what is drawn in a cell.
    """

    codes: Tensor
    kept: Tensor
    motion: Tensor
    prompt: Tensor

    @classmethod
    def nothing(cls, shape: Sequence[int], device: torch.device) -> Given:
        """Of motions (B, N, J): one prompt each, and no cell is kept."""
        motion, kept = torch.arange(shape[0], device=device), torch.zeros(*shape, dtype=torch.bool, device=device)
        return cls(kept[..., None].long(), kept, motion, motion[:, None, None].expand(*shape))

    @cached_property
    def own(self) -> Tensor:
        """(P, N, J) the cells that each prompt speaks of."""
        return self.prompt[self.motion] == torch.arange(len(self.motion), device=self.prompt.device)[:, None, None]

    def of_prompts(self, cells: Tensor) -> Tensor:
        """What motions (B, N, J, ...) hold, for each prompt: (P, N, J, ...)."""
        return cells[self.motion]

    def spoken(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Of the cells (B, N, J), True = asked for: their numbers in (P, N, J), prompt by prompt, and (R,) the places
        where they come in the order of the motions."""
        wanted = (self.of_prompts(cells) & self.own).flatten().nonzero()[:, 0]
        size = cells[0].numel()
        return wanted, (self.motion[wanted // size] * size + wanted % size).argsort()

    def chosen(self, told: Tensor) -> Tensor:
        """What each cell's own prompt tells of it: (P, N, J, ...) -> (B, N, J, ...)."""
        steps, parts = (torch.arange(size, device=told.device) for size in told.shape[1:3])
        return told[self.prompt, steps[:, None], parts]


class Noise:
    """One random generator a sample, so that neither the batch nor the padding around it changes what a sample gets."""

    def __init__(self, seeds: Sequence[int], steps: Tensor):
        self.generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        self.steps = steps.tolist()

    def gumbel(self, shape: torch.Size, device: torch.device) -> Tensor:
        """Gumbel noise (B, N, J, V); sample b draws for its own steps only."""
        noise = torch.zeros(shape)
        for row, (generator, steps) in enumerate(zip(self.generators, self.steps, strict=True)):
            noise[row, :steps] = gumbel(torch.rand(steps, *shape[2:], generator=generator))
        return noise.to(device)

    def one_of(self, candidates: Tensor, motion: Tensor) -> Tensor:
        """(P,) the number of one of the candidates (P, K) of each prompt about a `motion` (P,), 0 where it has none.

        Of one nothing is drawn.
        """
        chosen = []
        for number, row in zip(motion.tolist(), candidates.cpu(), strict=True):
            generator = self.generators[number]
            numbers = row.nonzero()[:, 0].tolist() or [0]
            place = int(torch.randint(len(numbers), (), generator=generator)) if len(numbers) > 1 else 0
            chosen.append(numbers[place])
        return torch.tensor(chosen, device=candidates.device)


def _draw(logits: Tensor, masked: Tensor, noise: Noise | None) -> Tensor:
    """Logits (R, V) of the cells masked (B, N, J) -> (R,): Gumbel-max sampling, or the best one without noise."""
    if noise is None:
        return logits.argmax(dim=-1)
    return (logits + noise.gumbel((*masked.shape, logits.shape[-1]), logits.device)[masked]).argmax(dim=-1)


@torch.no_grad()
def sample_base(
    model: MaskedTransformer,
    condition: Condition,
    steps: Tensor,
    noise: Noise,
    settings: SamplingSettings,
    given: Given | None = None,
) -> Tensor:
    """Base tokens (B, N, J) of motions that are `steps` (B,) long; padding steps hold code 0.

    At every pass the most certain predictions stay and the least certain cells are masked again. Of the retrieved
    motions nearest to the prompt one, by the seed, is copied from.

    Args:
        condition: of P prompts, one a motion without `given`.
    """
    device = condition.text.device
    is_new = given is None
    given = given or Given.nothing((len(steps), int(steps.max()), model.n_parts), device)
    step_mask = length_mask(steps.to(device), given.kept.shape[1])
    drawable = step_mask[:, :, None] & ~given.kept
    counts = drawable.flatten(1).sum(dim=1).tolist()
    schedules = torch.tensor([mask_schedule(count, settings.time_steps) for count in counts], device=device)

    tokens = torch.where(drawable, model.mask_id, torch.where(given.kept, given.codes[..., 0], 0))
    certainty = torch.zeros(tokens.shape, device=device)
    guidance = Guidance(model, condition, settings.cond_scale, settings.retrieval_scale, settings.plausible)
    copying = Copying(condition, given.of_prompts(tokens).shape, model.config, settings)
    if copying:
        source = noise.one_of(copying.candidates, given.motion)
        proposed, share = (given.chosen(each) for each in copying.base(source))
    seen_steps = step_mask[given.motion]
    for index, number in enumerate(schedules.unbind(dim=1)):
        # Fixed cells have certainty infinity, so the `number` least certain are among the others.
        ranked = certainty.masked_fill(~drawable, math.inf).flatten(1).argsort(dim=1, stable=True).argsort(dim=1)
        masked = (ranked < number[:, None]).view_as(tokens) & drawable
        seen = given.of_prompts(torch.where(masked, model.mask_id, tokens))
        wanted, order = given.spoken(masked)
        if index or not is_new:
            guided = index % settings.guided_every == 0
            logits = guidance.logits(seen, seen_steps, guided=guided, wanted=wanted)
        else:
            logits = guidance.first_logits(seen, seen_steps, wanted)
        logits = keep_top(logits[order], settings.topkr)
        sharp = logits / settings.temperature if settings.temperature else logits
        if copying:
            logits, sharp = (mixed(each, proposed[masked], share[masked]) for each in (logits, sharp))
        drawn = _draw(sharp, masked, noise if settings.temperature else None)
        probability = logits.softmax(dim=-1, dtype=torch.float32).gather(-1, drawn[:, None])[:, 0]
        if copying:
            probability = told_apart(probability, share[masked])
        tokens = tokens.masked_scatter(masked, drawn)
        certainty = torch.full_like(certainty, math.inf).masked_scatter(masked, probability)
    return tokens


@torch.no_grad()
def sample_residual(
    model: ResidualTransformer,
    base: Tensor,
    condition: Condition,
    steps: Tensor,
    settings: SamplingSettings,
    given: Given | None = None,
) -> Tensor:
    """All levels (B, N, J, Q) above base tokens (B, N, J): the most probable code, level after level.

    Where the levels below are those of a retrieved motion, the next may be copied from it. Cells that are `given` keep
    all their codes.
    """
    device = base.device
    given = given or Given.nothing(base.shape, device)
    step_mask = length_mask(steps.to(device), base.shape[1])
    codes = base[..., None]
    guidance = Guidance(model, condition, settings.res_cond_scale, plausible=settings.plausible)
    copying = Copying(condition, given.of_prompts(base).shape, model.config, settings)
    for level in range(1, model.num_quantizers):
        levels = torch.full((len(given.motion),), level, device=device)
        below = given.of_prompts(codes)
        logits = guidance.logits(below, levels, step_mask[given.motion])
        best = given.chosen((mixed(logits, *copying.above(below)) if copying else logits).argmax(dim=-1))
        if given.kept.any():
            best = torch.where(given.kept, given.codes[..., level], best)
        best = torch.where(step_mask[:, :, None], best, 0)
        codes = torch.cat([codes, best[..., None]], dim=-1)
    return codes
