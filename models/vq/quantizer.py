"""Residual vector quantisation with moving-average codebooks.

Letters: B batch, N token steps, J part rows, Q quantisers, D channels, V codes, R valid cells of a batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils.processes import Draws, gumbel, place, relative_weight, summed

# How a codebook is kept alive. A code is dead when it is chosen for less than DEAD_SHARE of an average code's vectors
# in the last steps: at least STEPS_SEEN of them, and as many as give an average code USES_SEEN vectors, unless the
# moving average itself is shorter.
DEAD_SHARE = 0.03
STEPS_SEEN = 20.0
USES_SEEN = 50.0
# A living code moves to where vectors are badly served if that gains so many times what its absence costs.
GAIN_OVER_COST = 1.5
YOUNG = 0.33  # of the moving average's full weight: the first forty steps with a decay of 0.99
SEEDING_ROUNDS = 8
TINY = 1e-20  # what a vector on a code weighs, so that those that do not count, 0, never come before it
CODES_AT_ONCE = 4096  # of a large codebook, when codes are compared with each other


@dataclass(frozen=True)
class Quantized:
    """What the quantiser makes of a latent grid.

    Attributes:
        values: (B, N, J, D) sum of the chosen codes; its gradient is the latent's (straight-through).
        codes: (B, N, J, Q) indices; -1 in levels that quantiser dropout left out.
        commitment: scalar, mean squared distance of the latent to its codes over the levels used.
        perplexity: (Q,) effective number of codes in use a level in this batch; nan for levels left out.
        revived: (Q,) codes a level that were put to another place; nan for levels left out.
    """

    values: Tensor
    codes: Tensor
    commitment: Tensor
    perplexity: Tensor
    revived: Tensor


class Codebook(nn.Module):
    """V codes that follow the moving average of the vectors assigned to them. All state is in buffers.

    What decides whether a codebook lives is the number of vectors a code, R / V: 3 in a trial, 96 in the paper's runs.
    Nothing here depends on it. Codes start as far-off vectors (k-means++, Arthur and Vassilvitskii, 2007); a code that
    starts, or starts anew, has the weight of one average batch, so that it is a running mean at first. Dead codes, and
    those that would be missed less than they help elsewhere (the utility of ELBG, Patane and Russo, 2001), start anew
    at vectors drawn by their squared distance from the nearest code. Tensors decide, not Python: no step waits for
    the device.

    Attributes:
        kept: codes mean something to others: those that are in use follow their vectors, none is put elsewhere.
    """

    kept = False

    codes: Tensor
    code_sum: Tensor
    code_count: Tensor
    code_use: Tensor
    initialised: Tensor

    def __init__(self, nb_code: int, code_dim: int, mu: float):
        super().__init__()
        self.mu = mu
        self.register_buffer("codes", torch.zeros(nb_code, code_dim))
        self.register_buffer("code_sum", torch.zeros(nb_code, code_dim))
        self.register_buffer("code_count", torch.ones(nb_code))
        self.register_buffer("code_use", torch.ones(nb_code))
        self.register_buffer("initialised", torch.tensor(False))
        self._ready = False  # what `initialised` is known to be: reading it waits for the device

    def distance(self, vectors: Tensor) -> Tensor:
        """(R, D) -> (R, V) squared distances from the codes."""
        return torch.cdist(vectors.float(), self.codes.float()).square_()

    def nearest(self, vectors: Tensor) -> Tensor:
        """(R, D) -> (R,) indices of the nearest codes."""
        return self.distance(vectors).argmin(dim=-1)

    @torch.no_grad()
    def initialise(self, vectors: Tensor, valid: Tensor | None = None, draws: Draws | None = None) -> None:
        """Takes vectors (R, D) of the first batch that lie apart as codes, the same in every process."""
        if not self._ready:
            self._ready = bool(self.initialised)
        if self._ready:
            return
        vectors = vectors.float()
        draws = draws or Draws(len(vectors), vectors.device)
        weight = _weight(vectors, valid)
        distance, codes = torch.ones_like(weight), []
        for part in torch.arange(len(self.codes)).chunk(SEEDING_ROUNDS):
            codes.append(_draw(vectors, weight * distance.clamp(min=TINY), len(part), draws))
            nearest = torch.cdist(vectors, codes[-1]).square_().amin(dim=1)
            distance = nearest if len(codes) == 1 else torch.minimum(distance, nearest)
        average = summed(weight.sum()) / len(self.codes)
        self._restart(torch.ones_like(self.code_count, dtype=torch.bool), torch.cat(codes), average)
        self.initialised.fill_(True)
        self._ready = True

    @torch.no_grad()
    def update(
        self,
        vectors: Tensor,
        indices: Tensor,
        distance: Tensor | None = None,
        valid: Tensor | None = None,
        draws: Draws | None = None,
    ) -> Tensor:
        """Moves the codes towards the vectors assigned to them, and those of no use to other places.

        Args:
            vectors: (R, D) float.
            indices: (R,) the code of each.
            distance: (R,) squared distance from the nearest code; none: `indices` are the nearest.
            valid: (R,) vectors that count; none: all.
            draws: of the samples that the vectors belong to; none: each vector is one.

        Returns:
            scalar, how many codes were put to another place.
        """
        draws = draws or Draws(len(vectors), vectors.device)
        weight = _weight(vectors, valid)
        if distance is None:
            distance = (vectors - F.embedding(indices, self.codes)).square().sum(dim=1)
        one_hot = F.one_hot(indices, len(self.codes)).to(vectors.dtype) * weight[:, None]
        count, total = summed(one_hot.sum(dim=0)), summed(one_hot.T @ vectors)
        if self.kept:
            return self._follow(count, total)
        average = count.sum() / len(self.codes)
        recent = (average / USES_SEEN).clamp(1 / USES_SEEN, 1 / STEPS_SEEN).clamp(min=1 - self.mu)
        self.code_count.lerp_(count, 1 - self.mu)
        self.code_sum.lerp_(total, 1 - self.mu)
        self.code_use.lerp_(count / average, recent)  # of an average code: another batch size changes nothing
        self.codes.copy_(self.code_sum / self.code_count[:, None].clamp(min=1e-12))

        dead = self.code_use < DEAD_SHARE
        places = _draw(vectors, weight * distance.clamp(min=TINY), len(self.codes), draws)
        moved, places = self._moves(vectors, distance, weight, dead, places, average, draws)
        restarted = dead | moved
        self._restart(restarted, places, average)
        return restarted.sum()

    def _follow(self, count: Tensor, total: Tensor) -> Tensor:
        """Moves the codes that were chosen; the others keep their weight, so that they do not jump once they are."""
        chosen = count > 0
        self.code_count.lerp_(torch.where(chosen, count, self.code_count), 1 - self.mu)
        self.code_sum.lerp_(torch.where(chosen[:, None], total, self.code_sum), 1 - self.mu)
        moved = self.code_sum / self.code_count[:, None].clamp(min=1e-12)
        self.codes.copy_(torch.where(chosen[:, None], moved, self.codes))
        return count.new_zeros(())

    def _moves(
        self,
        vectors: Tensor,
        distance: Tensor,
        weight: Tensor,
        dead: Tensor,
        places: Tensor,
        average: Tensor,
        draws: Draws,
    ) -> tuple[Tensor, Tensor]:
        """Which living codes (V,) move, and `places` (V, D) with where to.

        The gain of a place is how much nearer it is to this batch's vectors; its own vector does not speak for it. The
        cost of a code's absence is the distance from the nearest other code, for each vector that would go there. Of
        places, and of codes, that are each other's alternative, one a step is considered.
        """
        most = max(1, len(self.codes) // 16)
        usual = max(1, len(self.codes) // 128)  # of a codebook that has settled, at most 1 % move in a step
        trial = _draw(vectors, weight * distance.clamp(min=TINY), 2 * most, draws)
        nearer = (distance[:, None] - torch.cdist(vectors, trial).square_()).clamp_(min=0) * weight[:, None]
        own = torch.cdist(trial, self.codes).square_().amin(dim=1)
        gain = summed(nearer.sum(dim=0)) - own
        rivals = torch.cdist(trial, trial).square_() < own[:, None]
        gain = gain.masked_fill((rivals & (gain[None] > gain[:, None])).any(dim=1), -math.inf)

        apart, neighbour = self._nearest_other(dead)
        cost = (self.code_use * average * apart).masked_fill(dead, math.inf)
        cost = cost.masked_fill(cost[neighbour] < cost, math.inf)

        gains, best = gain.topk(most)
        costs, losers = cost.topk(most, largest=False)
        young = self.code_count.mean() < YOUNG * average
        allowed = young | (torch.arange(most, device=cost.device) < usual)
        pays = allowed & (gains > GAIN_OVER_COST * costs)
        moved = torch.zeros_like(dead).index_copy(0, losers, pays)
        targets = torch.where(pays[:, None], trial[best], places[losers])
        return moved, places.index_copy(0, losers, targets)

    def _nearest_other(self, dead: Tensor) -> tuple[Tensor, Tensor]:
        """Squared distance (V,) of each code from the nearest other living one, and which that is."""
        found, numbers = [], torch.arange(len(self.codes), device=self.codes.device)
        for rows in numbers.split(CODES_AT_ONCE):
            between = torch.cdist(self.codes[rows], self.codes).square_()
            found.append(between.masked_fill_(dead | (rows[:, None] == numbers), math.inf).min(dim=1))
        return torch.cat([each.values for each in found]), torch.cat([each.indices for each in found])

    def _restart(self, which: Tensor, places: Tensor, average: Tensor) -> None:
        """Puts the codes where `which` (V,) is True to places (V, D), with the weight of one average batch."""
        weight = (1 - self.mu) * average
        self.codes.copy_(torch.where(which[:, None], places, self.codes))
        self.code_sum.copy_(torch.where(which[:, None], places * weight, self.code_sum))
        self.code_count.copy_(torch.where(which, weight, self.code_count))
        self.code_use.copy_(torch.where(which, torch.ones_like(self.code_use), self.code_use))

    @staticmethod
    def upgrade_state(state: dict[str, Tensor], prefix: str) -> None:
        """Files from before `code_use` was kept: every code has its chance."""
        if f"{prefix}code_count" in state:
            state.setdefault(f"{prefix}code_use", torch.ones_like(state[f"{prefix}code_count"]))

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *arguments: object) -> None:
        self._ready = False
        super()._load_from_state_dict(state_dict, prefix, *arguments)


def _draw(vectors: Tensor, weight: Tensor, count: int, draws: Draws) -> Tensor:
    """(count, D) different vectors of those of all processes, (R, D) in each, drawn by weight (R,); alike in all.

    Where there are fewer vectors than needed they come several times, with little noise; those without weight do not
    come at all.
    """
    rank, processes = place()
    # The largest of log weight + Gumbel noise are a draw without replacement (Efraimidis and Spirakis, 2006).
    noise = gumbel(draws.uniform(len(vectors) // draws.batch)).flatten()
    best = (torch.log(weight.clamp(min=1e-30)) + noise).topk(min(count, len(vectors)))
    scores = weight.new_zeros(processes, len(best.values))
    scores[rank] = best.values
    top = summed(scores).flatten().topk(min(count, scores.numel())).indices
    own = torch.div(top, len(best.values), rounding_mode="floor") == rank
    drawn = summed(torch.where(own[:, None], vectors[best.indices[top % len(best.values)]].float(), 0.0))
    # Those without weight come last: where the others are too few, these come again.
    drawn = drawn[torch.arange(count, device=top.device) % summed((weight > 0).sum()).clamp(1, len(top))]
    if len(top) < count:
        drawn = drawn + 0.01 * drawn.std() * (2 * draws.common_uniform(*drawn.shape) - 1) * math.sqrt(3)
    return drawn


def _weight(vectors: Tensor, valid: Tensor | None) -> Tensor:
    """(R,) 1 for vectors that count, else 0."""
    return vectors.new_ones(len(vectors)) if valid is None else valid.to(vectors.dtype)


class ResidualQuantizer(nn.Module):
    """Q codebooks; each quantises what the former ones left over."""

    def __init__(
        self, num_quantizers: int, nb_code: int, code_dim: int, mu: float, dropout_prob: float, temperature: float
    ):
        super().__init__()
        self.dropout_prob = dropout_prob
        self.temperature = temperature
        self.levels = nn.ModuleList(Codebook(nb_code, code_dim, mu) for _ in range(num_quantizers))

    def forward(self, latent: Tensor, mask: Tensor) -> Quantized:
        """Quantises latent (B, N, J, D); cells of steps where mask (B, N) is False get code 0 and teach nothing.

        In training mode codes are sampled, codebooks follow, and with `dropout_prob` only the first levels are used.
        Then codes, losses and perplexities are those that one process would find in the batches of all.
        """
        draws = Draws(len(latent), latent.device)
        valid = mask[:, :, None].expand(latent.shape[:3]).flatten()
        vectors = latent.flatten(0, 2)
        used = len(self.levels)
        if self.training and draws.common.random() < self.dropout_prob:
            used = draws.common.randint(1, used)

        residual, total = vectors, torch.zeros_like(vectors)
        share = valid.float() / valid.sum().clamp(min=1)
        if self.training:
            share = share * relative_weight(valid.sum())
        missing = vectors.new_full((), math.nan, dtype=torch.float32)
        indices, commitments = [], []
        perplexity, revived = [missing] * len(self.levels), [missing] * len(self.levels)
        for number, level in enumerate(self.levels[:used]):
            seen = residual.detach().float()
            if self.training:
                level.initialise(seen, valid, draws)
            distance = level.distance(seen)
            scores = -distance
            if self.training and self.temperature > 0:
                noise = gumbel(draws.uniform(distance.numel() // len(latent)))
                scores = scores / self.temperature + noise.view_as(distance)
            index = scores.argmax(dim=-1)
            chosen = F.embedding(index, level.codes).to(residual.dtype)
            if self.training:
                revived[number] = level.update(seen, index, distance.amin(dim=1), valid, draws).float()
            commitments.append(((residual - chosen.detach()).square().mean(dim=1) * share).sum())
            use = share.new_zeros(len(level.codes)).index_add_(0, index, share)
            if self.training:
                use = summed(use) / place()[1]
            perplexity[number] = torch.exp(-(use * torch.log(use + 1e-10)).sum())
            indices.append(index)
            total = total + chosen.detach()
            residual = residual - chosen.detach()

        values = (vectors + (total - vectors).detach()) * valid[:, None]
        codes = torch.stack(indices, dim=-1) * valid[:, None]
        codes = F.pad(codes, (0, len(self.levels) - used), value=-1)
        return Quantized(
            values.view_as(latent),
            codes.view(*latent.shape[:3], len(self.levels)),
            torch.stack(commitments).mean(),
            torch.stack(perplexity),
            torch.stack(revived),
        )

    def encode(self, latent: Tensor) -> Tensor:
        """The nearest codes of a latent (B, N, J, D) -> (B, N, J, Q), and nothing of what training needs besides."""
        residual, codes = latent.flatten(0, 2), []
        for level in self.levels:
            codes.append(level.nearest(residual))
            residual = residual - F.embedding(codes[-1], level.codes)
        return torch.stack(codes, dim=-1).view(*latent.shape[:3], -1)

    def lookup(self, codes: Tensor) -> Tensor:
        """Sum of the codes (B, N, J, q) of the first q levels -> (B, N, J, D)."""
        levels = self.levels[: codes.shape[-1]]
        return torch.stack([F.embedding(codes[..., i], level.codes) for i, level in enumerate(levels)]).sum(dim=0)
