"""Text features of many captions: computed once, kept on disk in half precision without padding, read by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.text.encoder import TextEncoder, TextFeatures
from storage.row_store import RowStore, digest
from utils.batches import length_mask
from utils.errors import UserError
from utils.spelling import slugify


class TextFeatureStore:
    """Features of a list of captions.

    The folder `texts_<encoder>_<hash of its weights>` in `cache_dir` is shared by all lists: a caption that is there is
    not computed again. Nothing but the batch that is asked for is held in memory.

    Args:
        encoder: frozen.
        captions: C texts; repeated ones are computed and kept once.
        cache_dir: where the folder lies.

    Raises:
        UserError: there are no captions, or the folder cannot be written.
    """

    def __init__(self, encoder: TextEncoder, captions: Sequence[str], cache_dir: Path | str) -> None:
        if not captions:
            raise UserError("there are no captions to encode")
        self.dim = encoder.dim
        folder = Path(cache_dir) / f"texts_{slugify(encoder.name)}_{encoder.fingerprint}"
        # The first step of a row is the vector of the text, the others those of its tokens.
        self._store = RowStore(folder, (encoder.dim,), np.float16)
        self._keys = [digest(text) for text in captions]

        def encode(missing: list[int]) -> Iterator[tuple[int, np.ndarray]]:
            numbers = {captions[number]: number for number in missing}
            for text, pooled, states in encoder.stream(list(numbers)):
                yield numbers[text], torch.cat([pooled[None], states]).half().cpu().numpy()

        # Counted in letters: long texts take longer, and the time that is left should be right.
        what = f"encoding captions ({encoder.name})"
        self._store.complete(self._keys, encode, what, "letter", [len(text) for text in captions])

    def __len__(self) -> int:
        return len(self._keys)

    def rows(self, indices: Tensor | Sequence[int]) -> TextFeatures:
        """Features of the captions with these indices, in single precision, on the CPU."""
        rows = [self._store.read(self._keys[index]) for index in torch.as_tensor(indices, dtype=torch.long).tolist()]
        lengths = torch.tensor([len(row) - 1 for row in rows], dtype=torch.long)
        padded = np.zeros((len(rows), 1 + max([1, *lengths.tolist()]), self.dim), np.float16)
        for place, row in zip(padded, rows, strict=True):
            place[: len(row)] = row
        features = torch.from_numpy(padded)
        mask = length_mask(lengths, padded.shape[1] - 1)
        return TextFeatures(features[:, 0].float(), features[:, 1:].float(), mask)

    def pooled(self) -> Tensor:
        """The vectors of all captions, (C, D) in single precision."""
        rows = np.concatenate([self._store.read(key, 0, 1) for key in self._keys])
        return torch.from_numpy(rows.astype(np.float32))
