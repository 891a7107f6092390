"""A trained retriever, frozen, loaded from its run folder.

Legend: B batch, T frames, G parts, D embedding, C part width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from models.configs import PartTMRConfig
from Part_TMR.model import RetrieverModel
from Part_TMR.part_encoder import MotionEmbedding
from utils.errors import UserError
from utils.fingerprint import retriever_hash
from utils.row_store import Row
from utils.run import Run

if TYPE_CHECKING:
    from models.text_encoder import TextEncoder, TextFeatureStore

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
            text_encoder: shared with others if the run was trained with the same; else the run's own is built.
            which: checkpoint of the run; none: the exported weights, else the best, else the latest.
        Raises:
            UserError: no weights, or a config or weights of something else.
        """
        config = run.of_stage("tmr").section("model", PartTMRConfig)
        text_encoder = text_encoder_of(config, device, text_encoder)
        trained = text_encoder if config.text_encoder in TRAINED_TEXT_ENCODERS else None
        model = RetrieverModel(config, run.format, text_encoder.dim, text_encoder=trained)
        return cls(run.filled(model, which, device), text_encoder, run.name)

    @property
    def device(self) -> torch.device:
        """Where it runs, and where embeddings come out."""
        return self.model.normalizer.mean.device

    @property
    def frames_at_once(self) -> int:
        """Frames of one batch of `encode_motion`, padding counted."""
        numbers = ACTIVATION_AT_ONCE.get(self.device.type, ACTIVATION_AT_ONCE["cpu"])
        return numbers * self.config.patch_frames // (self.model.n_parts * self.config.part_dim)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str], progress: Callable[[int], object] | None = None) -> Tensor:
        """Sentences -> (B, D) of unit length. Repeated ones are computed once. `progress`: see `encode_motion`."""
        distinct = list(dict.fromkeys(texts))
        number = {text: row for row, text in enumerate(distinct)}
        rows = [torch.empty(0, self.config.embed_dim, device=self.device)]
        for start in range(0, len(distinct), TEXTS_AT_ONCE):
            chunk: Any = distinct[start : start + TEXTS_AT_ONCE]
            if progress is not None:
                progress(len(chunk))
            if self.model.text_encoder is None:
                chunk = self.text_encoder.features(chunk).to(self.device)
            rows.append(self.model.encode_text(chunk))
        if progress is not None:
            progress(len(texts) - len(distinct))
        return torch.cat(rows)[[number[text] for text in texts]]

    @torch.no_grad()
    def encode_store(
        self, store: TextFeatureStore, rows: Tensor, progress: Callable[[int], object] | None = None
    ) -> Tensor:
        """Captions `rows` (C,) of features that this retriever's frozen text encoder made before -> (C, D)."""
        encoded = []
        for chunk in rows.split(TEXTS_AT_ONCE):
            encoded.append(self.model.encode_text(store.rows(chunk).to(self.device)))
            if progress is not None:
                progress(len(chunk))
        return torch.cat(encoded)

    @torch.no_grad()
    def encode_motion(
        self, motions: Sequence[np.ndarray | Row | Tensor], progress: Callable[[int], object] | None = None
    ) -> MotionEmbedding:
        """Raw features, (T, D_features) each of any length -> motion (B, D), parts (B, G, C), in the given order.

        Motions of like length are encoded together, so that little is padded; that changes nothing in the result.

        Args:
            motions: the features.
            progress: called with the number of those that were just done.
        Raises:
            UserError: a motion without frames, of another width, or not finite; says which.
        """
        motions = [self._checked(motion, number) for number, motion in enumerate(motions)]
        order = sorted(range(len(motions)), key=lambda number: len(motions[number]))
        motion_rows = torch.empty(len(motions), self.config.embed_dim, device=self.device)
        part_rows = torch.empty(len(motions), self.model.n_parts, self.config.part_dim, device=self.device)
        frames_at_once = self.frames_at_once
        while order:
            count = max(1, frames_at_once // len(motions[order[-1]]))
            numbers, order = order[-count:], order[:-count]
            lengths = torch.tensor([len(motions[number]) for number in numbers])
            padded = pad_sequence([motions[number] for number in numbers], batch_first=True)
            mask = torch.arange(padded.shape[1]) < lengths[:, None]
            encoded = self.model.encode_motion(padded.to(self.device), mask.to(self.device))
            motion_rows[numbers], part_rows[numbers] = encoded.motion, encoded.parts
            if progress is not None:
                progress(len(numbers))
        return MotionEmbedding(motion_rows, part_rows)

    def _checked(self, motion: np.ndarray | Row | Tensor, number: int) -> Tensor:
        motion = torch.as_tensor(motion[:], dtype=torch.float32).cpu()
        width = len(self.model.normalizer.mean)
        if motion.ndim != 2 or motion.shape[1] != width or not len(motion):
            raise UserError(f"motion {number} must have the shape (frames, {width}), not {tuple(motion.shape)}")
        if not torch.isfinite(motion).all():
            raise UserError(f"motion {number} has values that are not finite")
        return motion


def text_encoder_of(
    config: PartTMRConfig, device: torch.device | str, shared: TextEncoder | None = None
) -> TextEncoder:
    """The text encoder of a config: the shared one if it is that and frozen, else a new one."""
    if shared is not None and shared.name == config.text_encoder and shared.name not in TRAINED_TEXT_ENCODERS:
        return shared
    from models.text_encoder import build_text_encoder

    return build_text_encoder(config.text_encoder, device=device)
