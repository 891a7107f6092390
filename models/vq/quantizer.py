"""Residual vector quantisation with moving-average codebooks.

Letters: B batch, N token steps, J part rows, Q quantisers, D channels, V codes, R valid cells of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

# A code whose moving count falls below this share of the average is dead.
DEAD_SHARE = 0.03


@dataclass(frozen=True)
class Quantized:
    """What the quantiser makes of a latent grid.

    Attributes:
        values: (B, N, J, D) sum of the chosen codes; its gradient is the latent's (straight-through).
        codes: (B, N, J, Q) indices; -1 in levels that quantiser dropout left out.
        commitment: scalar, mean squared distance of the latent to its codes over the levels used.
        perplexity: (Q,) effective number of codes in use a level in this batch; nan for levels left out.
        revived: (Q,) codes that were dead and drawn anew in this step; nan for levels left out, 0 outside of training.
    """

    values: Tensor
    codes: Tensor
    commitment: Tensor
    perplexity: Tensor
    revived: Tensor


def _all_reduce(tensor: Tensor) -> Tensor:
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def _broadcast(tensor: Tensor) -> Tensor:
    if dist.is_available() and dist.is_initialized():
        dist.broadcast(tensor, src=0)
    return tensor


def _of_first_process(number: int, device: torch.device) -> int:
    """The number that the first process has, in all of them."""
    if dist.is_available() and dist.is_initialized():
        return int(_broadcast(torch.tensor(number, device=device)))
    return number


class Codebook(nn.Module):
    """V codes that follow the moving average of the vectors assigned to them. All state is in buffers."""

    codes: Tensor
    code_sum: Tensor
    code_count: Tensor
    initialised: Tensor

    def __init__(self, nb_code: int, code_dim: int, mu: float):
        super().__init__()
        self.mu = mu
        self.register_buffer("codes", torch.zeros(nb_code, code_dim))
        self.register_buffer("code_sum", torch.zeros(nb_code, code_dim))
        self.register_buffer("code_count", torch.ones(nb_code))
        self.register_buffer("initialised", torch.tensor(False))

    def nearest(self, vectors: Tensor, temperature: float = 0.0) -> Tensor:
        """(R, D) -> (R,) indices of the nearest codes; with a temperature, Gumbel-sampled by negative distance."""
        distance = torch.cdist(vectors.float(), self.codes.float()).square_()
        if temperature > 0:
            uniform = torch.rand_like(distance).clamp_(min=1e-20)
            return (-distance / temperature - torch.log(-torch.log(uniform))).argmax(dim=-1)
        return distance.argmin(dim=-1)

    @torch.no_grad()
    def initialise(self, vectors: Tensor) -> None:
        """Takes random vectors of the first batch as codes, the same on every rank."""
        if not self.initialised:
            codes = _broadcast(self._random_vectors(vectors))
            self.codes.copy_(codes)
            self.code_sum.copy_(codes)
            self.initialised.fill_(True)

    @torch.no_grad()
    def update(self, vectors: Tensor, indices: Tensor) -> Tensor:
        """Moves the codes towards the vectors (R, D) assigned to them and revives dead codes; returns how many."""
        one_hot = F.one_hot(indices, len(self.codes)).to(vectors.dtype)
        count = _all_reduce(one_hot.sum(dim=0))
        total = _all_reduce(one_hot.T @ vectors)
        self.code_count.mul_(self.mu).add_(count, alpha=1 - self.mu)
        self.code_sum.mul_(self.mu).add_(total, alpha=1 - self.mu)
        fresh = _broadcast(self._random_vectors(vectors))
        dead = (self.code_count < DEAD_SHARE * count.sum() / len(self.codes))[:, None]
        self.code_sum.copy_(torch.where(dead, fresh, self.code_sum))
        self.code_count.copy_(torch.where(dead[:, 0], torch.ones_like(self.code_count), self.code_count))
        self.codes.copy_(self.code_sum / self.code_count[:, None].clamp(min=1e-5))
        return dead.sum()

    def _random_vectors(self, vectors: Tensor) -> Tensor:
        """(V, D) drawn from the vectors; with little noise where there are fewer vectors than codes."""
        needed = len(self.codes)
        if len(vectors) < needed:
            vectors = vectors.repeat(-(-needed // max(len(vectors), 1)), 1)
            vectors = vectors + 0.01 * vectors.std() * torch.randn_like(vectors)
        return vectors[torch.randperm(len(vectors), device=vectors.device)[:needed]].float()


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
        """
        valid = mask[:, :, None].expand(latent.shape[:3])
        vectors = latent[valid]
        used = len(self.levels)
        if self.training and torch.rand(()) < self.dropout_prob:
            used = int(torch.randint(1, used + 1, ()))
        if self.training:
            # Every level in use is synchronised: processes with different numbers of levels would wait for each other.
            used = _of_first_process(used, latent.device)

        residual, total = vectors, torch.zeros_like(vectors)
        indices, commitments, perplexities, revivals = [], [], [], []
        for level in self.levels[:used]:
            if self.training:
                level.initialise(residual.detach())
            index = level.nearest(residual.detach(), self.temperature if self.training else 0.0)
            chosen = F.embedding(index, level.codes).to(residual.dtype)
            revived = torch.zeros((), device=latent.device)
            if self.training:
                revived = level.update(residual.detach().float(), index)
            commitments.append(F.mse_loss(residual, chosen.detach()))
            share = torch.bincount(index, minlength=len(level.codes)).float() / max(len(index), 1)
            perplexities.append(torch.exp(-(share * torch.log(share + 1e-10)).sum()))
            revivals.append(revived.float())
            indices.append(index)
            total = total + chosen.detach()
            residual = residual - chosen.detach()

        values = torch.zeros_like(latent).masked_scatter(valid[..., None], vectors + (total - vectors).detach())
        codes = torch.full((*latent.shape[:3], len(self.levels)), -1, device=latent.device)
        codes[..., :used] = 0
        codes[valid] = F.pad(torch.stack(indices, dim=-1), (0, len(self.levels) - used), value=-1)
        missing = torch.full((len(self.levels) - used,), float("nan"), device=latent.device)
        perplexity, revived = (torch.cat([torch.stack(each), missing]) for each in (perplexities, revivals))
        return Quantized(values, codes, torch.stack(commitments).mean(), perplexity, revived)

    def lookup(self, codes: Tensor) -> Tensor:
        """Sum of the codes (B, N, J, q) of the first q levels -> (B, N, J, D)."""
        levels = self.levels[: codes.shape[-1]]
        return torch.stack([F.embedding(codes[..., i], level.codes) for i, level in enumerate(levels)]).sum(dim=0)
