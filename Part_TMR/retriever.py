"""A trained retriever, frozen, loaded from its run folder.

Legend: B batch, T frames, G parts, D embedding, C part width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from models.configs import PartTMRConfig
from models.rag.captions import unit
from models.rag.queries import Queries
from Part_TMR.model import RetrieverModel
from Part_TMR.part_encoder import MotionEmbedding
from storage.row_store import Row
from utils.batches import Batches, checked_motion, length_mask
from utils.fingerprint import retriever_hash
from utils.run import Run
from utils.threads import map_on_cores

if TYPE_CHECKING:
    from models.text_encoder import TextEncoder

# Numbers in one activation of all part encoders: on a CPU what its cache holds, on a GPU what keeps it busy.
ACTIVATION_AT_ONCE = {"cpu": 1 << 20, "cuda": 1 << 26}
TEXTS_AT_ONCE = 256
TRAINED_TEXT_ENCODERS = ("distilbert",)


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
        self.hash = retriever_hash(vars(model.config), model.form.name, model.state_dict())

    @classmethod
    def load(
        cls,
        run: Run,
        device: torch.device | str = "cpu",
        text_encoder: TextEncoder | None = None,
        which: str | None = None,
    ) -> Retriever:
        """Loads a run.

        Args:
            run: of stage tmr.
            device: where to run.
            text_encoder: shared with others if the run was trained with the same, frozen; else the run's own is built.
            which: checkpoint of the run; none: the exported weights, else the best, else the latest.
        Raises:
            UserError: no weights, or a config or weights of something else.
        """
        from models.text_encoder import build_text_encoder

        config = run.of_stage("tmr").section("model", PartTMRConfig)
        trained = config.text_encoder in TRAINED_TEXT_ENCODERS
        shared = None if trained else text_encoder
        text_encoder = build_text_encoder(config.text_encoder, device, shared=shared)
        own = text_encoder if trained else None

        def build() -> RetrieverModel:
            return RetrieverModel(config, run.format, text_encoder.dim, text_encoder=own)

        return cls(run.filled(config, build, which, device), text_encoder, run.name)

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

    @cached_property
    def sentences(self) -> TextEncoder:
        """What says which sentences mean about the same: frozen, and the same whatever the retriever was trained on."""
        from models.text_encoder import build_text_encoder

        return build_text_encoder("minilm", self.device, shared=None if self.model.text_encoder else self.text_encoder)

    def queries(self, texts: Sequence[str]) -> Queries:
        """Captions as a library is asked for them."""
        learned = self.encode_text(texts)
        if self.sentences is not self.text_encoder:
            self.sentences.forget()  # the vectors of a text are those of its company, never of an earlier one's
        return Queries(learned, tuple(texts), unit(self.sentences.encode(texts)))

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
        def encode(numbers: list[int]) -> MotionEmbedding:
            rows = [checked_motion(motions[number], number, width) for number in numbers]
            padded = pad_sequence(rows, batch_first=True)
            mask = length_mask(torch.tensor([len(row) for row in rows]), padded.shape[1])
            return self.model.encode_motion(padded.to(self.device), mask.to(self.device))

        width = len(self.model.normalizer.mean)
        motion_rows = torch.empty(len(motions), self.config.embed_dim, device=self.device)
        part_rows = torch.empty(len(motions), self.model.n_parts, self.config.part_dim, device=self.device)
        batches = self.batches([len(motion) for motion in motions]).of(range(len(motions)))
        for numbers, encoded in zip(batches, map_on_cores(encode, batches, self.device), strict=True):
            motion_rows[numbers], part_rows[numbers] = encoded
        return MotionEmbedding(motion_rows, part_rows)
