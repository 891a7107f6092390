"""Copying: codes of a retrieved motion, mixed into what a transformer predicts.

Letters: B batch, K retrieved motions, N token steps, J part rows, q retrieved levels, V codes, R cells.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.configs import SamplingSettings, TransformerConfig
from models.transformer.condition import Condition

NOTHING = -1  # where there is no code to copy
AS_NEAR = 0.01  # of agreement, by which motions are behind the nearest and are copied as often


def copy_share(condition: Condition, config: TransformerConfig, settings: SamplingSettings) -> Tensor:
    """λ (B, K), how often the retrieved motions of a condition are copied, 0 to 1; 0 where agreement is not known."""
    retrieved = condition.retrieved
    if retrieved is None or retrieved.tokens is None or retrieved.agreement is None:
        return torch.zeros(len(condition.text), 1, device=condition.text.device)
    start = config.copy_from if settings.copy_from is None else settings.copy_from
    above = (retrieved.agreement - start) / max(1 - start, 1e-6)
    return settings.copy_scale * above.clamp(0, 1) * (retrieved.mask & condition.keep_retrieval[:, None])


class Copying:
    """What a prompt's retrieved motions propose, cell by cell, aligned at their first steps.

    As nearest neighbours are mixed into a language model (kNN-LM, Khandelwal et al. 2020, eq. 3):
    p = (1 - λ) p_model + λ [code = proposed], with λ = copy_scale * max(0, (a - copy_from) / (1 - copy_from)) for the
    agreement a between the prompt and the nearest caption of the motion. So a motion that fits is followed also where
    the model has never seen the like, and one that does not fit is not copied at all.

    Args:
        condition: of B samples, with agreement and tokens of what was retrieved; without them nothing is proposed.
        shape: (B, N, J) of the tokens to be made.
        config: of the model, for the `copy_from` that was validated with it.
        settings: `copy_scale`, and `copy_from` if another is wanted.
    """

    def __init__(self, condition: Condition, shape: torch.Size, config: TransformerConfig, settings: SamplingSettings):
        self.share, self.codes = copy_share(condition, config, settings), None
        if not self.share.any():
            return
        retrieved = condition.retrieved
        batch, n_steps, n_parts = shape
        codes = retrieved.tokens[:, :, :n_steps]
        self.codes = codes.new_full((batch, codes.shape[1], n_steps, n_parts, codes.shape[-1]), NOTHING)
        there = retrieved.token_mask[:, :, :n_steps]
        self.codes[:, :, : codes.shape[2]] = torch.where(there[..., None, None], codes, NOTHING)

    def __bool__(self) -> bool:
        return self.codes is not None

    @property
    def candidates(self) -> Tensor:
        """(B, K) which motions are as near to the prompt as the nearest, and copied from."""
        nearest = self.share.amax(dim=1, keepdim=True)
        return (self.share > 0) & (self.share >= nearest - AS_NEAR)

    def base(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Base codes (B, N, J) of the retrieved motions `source` (B,), and their shares (B, N, J)."""
        rows = torch.arange(len(source), device=source.device)
        codes = self.codes[rows, source, ..., 0]
        return codes, self.share[rows, source][:, None, None] * (codes != NOTHING)

    def above(self, below: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (B, N, J) of the level above `below` (B, N, J, level), and their shares.

        A code corrects what the levels below it left, so it is proposed where all of those are the retrieved motion's;
        of several such motions by the nearest.
        """
        level = below.shape[-1]
        if level >= self.codes.shape[-1]:
            nothing = torch.full_like(below[..., 0], NOTHING)
            return nothing, torch.zeros(nothing.shape, device=below.device)
        fits = (self.codes[..., :level] == below[:, None]).all(dim=-1)  # (B, K, N, J)
        share, source = (self.share[:, :, None, None] * fits).max(dim=1)
        return self.codes[..., level].gather(1, source[:, None])[:, 0], share


def mixed(logits: Tensor, codes: Tensor, share: Tensor) -> Tensor:
    """Logits (..., V) of a model's logits (..., V) and the proposed codes (...), mixed by share (...).

    Where the share is 0 they stay the very same bits, whatever company a sample is in.
    """
    probability = (1 - share[..., None]) * logits.softmax(dim=-1, dtype=torch.float32)
    probability = probability.scatter_add(-1, codes.clamp(min=0)[..., None], share[..., None].float())
    return torch.where(share[..., None] > 0, probability.log().to(logits.dtype), logits)


def told_apart(certainty: Tensor, share: Tensor) -> Tensor:
    """Probabilities (...) of what was drawn, by which it is ranked: of mixed ones, by share (...), three digits.

    The model gives many a copied code hardly anything, so that they differ by less than the company of a sample does.
    """
    return torch.where(share > 0, certainty.round(decimals=3), certainty)
