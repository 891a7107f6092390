"""What the rest of the system sees of a text encoder: texts in, features out, the same alone or in any batch."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from utils.batches import length_mask
from utils.errors import UserError
from utils.threads import map_on_cores

CHUNK_SIZE = 64  # texts a forward pass
CACHE_SIZE = 1024  # texts whose features are remembered


@dataclass(frozen=True)
class TextFeatures:
    """Features of B texts.

    Attributes:
        pooled: (B, D), one vector a text.
        states: (B, L, D), one a token; zero where padded.
        mask: (B, L) True = valid.
    """

    pooled: Tensor
    states: Tensor
    mask: Tensor

    def __len__(self) -> int:
        return len(self.pooled)

    def __getitem__(self, rows: Tensor | Sequence[int] | slice) -> TextFeatures:
        """The chosen texts (a list, slice or tensor of row numbers, or a boolean tensor)."""
        if isinstance(rows, int):
            raise TypeError("rows must keep the batch dimension: use [row] instead of row")
        return TextFeatures(self.pooled[rows], self.states[rows], self.mask[rows])

    def to(self, device: torch.device | str) -> TextFeatures:
        """The same on `device`."""
        return TextFeatures(*(tensor.to(device, non_blocking=True) for tensor in (self.pooled, self.states, self.mask)))

    def pin_memory(self) -> TextFeatures:
        """The same in memory that a GPU can copy from by itself; data loaders call it."""
        return TextFeatures(self.pooled.pin_memory(), self.states.pin_memory(), self.mask.pin_memory())


def pad_features(rows: Sequence[tuple[Tensor, Tensor]]) -> TextFeatures:
    """Pairs of pooled (D,) and states (L_i, D), each of one text -> one batch."""
    lengths = torch.tensor([len(states) for _, states in rows])
    states = pad_sequence([states for _, states in rows], batch_first=True)
    mask = length_mask(lengths, states.shape[1]).to(states.device)
    return TextFeatures(torch.stack([pooled for pooled, _ in rows]), states, mask)


class Tower(nn.Module):
    """Token ids -> features. It stays in evaluation mode while none of its parameters is trained: dropout would make
    features that differ from the remembered ones.

    Attributes:
        width: D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    @property
    def frozen(self) -> bool:
        """Whether no parameter is trained."""
        return not any(parameter.requires_grad for parameter in self.parameters())

    def train(self, mode: bool = True) -> Tower:
        """A frozen tower refuses train mode."""
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
        raise NotImplementedError


Tokenize = Callable[[Sequence[str]], list[list[int]]]


def known_words(name: str, tokenize: Tokenize, n_words: int) -> Tokenize:
    """A tokenizer whose files are somebody's: what it gives is looked at before a tower of `n_words` words reads it.

    Raises:
        UserError: when it is called: it makes nothing of a text, or words that the tower does not have.
    """

    def checked(texts: Sequence[str]) -> list[list[int]]:
        rows = tokenize(texts)
        for text, row in zip(texts, rows, strict=True):
            if not row or min(row) < 0 or max(row) >= n_words:
                told = f"its tokenizer makes of {text[:40]!r} what its weights do not know"
                raise UserError(f"text encoder {name}: {told}")
        return rows

    return checked


