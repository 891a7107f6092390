"""Text features of a whole split: computed once, kept on disk in half precision, read by row."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from models.text.encoder import TextEncoder, TextFeatures
from utils.errors import UserError
from utils.files import atomic_path, slugify

FORMAT_VERSION = "1"


class TextFeatureStore:
    """Features of a list of captions.

    The file `<encoder>_<hash>.safetensors` in `cache_dir` is used when it is there, otherwise it is made; its hash is
    of the encoder's weights and the captions, so that it can never belong to others. It is mapped, not read.

    Args:
        encoder: frozen.
        captions: C texts; repeated ones are computed and kept once.
        cache_dir: folder of the file.

    Raises:
        UserError: there are no captions, or the folder cannot be written.
    """

    def __init__(self, encoder: TextEncoder, captions: Sequence[str], cache_dir: Path | str) -> None:
        if not captions:
            raise UserError("there are no captions to encode")
        distinct = list(dict.fromkeys(captions))
        number = {text: index for index, text in enumerate(distinct)}
        self.dim = encoder.dim
        self._row = torch.tensor([number[text] for text in captions])
        digest = hashlib.sha256("\0".join([FORMAT_VERSION, encoder.fingerprint, *distinct]).encode()).hexdigest()[:16]
        self.path = Path(cache_dir) / f"{slugify(encoder.name)}_{digest}.safetensors"
        content = self._read()
        if content is None:
            self._write(encoder, number)
            content = self._read()
        if content is None:
            raise UserError(f"text features {self.path} cannot be read back: is the disk full?")
        self._pooled, self._states, self._ends = content["pooled"], content["states"], content["ends"]

    def __len__(self) -> int:
        return len(self._row)

    def rows(self, indices: Tensor | Sequence[int]) -> TextFeatures:
        """Features of the captions with these indices, in single precision, on the CPU."""
        rows = self._row[torch.as_tensor(indices, dtype=torch.long).cpu()]
        ends = self._ends[rows]
        starts = torch.where(rows > 0, self._ends[rows - 1], 0)
        lengths = ends - starts
        steps = torch.arange(int(lengths.max()) if len(rows) else 1)
        mask = steps[None] < lengths[:, None]
        # Padded places read any state that exists, and are zeroed.
        places = torch.where(mask, starts[:, None] + steps[None], 0)
        states = self._states[places].float() * mask[..., None]
        return TextFeatures(self._pooled[rows].float(), states, mask)

    def pooled(self) -> Tensor:
        """The vectors of all captions, (C, D) in single precision."""
        return self._pooled[self._row].float()

    def _write(self, encoder: TextEncoder, number: dict[str, int]) -> None:
        """Computes and saves the features of the distinct captions."""
        rows: list[tuple[Tensor, Tensor] | None] = [None] * len(number)
        stream = encoder.stream(list(number))
        for text, pooled, states in tqdm(
            stream, total=len(number), desc=f"encoding captions ({encoder.name})", delay=2, disable=None
        ):
            rows[number[text]] = (pooled.half().cpu(), states.half().cpu())
        found = [row for row in rows if row is not None]
        content = {
            "pooled": torch.stack([pooled for pooled, _ in found]),
            "states": torch.cat([states for _, states in found]),
            "ends": torch.tensor([len(states) for _, states in found]).cumsum(0),
        }
        with atomic_path(self.path) as temporary:
            save_file(content, temporary)

    def _read(self) -> dict[str, Tensor] | None:
        """The mapped file, or None when it is missing or damaged."""
        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in ("pooled", "states", "ends")}
        except (SafetensorError, OSError):
            return None
