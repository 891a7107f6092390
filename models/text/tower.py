"""The transformer under every text encoder. BERT, DistilBERT and CLIP's text half differ where `TowerConfig` says so.

Our own, so that a generated motion does not wait for a model library: importing one takes far longer than loading and
running MiniLM.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class TowerConfig:
    """Architecture of a text tower.

    Attributes:
        vocabulary: token ids.
        positions: longest text in tokens.
        width: channels D.
        n_layers: transformer blocks.
        n_heads: attention heads.
        ff_size: hidden width of the feed-forwards.
        activation: `gelu`, or CLIP's `quick_gelu` x sigmoid(1.702 x).
        norm_first: CLIP normalises before each branch and behind the last block, BERT behind branches and embedding.
        causal: every token sees only those before it (CLIP).
        pooling: `mean` of the valid tokens, or the `last` valid token.
        epsilon: of the layer norms.
        projection: channels of the linear map behind the last norm; 0 = there is none.
        dropout: probability, in training only.
    """

    vocabulary: int
    positions: int
    width: int
    n_layers: int
    n_heads: int
    ff_size: int
    activation: Literal["gelu", "quick_gelu"] = "gelu"
    norm_first: bool = False
    causal: bool = False
    pooling: Literal["mean", "last"] = "mean"
    epsilon: float = 1e-12
    projection: int = 0
    dropout: float = 0.0

    @property
    def out_width(self) -> int:
        """Channels of the tower's output."""
        return self.projection or self.width


class TowerBlock(nn.Module):
    """Self-attention and feed-forward, each with a residual path and a norm."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.config = config
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.attention_norm = nn.LayerNorm(config.width, eps=config.epsilon)
        self.expand = nn.Linear(config.width, config.ff_size)
        self.contract = nn.Linear(config.ff_size, config.width)
        self.ff_norm = nn.LayerNorm(config.width, eps=config.epsilon)

    def forward(self, x: Tensor, attend: Tensor | None) -> Tensor:
        """x (B, L, D), attend (B, 1, 1, L) True = may be seen (None: all) -> (B, L, D)."""
        if self.config.norm_first:
            x = x + self._attention(self.attention_norm(x), attend)
            return x + self._feed_forward(self.ff_norm(x))
        x = self.attention_norm(x + self._attention(x, attend))
        return self.ff_norm(x + self._feed_forward(x))

    def _attention(self, x: Tensor, attend: Tensor | None) -> Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.config.n_heads, -1).permute(2, 0, 3, 1, 4)
        x = functional.scaled_dot_product_attention(
            *qkv,
            attn_mask=attend,
            dropout_p=self.config.dropout if self.training else 0.0,
            is_causal=self.config.causal,
        )
        return self._dropout(self.out(x.transpose(1, 2).reshape(batch, length, width)))

    def _feed_forward(self, x: Tensor) -> Tensor:
        x = self.expand(x)
        x = functional.gelu(x) if self.config.activation == "gelu" else x * torch.sigmoid(1.702 * x)
        return self._dropout(self.contract(x))

    def _dropout(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.config.dropout, self.training)


def _empty_embedding(rows: int, width: int) -> nn.Embedding:
    """A table to be filled by a checkpoint. Drawing its normal random numbers on the meta device, as the constructor
    would, takes two seconds of imports."""
    return nn.Embedding.from_pretrained(torch.zeros(rows, width), freeze=False)


class TextTower(nn.Module):
    """Token ids -> one vector a text and one a token. Stays in eval mode while none of its parameters is trained."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.config = config
        self.token = _empty_embedding(config.vocabulary, config.width)
        self.position = _empty_embedding(config.positions, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.epsilon)
        self.blocks = nn.ModuleList(TowerBlock(config) for _ in range(config.n_layers))
        self.projection = nn.Linear(config.width, config.projection, bias=False) if config.projection else nn.Identity()

    @property
    def frozen(self) -> bool:
        """Whether no parameter is trained."""
        return not any(parameter.requires_grad for parameter in self.parameters())

    def train(self, mode: bool = True) -> TextTower:
        """A frozen tower refuses train mode: its dropout would make features that differ from the cached ones."""
        return super().train(mode and not self.frozen)

    def forward(self, ids: Tensor, mask: Tensor, padded: bool = True) -> tuple[Tensor, Tensor]:
        """Encodes a padded batch.

        Args:
            ids: (B, L) token ids, padding at the end.
            mask: (B, L) True = valid; at least one a row.
            padded: False if the whole mask is True, which makes attention cheaper. To be said by who knows it on the
                host: to ask the mask would make the host wait for a GPU.

        Returns:
            pooled (B, D) and states (B, L, D), zero where padded.
        """
        x = self.token(ids) + self.position.weight[: ids.shape[1]]
        if not self.config.norm_first:
            x = functional.dropout(self.norm(x), self.config.dropout, self.training)
        # A causal token never sees the padding behind it.
        attend = None if self.config.causal or not padded else mask[:, None, None, :]
        for block in self.blocks:
            x = block(x, attend)
        if self.config.norm_first:
            x = self.norm(x)
        states = self.projection(x) * mask[..., None]
        lengths = mask.sum(1)
        if self.config.pooling == "last":
            return states[torch.arange(len(states), device=states.device), lengths - 1], states
        return states.sum(1) / lengths[:, None], states
