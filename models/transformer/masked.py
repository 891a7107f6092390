"""The masked transformer: base tokens of a motion from a caption and retrieved motions.

Letters: B batch, N token steps, J part rows, V codes, D channels. Masks: True = valid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.configs import MaskedTransformerConfig
from models.transformer.blocks import ProjectedMemory, SpatioTemporalTransformer
from models.transformer.condition import Condition, ConditionDims, ConditionEncoder
from models.transformer.token_grid import CellLoss, TokenGrid, cell_loss, codebook_table
from utils.processes import Draws
from utils.run import TokenShape

EMBEDDING_STD = 0.5


@dataclass(frozen=True)
class Corrupted:
    """A training input: tokens (B, N, J) with holes, and the cells (B, N, J) that the loss is about."""

    tokens: Tensor
    chosen: Tensor


class MaskedTransformer(nn.Module):
    """Fills masked cells of the base level. Ids 0..V-1 are codes, V is MASK, V + 1 is PAD; only codes come out."""

    def __init__(self, config: MaskedTransformerConfig, dims: ConditionDims, tokens: TokenShape):
        super().__init__()
        self.config, self.nb_code, self.n_parts = config, tokens.nb_code, tokens.n_parts
        self.mask_id, self.pad_id = self.nb_code, self.nb_code + 1
        self.embedding = nn.Embedding(self.nb_code + 2, config.latent_dim)
        self.condition = ConditionEncoder(config, dims, tokens)
        self.transformer = SpatioTemporalTransformer(config)
        self.output = nn.Linear(config.latent_dim, self.nb_code)
        nn.init.normal_(self.embedding.weight, std=EMBEDDING_STD)

    @torch.no_grad()
    def start_from(self, codebooks: Sequence[Tensor]) -> None:
        """Before training: sets the embeddings and the output weights of the codes by the base codebook (V, C)."""
        self.condition.start_from(codebooks)
        width = self.config.latent_dim
        table = codebook_table(codebooks[0], width)
        self.embedding.weight[: self.nb_code] = EMBEDDING_STD * table
        self.output.weight.copy_(table / math.sqrt(width))

    def project(self, condition: Condition) -> ProjectedMemory | None:
        """What the layers read of a condition besides the global text."""
        return self.transformer.project(self.condition(condition, self.embedding))

    def forward(
        self,
        tokens: Tensor,
        step_mask: Tensor,
        condition: Condition,
        projected: ProjectedMemory | None = None,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """tokens (B, N, J) with MASK where unknown, step_mask (B, N) -> logits (B, N, J, V).

        `projected` is `project(condition)`; whoever calls often with one condition makes it once. With `wanted` (R,),
        numbers of cells in the flattened tokens, the logits (R, V) of these.
        """
        grid = TokenGrid(*tokens.shape[1:])
        tokens = torch.where(step_mask[:, :, None], tokens, self.pad_id)
        cells = self.embedding(grid.flatten(tokens)) + grid.positions(self.config.latent_dim, tokens.device)
        cells = cells + self.condition.global_text(condition)[:, None]
        projected = projected or self.project(condition)
        logits = self.output(self.transformer(cells, grid, step_mask, projected, wanted))
        return grid.unflatten(logits) if wanted is None else logits

    def corrupt(self, tokens: Tensor, step_mask: Tensor, draws: Draws) -> Corrupted:
        """Chooses cells by the cosine schedule: first whole time steps, then single cells among the rest; of a share
        of the samples in some body parts alone, whose steps are all that is not known when a part is drawn anew.

        Of the chosen cells 10 % get a random code, 88 % of the others MASK, the rest keep their code.
        """
        grid = TokenGrid(*tokens.shape[1:])
        valid_steps = step_mask.sum(dim=1)
        ratio = torch.cos(draws.uniform() * math.pi / 2)
        n_cells = (ratio * valid_steps * grid.n_parts).round().clamp(min=1)
        n_steps = (draws.uniform() * n_cells / grid.n_parts).floor()

        order = draws.uniform(grid.n_steps).masked_fill(~step_mask, 2.0).argsort(dim=1).argsort(dim=1)
        whole_steps = order < n_steps[:, None]
        score = draws.uniform(*tokens.shape[1:])
        score = score.masked_fill(whole_steps[:, :, None], -1.0).masked_fill(~step_mask[:, :, None], 2.0)
        rank = score.flatten(1).argsort(dim=1).argsort(dim=1)
        chosen = grid.unflatten(rank < n_cells[:, None])
        if self.config.part_mask_prob:
            drawn = draws.uniform(1, grid.n_parts)
            parts = (drawn < draws.uniform()[:, None, None]) | (drawn == drawn.amin(dim=-1, keepdim=True))
            of_parts = chosen & parts
            some = (draws.uniform() < self.config.part_mask_prob) & of_parts.flatten(1).any(dim=1)
            chosen = torch.where(some[:, None, None], of_parts, chosen)

        kind = draws.uniform(*tokens.shape[1:])
        random_codes = (draws.uniform(*tokens.shape[1:]) * self.nb_code).long()
        use_random = chosen & (kind < self.config.random_token_prob)
        kept_share = (1 - self.config.random_token_prob) * (1 - self.config.mask_token_prob)
        use_mask = chosen & ~use_random & (kind < 1 - kept_share)
        corrupted = torch.where(use_random, random_codes, torch.where(use_mask, self.mask_id, tokens))
        return Corrupted(corrupted, chosen)

    def loss(self, tokens: Tensor, step_mask: Tensor, condition: Condition, draws: Draws) -> CellLoss:
        """Of the chosen cells of tokens (B, N, J)."""
        corrupted = self.corrupt(tokens, step_mask, draws)
        return cell_loss(self(corrupted.tokens, step_mask, condition), tokens, corrupted.chosen)
