"""The residual transformer: the codes of levels 1..Q-1, one pass a level.

Letters: B batch, N token steps, J part rows, Q quantisers, V codes, D channels. Masks: True = valid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs import ResidualTransformerConfig
from models.transformer.blocks import ProjectedMemory, SpatioTemporalTransformer
from models.transformer.condition import Condition, ConditionDims, ConditionEncoder
from models.transformer.token_grid import CellLoss, TokenGrid, cell_loss, codebook_table
from utils.processes import Draws
from utils.run import TokenShape

# Small, as the same table may be input and output weights; the input is normalised.
EMBEDDING_STD = 0.05


class ResidualTransformer(nn.Module):
    """Predicts the codes of one level from the sum of the embeddings of the levels below it."""

    def __init__(self, config: ResidualTransformerConfig, dims: ConditionDims, tokens: TokenShape):
        super().__init__()
        self.config, self.n_parts = config, tokens.n_parts
        self.nb_code, self.num_quantizers = nb_code, num_quantizers = tokens.nb_code, tokens.num_quantizers
        width = config.latent_dim
        # Levels 0..Q-2 are inputs, levels 1..Q-1 are outputs; with share_weight the levels in between use one table.
        self.embeddings = nn.Parameter(EMBEDDING_STD * torch.randn(num_quantizers - 1, nb_code, width))
        n_outputs = 1 if config.share_weight else num_quantizers - 1
        self.outputs = nn.Parameter(EMBEDDING_STD * torch.randn(n_outputs, nb_code, width))
        self.level = nn.Embedding(num_quantizers, width)
        self.scale = nn.LayerNorm(width)
        self.condition = ConditionEncoder(config, dims, tokens)
        # Retrieved base tokens are embedded with level 0's table.
        self.transformer = SpatioTemporalTransformer(config)

    @torch.no_grad()
    def start_from(self, codebooks: Sequence[Tensor]) -> None:
        """Before training: sets embeddings and output weights by the codebooks (V, C) of all levels.

        One projection serves all levels, so that the sum of the embeddings stands for the sum of the codes.
        """
        self.condition.start_from(codebooks)
        every = torch.cat(list(codebooks))
        tables = codebook_table(every, self.config.latent_dim).unflatten(0, (len(codebooks), -1))
        spread = tables.std(dim=(1, 2), keepdim=True).clamp(min=1e-8)
        self.embeddings.copy_(EMBEDDING_STD / spread[0] * tables[:-1])
        self.outputs.copy_(EMBEDDING_STD / spread[-len(self.outputs) :] * tables[-len(self.outputs) :])

    def project(self, condition: Condition) -> ProjectedMemory | None:
        """What the layers read of a condition besides the global text."""
        return self.transformer.project(self.condition(condition, self._embed_base))

    def forward(
        self,
        codes: Tensor,
        level: Tensor,
        step_mask: Tensor,
        condition: Condition,
        projected: ProjectedMemory | None = None,
    ) -> Tensor:
        """Logits of one level a sample.

        Args:
            codes: (B, N, J, >= level) codes of the levels below; what lies at or above a sample's level is not read.
            level: (B,) in 1..Q-1.
            step_mask: (B, N).
            condition: of the samples.
            projected: `project(condition)`; whoever calls often with one condition makes it once.

        Returns:
            (B, N, J, V).
        """
        grid = TokenGrid(*codes.shape[1:3])
        flat = grid.flatten(codes)  # (B, S, q)
        known = torch.zeros(*flat.shape[:2], self.config.latent_dim, device=codes.device, dtype=self.embeddings.dtype)
        for index in range(min(flat.shape[-1], self.num_quantizers - 1)):
            below = (index < level)[:, None, None]
            embedded = F.embedding(flat[..., index].clamp(min=0), self.embeddings[index])
            known = known + torch.where(below, embedded, 0)
        cells = self.scale(known) + grid.positions(self.config.latent_dim, codes.device)
        cells = cells + (self.condition.global_text(condition) + self.level(level))[:, None]
        hidden = self.transformer(cells, grid, step_mask, projected or self.project(condition))
        table = self._output_table()[level - 1]  # (B, V, D)
        return grid.unflatten(torch.einsum("bsd,bvd->bsv", hidden, table))

    def _embed_base(self, tokens: Tensor) -> Tensor:
        return self.scale(F.embedding(tokens, self.embeddings[0]))

    def _output_table(self) -> Tensor:
        """(Q - 1, V, D) output weights of levels 1..Q-1."""
        if self.config.share_weight:
            return torch.cat([self.embeddings[1:], self.outputs])
        return self.outputs

    def draw_levels(self, draws: Draws) -> Tensor:
        """(B,) levels in 1..Q-1 with 1 - cos density: low levels, which matter most, come more often."""
        draw = 1 - torch.cos(draws.uniform() * math.pi / 2)
        return (1 + (draw * (self.num_quantizers - 1)).long()).clamp(max=self.num_quantizers - 1)

    def loss(self, codes: Tensor, step_mask: Tensor, condition: Condition, draws: Draws) -> CellLoss:
        """Of one random level a sample, on the valid cells of codes (B, N, J, Q)."""
        level = self.draw_levels(draws)
        logits = self(codes, level, step_mask, condition)
        target = codes.gather(-1, level[:, None, None, None].expand(*codes.shape[:3], 1))[..., 0]
        return cell_loss(logits, target, step_mask[:, :, None].expand(target.shape))
