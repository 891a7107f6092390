"""What generators see of a library's motions, and how near these come to a prompt.

Letters: B queries, M motions, K retrieved, D embedding, S width of a sentence vector.
"""

from __future__ import annotations

from functools import cached_property

import torch
import torch.nn.functional as functional
from torch import Tensor

from models.rag.captions import unit
from models.rag.embedded import Embedded
from models.transformer.condition import Retrieved

SAME = 0.999  # similarity from which two sentences count as one


class GeneratorView:
    """Looks at the motions of a library by their numbers.

    Args:
        embedded: the motions; in half precision they stay in their files, of which little is read.
    """

    def __init__(self, embedded: Embedded) -> None:
        self.embedded, self.device = embedded, embedded.motion.device
        self._counts = torch.from_numpy(embedded.entries.counts)
        self._ends = torch.from_numpy(embedded.entries.ends)
        self._there = [each.to(self.device) for each in (self._counts, self._ends)]
        self._most = int(self._counts.max())

    def gather(self, indices: Tensor) -> Retrieved:
        """What a generator sees of motions (B, K): R_t (mean of a motion's captions), R_m, parts, and tokens if any.

        How near they come to a prompt is not known here: 0, see `agreement`.
        """
        indices = indices.to(self.device)
        tokens = steps = None
        if self.embedded.tokens is not None:
            steps = self.embedded.steps[indices].long()
            # To ask a GPU for the longest would make the host wait; sampling drops what no one sees anyway.
            longest = int(steps.max()) if steps.device.type == "cpu" else self.embedded.tokens.shape[1]
            tokens = self.embedded.tokens[indices][:, :, :longest].long()
        return Retrieved(
            text=self._text_of(indices),
            motion=self.embedded.motion[indices].float(),
            mask=torch.ones_like(indices, dtype=torch.bool),
            parts=self.embedded.parts[indices].float(),
            tokens=tokens,
            steps=steps,
            agreement=torch.zeros(indices.shape, device=indices.device),
        )

    def agreement(self, sentences: Tensor, motions: Tensor, hidden: Tensor | None = None) -> Tensor:
        """How near the captions of motions (B, K) come to sentences (B, S), unit vectors: the nearest, (B, K), 0 to 1.

        Args:
            hidden: (B,) where a motion's caption that is the very sentence does not count, if it has others.

        Raises:
            ValueError: the library holds no sentence vectors.
        """
        if self.embedded.sentences is None:
            raise ValueError("no sentence vectors to compare")
        sentences, motions = sentences.to(self.device), motions.to(self.device)
        counts, ends = (each[motions] for each in self._there)
        most = torch.arange(int(counts.max()) if counts.device.type == "cpu" else self._most, device=self.device)
        rows = (ends - counts)[..., None] + torch.minimum(most, counts[..., None] - 1)  # (B, K, captions)
        near = torch.einsum("bs,bkcs->bkc", sentences, unit(self.embedded.sentences[rows]))
        if hidden is not None:
            others = near.masked_fill(near > SAME, -1.0)
            use = hidden[:, None] & (others > -1).any(dim=-1)
            near = torch.where(use[..., None], others, near)
        return near.amax(dim=-1).clamp(0, 1)

    @cached_property
    def motion_text(self) -> Tensor:
        """(M, D): what a motion's captions say together, one R_t whatever the query, so that a retrieved motion is one
        number."""
        return self._mean_text(torch.arange(len(self._counts)))

    def _mean_text(self, motions: Tensor) -> Tensor:
        """(n,) on the CPU -> (n, D), summed in the order of the captions."""
        counts = self._counts[motions]
        of = torch.repeat_interleave(torch.arange(len(motions)), counts)
        rows = (self._ends[motions] - counts.cumsum(0))[of] + torch.arange(len(of))
        sums = torch.zeros(len(motions), self.embedded.text.shape[1], device=self.device)
        sums.index_add_(0, of.to(self.device), self.embedded.text[rows.to(self.device)].float())
        return functional.normalize(sums, dim=-1)

    def _text_of(self, indices: Tensor) -> Tensor:
        """Motions (B, K) -> R_t (B, K, D): of a library in its files only those that are asked for."""
        if self.embedded.motion.dtype != torch.float16:
            return self.motion_text[indices]
        return self._mean_text(indices.flatten()).unflatten(0, indices.shape)
