"""What a generator is told: the caption and the motions retrieved for it.

Letters: B batch, L caption tokens, K retrieved motions, P retriever parts, N token steps, J part rows, D channels,
E retriever dimension, M memory rows, Q quantisers, V codes, C code dimension. Masks: True = valid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs import MAX_WIDTH, TransformerConfig
from models.transformer.token_grid import TokenGrid
from utils.batches import length_mask
from utils.processes import Draws
from utils.run import TokenShape
from utils.schema import option

EVERY_PART = -1


@dataclass(frozen=True)
class _Batch:
    """Tensors (or None) that share their first dimension."""

    def _map(self, function) -> _Batch:
        changes = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changes[field.name] = function(value)
            elif isinstance(value, _Batch):
                changes[field.name] = value._map(function)
        return replace(self, **changes)

    def to(self, device: torch.device | str) -> _Batch:
        """Everything on another device."""
        return self._map(lambda tensor: tensor.to(device))

    def rows(self, index: Tensor) -> _Batch:
        """The samples `index` (b,), in that order."""
        return self._map(lambda tensor: tensor[index])


@dataclass(frozen=True)
class Retrieved(_Batch):
    """K retrieved motions a sample, best first.

    Attributes:
        text: (B, K, E) retriever embedding of the retrieved caption, R_t.
        motion: (B, K, E) retriever embedding of the retrieved motion, R_m.
        mask: (B, K), False where the database had fewer.
        parts: (B, K, P, E_p) part embeddings, for `retrieved="parts"`.
        tokens: (B, K, N, J, q) codes of the first levels, for `retrieved` "tokens" and "levels".
        steps: (B, K) valid token steps of `tokens`.
        agreement: (B, K) 0 to 1, how near the motion's captions come to the prompt, for `trust`.
        starts: (B, K) steps of `tokens` before which there is nothing; None: there is everywhere.
    """

    text: Tensor
    motion: Tensor
    mask: Tensor
    parts: Tensor | None = None
    tokens: Tensor | None = None
    steps: Tensor | None = None
    agreement: Tensor | None = None
    starts: Tensor | None = None

    @property
    def token_mask(self) -> Tensor:
        """(B, K, N) where there are tokens."""
        mask = length_mask(self.steps, self.tokens.shape[2])
        return mask if self.starts is None else mask & ~length_mask(self.starts, self.tokens.shape[2])

    def delayed(self, by: Tensor) -> Retrieved:
        """The same for what begins `by` (B,) steps after the first: retrieved motions begin there too."""
        if self.tokens is None:
            return self
        longest = max(int(by.max()) + self.tokens.shape[2], 1)
        place = torch.arange(longest, device=by.device) - by[:, None]  # (B, N') of the former steps
        place = place.clamp(0, self.tokens.shape[2] - 1)[:, None, :, None, None]
        tokens = self.tokens.gather(2, place.expand(*self.tokens.shape[:2], -1, *self.tokens.shape[3:]))
        return replace(self, tokens=tokens, steps=self.steps + by[:, None], starts=by[:, None].expand_as(self.steps))

    def first(self, count: int) -> Retrieved:
        """The best `count` of the K motions, or all if there are fewer."""
        return self._map(lambda tensor: tensor[:, :count])


@dataclass(frozen=True)
class Condition(_Batch):
    """The whole condition of a batch.

    Attributes:
        text: (B, D_t) sentence embedding.
        text_states: (B, L, D_t) token states, with text_mask (B, L).
        retrieved: the retrieved motions, or None where the model uses none.
        keep_text, keep_retrieval: (B,) False where that side is withheld; the model then sees nothing of it.
    """

    text: Tensor
    text_states: Tensor | None
    text_mask: Tensor | None
    retrieved: Retrieved | None
    keep_text: Tensor
    keep_retrieval: Tensor

    def withheld(self, text: bool = False, retrieval: bool = False) -> Condition:
        """The same condition without its text, its retrieval, or both."""
        return replace(
            self,
            keep_text=self.keep_text & (not text),
            keep_retrieval=self.keep_retrieval & (not retrieval),
        )

    def randomly_withheld(self, both: float, text: float, retrieval: float, draws: Draws) -> Condition:
        """For training with guidance: withholds both, the text or the retrieval with these probabilities."""
        draw = draws.uniform()
        drop_both = draw < both
        drop_text = (draw >= both) & (draw < both + text)
        drop_retrieval = (draw >= both + text) & (draw < both + text + retrieval)
        return replace(
            self,
            keep_text=self.keep_text & ~(drop_both | drop_text),
            keep_retrieval=self.keep_retrieval & ~(drop_both | drop_retrieval),
        )


@dataclass(frozen=True)
class Memory:
    """Rows that attention sees besides the motion itself.

    Attributes:
        keys: (B, M, D) h of SSTA.
        values: (B, M, D) R_m of SSTA.
        mask: (B, M).
        parts: (M,) the grid row that may look at the row, or EVERY_PART.
        by_part: whether any row is for one grid row alone. Known without asking the device, which would have to be
            waited for.
    """

    keys: Tensor
    values: Tensor
    mask: Tensor
    parts: Tensor
    by_part: bool = False


@dataclass(frozen=True)
class ConditionDims:
    """Widths of what comes from outside: text encoder, retriever, its parts."""

    text: int = option(minimum=1, maximum=MAX_WIDTH)
    retriever: int = option(0, minimum=0, maximum=MAX_WIDTH)
    retriever_part: int = option(0, minimum=0, maximum=MAX_WIDTH)
    n_retriever_parts: int = option(6, minimum=1, maximum=1000)


def _standardised(embedding: Tensor) -> Tensor:
    """(..., E) with mean 0 and variance 1: the entries of unit vectors are so small that learning hardly sees them."""
    return F.layer_norm(embedding, embedding.shape[-1:])


class ConditionEncoder(nn.Module):
    """Turns a `Condition` into a global text vector and the memory rows of SSTA.

    A retrieved row has the key h = MLP([t ; R_t ; R_m]) and the value R_m (ReMoMask, SSTA). The MLP's first layer is
    written as a sum of three projections, so that t and R_t are projected once however many rows there are.
    """

    of_inputs = ("codebooks",)  # of the state: what another tokeniser has other ones of
    codebooks: Tensor

    def __init__(self, config: TransformerConfig, dims: ConditionDims, tokens: TokenShape):
        super().__init__()
        width = config.latent_dim
        self.config = config
        self.text = nn.Linear(dims.text, width)
        self.no_text = nn.Parameter(torch.zeros(width))
        if config.text_states:
            self.text_states = nn.Sequential(nn.Linear(dims.text, width), nn.LayerNorm(width))
        if config.retrieved != "none":
            self.retrieved_text = nn.Linear(dims.retriever, width)
            self.retrieved_motion = nn.Linear(dims.retriever, width)
            self.rank = nn.Parameter(0.2 * torch.randn(config.n_retrieved, width))
            self.key_text = nn.Linear(width, width)
            self.key_retrieved_text = nn.Linear(width, width, bias=False)
            self.key_motion = nn.Linear(width, width, bias=False)
            self.key = nn.Sequential(nn.GELU(), nn.Linear(width, width), nn.LayerNorm(width))
            self.value_norm = nn.LayerNorm(width)
            if config.trust:
                self.agreement = nn.Linear(1, 2 * width)
        if config.retrieved == "levels":
            levels = min(config.retrieved_levels or tokens.num_quantizers, tokens.num_quantizers)
            self.register_buffer("codebooks", torch.zeros(levels, tokens.nb_code, tokens.code_dim))
            self.latent = nn.Linear(tokens.code_dim, width)
        if config.retrieved == "parts":
            self.retrieved_parts = nn.Linear(dims.retriever_part, width)
            self.part_rows = nn.Parameter(0.02 * torch.randn(dims.n_retriever_parts, width))

    @torch.no_grad()
    def start_from(self, codebooks: Sequence[Tensor]) -> None:
        """Before training: takes over the codebooks (V, C) of all levels, in units of the base codes' spread."""
        if self.config.retrieved == "levels":
            read = torch.stack(list(codebooks[: len(self.codebooks)]))
            self.codebooks.copy_(read / codebooks[0].std().clamp(min=1e-8))

    def _latent(self, tokens: Tensor) -> Tensor:
        """Codes (B, R, Q) -> (B, R, D): what the decoder is given, so that a code that was rarely seen, or in another
        combination, is still known by where it lies."""
        return self.latent(sum(F.embedding(tokens[..., level], codes) for level, codes in enumerate(self.codebooks)))

    def global_text(self, condition: Condition) -> Tensor:
        """(B, D) the projected sentence embedding, or the learned 'no text'."""
        return torch.where(condition.keep_text[:, None], self.text(_standardised(condition.text)), self.no_text)

    def forward(self, condition: Condition, token_embedding: Callable[[Tensor], Tensor]) -> Memory | None:
        """The memory rows; `token_embedding` embeds retrieved base tokens as the generator embeds its own."""
        blocks: list[Memory] = []
        if self.config.text_states and condition.text_states is not None:
            states = self.text_states(condition.text_states)
            mask = condition.text_mask & condition.keep_text[:, None]
            blocks.append(Memory(states, states, mask, self._every_part(states)))
        if self.config.retrieved != "none" and condition.retrieved is not None:
            blocks += self._retrieved(condition, condition.retrieved, token_embedding)
        if not blocks:
            return None
        return Memory(
            torch.cat([block.keys for block in blocks], dim=1),
            torch.cat([block.values for block in blocks], dim=1),
            torch.cat([block.mask for block in blocks], dim=1),
            torch.cat([block.parts for block in blocks]),
            any(block.by_part for block in blocks),
        )

    @staticmethod
    def _every_part(rows: Tensor) -> Tensor:
        return torch.full((rows.shape[1],), EVERY_PART, device=rows.device)

    def _retrieved(
        self, condition: Condition, retrieved: Retrieved, token_embedding: Callable[[Tensor], Tensor]
    ) -> list[Memory]:
        # Another model of the same condition may read more motions than this one.
        retrieved = retrieved.first(self.config.n_retrieved)
        mask = retrieved.mask & condition.keep_retrieval[:, None]  # (B, K)
        n_retrieved = mask.shape[1]
        rank = self.rank[:n_retrieved]
        if self.config.trust:
            key_trust, value_trust = self.agreement(retrieved.agreement[..., None]).chunk(2, dim=-1)  # (B, K, D)
            rank = rank + value_trust
        key_start = self.key_text(self.global_text(condition))[:, None] + self.key_retrieved_text(
            self.retrieved_text(_standardised(retrieved.text))
        )  # (B, K, D): what t and R_t contribute
        if self.config.trust:
            key_start = key_start + key_trust

        def rows(values: Tensor, row_mask: Tensor, parts: Tensor, by_part: bool = False) -> Memory:
            """values (B, K, R, D), row_mask (B, K, R), parts (R,) -> K * R memory rows."""
            keys = self.key(key_start[:, :, None] + self.key_motion(values))
            return Memory(
                keys.flatten(1, 2),
                self.value_norm(values).flatten(1, 2),
                row_mask.flatten(1, 2),
                parts.repeat(n_retrieved),
                by_part,
            )

        everyone = torch.full((1,), EVERY_PART, device=mask.device)
        if self.config.retrieved == "parts":
            values = self.retrieved_parts(_standardised(retrieved.parts)) + self.part_rows + rank[..., None, :]
            row_mask = mask[:, :, None].expand(values.shape[:3])
            return [rows(values, row_mask, everyone.repeat(values.shape[2]))]

        values = (self.retrieved_motion(_standardised(retrieved.motion)) + rank)[:, :, None]
        blocks = [rows(values, mask[:, :, None], everyone)]
        if self.config.retrieved in ("tokens", "levels"):
            grid = TokenGrid(*retrieved.tokens.shape[2:4])
            cells = retrieved.tokens.flatten(2, 3)  # (B, K, N * J, q)
            embedded = self._latent(cells) if self.config.retrieved == "levels" else token_embedding(cells[..., 0])
            values = embedded + grid.positions(self.config.latent_dim, mask.device)
            row_mask = mask[:, :, None] & retrieved.token_mask.repeat_interleave(grid.n_parts, dim=2)
            blocks.append(rows(values + rank[..., None, :], row_mask, grid.parts(mask.device), by_part=True))
        return blocks
