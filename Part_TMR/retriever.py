"""A trained retriever, frozen, loaded from its run folder.

Legend: B batch, T frames, G parts, D embedding, C part width.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from models.configs import PartTMRConfig
from Part_TMR.model import RetrieverModel
from Part_TMR.part_encoder import MotionEmbedding
from utils.batches import Batches, checked_motion, length_mask
from utils.checkpoint import load_state, read_model, to_half
from utils.errors import UserError
from utils.row_store import Row
from utils.run import Run

if TYPE_CHECKING:
    from models.text_encoder import TextEncoder

# Numbers in one activation of all part encoders: on a CPU what its cache holds, on a GPU what keeps it busy.
ACTIVATION_AT_ONCE = {"cpu": 1 << 20, "cuda": 1 << 26}
TEXTS_AT_ONCE = 256
TRAINED_TEXT_ENCODERS = ("distilbert",)
# What decides an embedding and does not show in names and shapes of the weights.
HASHED_SETTINGS = ("parts", "patch_frames", "motion_heads", "text_encoder", "text_heads")


class Retriever:
    """Sentences and raw motions -> unit vectors in one space.

    Args:
        model: the trained model; it is frozen and put into eval mode.
        text_encoder: what makes the text features.
        name: of the run, for messages and manifests.
    """

    def __init__(self, model: RetrieverModel, text_encoder: TextEncoder, name: str) -> None:
        self.model = model.requires_grad_(False).eval()
        self.text_encoder = text_encoder
        self.name = name
        self.config = model.config
        self.hash = retriever_hash(model)

    @classmethod
    def load(
        cls,
        run_dir: Path | str,
        device: torch.device | str = "cpu",
        text_encoder: TextEncoder | None = None,
        checkpoint: Path | None = None,
    ) -> Retriever:
        """Loads a run.

        Args:
            run_dir: holds config.json and model/.
            device: where to run.
            text_encoder: shared with others if the run was trained with the same, frozen; else the run's own is built.
            checkpoint: a file of the run; none: the exported weights, else the best, else the latest.
        Raises:
            UserError: no such run, no weights, a config or weights of something else.
        """
        from models.text_encoder import build_text_encoder

        if not (Path(run_dir) / "config.json").is_file():
            raise UserError(f"{run_dir} is no trained retriever (config.json is missing): see Part_TMR.scripts.train")
        run = Run(run_dir, "tmr")
        config = run.section("model", PartTMRConfig)
        trained = config.text_encoder in TRAINED_TEXT_ENCODERS
        if text_encoder is None or text_encoder.name != config.text_encoder or trained:
            text_encoder = build_text_encoder(config.text_encoder, device=device)
        model = RetrieverModel(config, run.format, text_encoder.dim, text_encoder=text_encoder if trained else None)
        path = checkpoint or run.checkpoint()
        load_state(model, read_model(path), path)
        return cls(model.to(device), text_encoder, run.name)

    @property
    def device(self) -> torch.device:
        """Where it runs, and where embeddings come out."""
        return self.model.normalizer.mean.device

    def batches(self, frames: Sequence[int]) -> Batches:
        """How motions of so many frames are put into batches."""
        numbers = ACTIVATION_AT_ONCE.get(self.device.type, ACTIVATION_AT_ONCE["cpu"])
        at_once = numbers * self.config.patch_frames // (self.model.n_parts * self.config.part_dim)
        return Batches(frames, self.device, at_once=at_once)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Sentences -> (B, D) of unit length. Repeated ones are computed once."""
        distinct = list(dict.fromkeys(texts))
        number = {text: row for row, text in enumerate(distinct)}
        rows = [torch.empty(0, self.config.embed_dim, device=self.device)]
        for start in range(0, len(distinct), TEXTS_AT_ONCE):
            chunk: Any = distinct[start : start + TEXTS_AT_ONCE]
            if self.model.text_encoder is None:
                chunk = self.text_encoder.features(chunk).to(self.device)
            rows.append(self.model.encode_text(chunk))
        return torch.cat(rows)[[number[text] for text in texts]]

    def caption_encoder(self, captions: Sequence[str], cache_dir: Path) -> Callable[[Tensor], Tensor]:
        """What embeds captions by their numbers, (B,) -> (B, D).

        The features of a frozen text encoder are those that are kept in `cache_dir`, where a training made them.
        """
        if self.model.text_encoder is not None:
            return lambda numbers: self.encode_text([captions[number] for number in numbers.tolist()])
        from models.text_encoder import TextFeatureStore

        store = TextFeatureStore(self.text_encoder, captions, cache_dir)

        @torch.no_grad()
        def encode(numbers: Tensor) -> Tensor:
            return self.model.encode_text(store.rows(numbers).to(self.device))

        return encode

    def encode_motion(self, motions: Sequence[np.ndarray | Row | Tensor]) -> MotionEmbedding:
        """Raw features, (T, D_features) each of any length -> motion (B, D), parts (B, G, C), in the given order.

        Raises:
            UserError: a motion without frames, of another width, or not finite; says which.
        """

        @torch.no_grad()
        def encode(numbers: list[int]) -> Iterator[tuple[Tensor, Tensor]]:
            rows = [checked_motion(motions[number], number, width) for number in numbers]
            padded = pad_sequence(rows, batch_first=True)
            mask = length_mask(torch.tensor([len(row) for row in rows]), padded.shape[1])
            return zip(*self.model.encode_motion(padded.to(self.device), mask.to(self.device)), strict=True)

        width = len(self.model.normalizer.mean)
        motion_rows = torch.empty(len(motions), self.config.embed_dim, device=self.device)
        part_rows = torch.empty(len(motions), self.model.n_parts, self.config.part_dim, device=self.device)
        for number, (motion, parts) in self.batches([len(motion) for motion in motions]).map(encode):
            motion_rows[number], part_rows[number] = motion, parts
        return MotionEmbedding(motion_rows, part_rows)


def retriever_hash(model: RetrieverModel) -> str:
    """Tells one retriever from another by architecture and weights; a half-precision export keeps its hash."""
    settings = {name: getattr(model.config, name) for name in HASHED_SETTINGS} | {"layout": model.form.name}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(to_half(value.detach().cpu()).contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