class TextEncoder:
    """A tower and its tokenizer. Features are computed without gradients, in chunks of similar lengths, and those of
    recent texts are remembered while the tower is frozen.

    Args:
        name: as in the configs, e.g. `minilm`.
        module: the tower.
        tokenize: texts -> token ids of each, at least one, cut where they are too many.

    Attributes:
        dim: channels D of its features.
    """

    def __init__(self, name: str, module: Tower, tokenize: Tokenize) -> None:
        self.name, self.module, self.tokenize, self.dim = name, module, tokenize, module.width
        self._cache: OrderedDict[str, tuple[Tensor, Tensor]] = OrderedDict()
        self._cache_revision = 0

    @property
    def frozen(self) -> bool:
        """Whether a text's features stay the same for good."""
        return self.module.frozen

    @property
    def device(self) -> torch.device:
        """Where the features are made."""
        return next(self.module.parameters()).device

    @property
    def fingerprint(self) -> str:
        """Tells these features from those of other weights; names cached files.

        Raises:
            ValueError: the tower is trained: its features are not worth keeping.
        """
        if not self.frozen:
            raise ValueError(f"the text encoder {self.name} is being trained: its features cannot be cached")
        digest = hashlib.sha256()
        for name, tensor in self.module.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy())
        return digest.hexdigest()[:16]

    def to(self, device: torch.device | str) -> TextEncoder:
        """Moves the tower; returns itself."""
        self.module.to(device)
        self.forget()
        return self

    def forget(self) -> None:
        """Remembers no text any more. Its features depend, to rounding, on the texts that were encoded beside it."""
        self._cache.clear()

    def forward_features(self, texts: Sequence[str]) -> TextFeatures:
        """Features of at least one text in one pass; with gradients when the tower is trained."""
        ids = [torch.tensor(row) for row in self.tokenize(texts)]
        lengths = torch.tensor([len(row) for row in ids])
        mask = length_mask(lengths, int(lengths.max()))
        padded = not bool(mask.all())
        ids, mask = (rows.to(self.device, non_blocking=True) for rows in (pad_sequence(ids, batch_first=True), mask))
        return TextFeatures(*self.module(ids, mask, padded), mask)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """One vector a text, (B, D)."""
        pooled = {text: vector for text, vector, _ in self.stream(texts)}
        if not pooled:
            return torch.zeros(0, self.dim, device=self.device)
        return torch.stack([pooled[text] for text in texts])

    def features(self, texts: Sequence[str]) -> TextFeatures:
        """Vectors of texts and tokens; L is the longest text's number of tokens."""
        rows = {text: (pooled, states) for text, pooled, states in self.stream(texts)}
        if not rows:
            empty = torch.zeros(0, self.dim, device=self.device)
            return TextFeatures(empty, empty[:, None], torch.zeros(0, 1, dtype=torch.bool, device=self.device))
        return pad_features([rows[text] for text in texts])

    def stream(self, texts: Sequence[str]) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Yields each distinct text once: text, pooled (D,), states (L_i, D); known ones first, then the short ones."""
        if isinstance(texts, str):
            raise TypeError("texts must be a list of strings, not one string")
        revision = sum(parameter._version for parameter in self.module.parameters())  # changes with the weights
        if not self.frozen or revision != self._cache_revision:
            self._cache.clear()
            self._cache_revision = revision
        known = {text: self._cache[text] for text in dict.fromkeys(texts) if text in self._cache}
        self._remember(known)
        missing = sorted((text for text in dict.fromkeys(texts) if text not in known), key=self._size)
        chunks = [missing[start : start + CHUNK_SIZE] for start in range(0, len(missing), CHUNK_SIZE)]
        training = self.module.training
        self.module.eval()
        try:
            for text, features in known.items():
                yield text, *features
            for chunk, computed in zip(chunks, map_on_cores(self._compute, chunks, self.device), strict=True):
                if self.frozen:
                    self._remember(dict(zip(chunk, computed, strict=True)))
                for text, features in zip(chunk, computed, strict=True):
                    yield text, *features
        finally:
            self.module.train(training)

    def _size(self, text: str) -> int:
        """What texts are sorted by, so that those of one pass are about equally long."""
        return len(self.tokenize([text])[0])

    def _compute(self, texts: list[str]) -> list[tuple[Tensor, Tensor]]:
        """Pooled and unpadded states of each text, without gradients."""
        with torch.no_grad():
            features = self.forward_features(texts)
        lengths = features.mask.sum(1).tolist()
        # Clones: a view would keep the whole chunk in memory.
        return [(features.pooled[i].clone(), features.states[i, :n].clone()) for i, n in enumerate(lengths)]

    def _remember(self, entries: dict[str, tuple[Tensor, Tensor]]) -> None:
        """Keeps the most recently used texts."""
        self._cache.update(entries)
        for text in entries:
            self._cache.move_to_end(text)
        while len(self._cache) > CACHE_SIZE:
            self._cache.popitem(last=False)
