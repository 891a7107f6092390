"""What an evaluator is. Letters: B batch, T frames, D dimensions of the joint space."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from storage.row_store import Row, RowStore, identity
from utils.batches import Batches, checked_motion
from utils.errors import UserError
from utils.fingerprint import weights_hash

if TYPE_CHECKING:
    from data.clips import Caption

FRAMES_PER_STEP = 4
MOTIONS_AT_ONCE, TEXTS_AT_ONCE = 32, 256


class Evaluator(ABC):
    """Frozen encoders of captions and motions. An embedding never depends on what else is embedded with it.

    Args:
        name: `guo` or `own`, for tables and files.
        network: put into evaluation mode and frozen.
        n_features: width of a raw feature row.
        dimension: D.

    Attributes:
        fingerprint: tells these weights and statistics from others: numbers of two evaluators are not comparable.
    """

    def __init__(self, name: str, network: nn.Module, n_features: int, dimension: int) -> None:
        self.name, self.n_features, self.dimension = name, n_features, dimension
        self.network = network.eval().requires_grad_(False)
        self.fingerprint = weights_hash(network.state_dict())

    @abstractmethod
    def embed_text(self, captions: Sequence[Caption]) -> np.ndarray:
        """Captions -> (B, D) float32.

        Raises:
            UserError: a caption that this evaluator cannot read; it is named.
        """

    @abstractmethod
    def embed_motion(self, motions: Sequence[np.ndarray]) -> np.ndarray:
        """Raw features, (T, n_features) each, T at least 4 -> (B, D) float32.

        Raises:
            UserError: a motion of another width, too short, too long, or not finite; its number is named.
        """

    def kept_motions(self, motions: Sequence[np.ndarray | Row], cache_dir: Path) -> np.ndarray:
        """`embed_motion`, each motion once for this evaluator: what was embedded before is read from `cache_dir`."""
        store = RowStore(cache_dir / f"evaluated_{self.name}_{self.fingerprint}", (self.dimension,), np.float32)

        def embed(numbers: list[int]) -> np.ndarray:
            return self.embed_motion([motions[number] for number in numbers])[:, None]

        batches = Batches([len(motion) for motion in motions], self.device, most=MOTIONS_AT_ONCE)
        keys = [identity(motion) for motion in motions]
        return np.concatenate(batches.kept(store, keys, embed, "embedding motions for the evaluator", "frame"))

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return next(iter(self.network.parameters())).device

    @torch.no_grad()
    def _embed(self, sizes: Sequence[int], most: int, embed: Callable[[list[int]], Tensor]) -> np.ndarray:
        """Numbers of items -> (b, D), for at most so many items of like size at once -> (B, D) of all."""
        rows = torch.empty(len(sizes), self.dimension)
        for chosen in Batches(sizes, self.device, most).of(range(len(sizes))):
            rows[chosen] = embed(chosen).cpu()
        return rows.numpy()

    def _checked(self, motions: Sequence[np.ndarray], max_frames: int | None = None) -> list[Tensor]:
        """The motions as float32 CPU tensors."""
        checked = []
        for number, motion in enumerate(motions):
            rows = checked_motion(motion, number, self.n_features)
            if len(rows) < FRAMES_PER_STEP or (max_frames is not None and len(rows) > max_frames):
                limits = f"at least {FRAMES_PER_STEP}" if max_frames is None else f"{FRAMES_PER_STEP} to {max_frames}"
                raise UserError(f"motion {number} has {len(rows)} frames: the evaluator reads {limits}")
            checked.append(rows)
        return checked
