"""Where the motions of a table row come from. The name of a row is the name of its protocol.

real: the clips themselves. vq: their reconstruction. mask: text -> base tokens. res: text -> base -> residual tokens,
the full pipeline. gt-base: ground-truth base tokens + residual tokens from the text, a diagnosis and never a result.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data.clips import Clip
from models.configs import SamplingSettings
from models.rag.database import Entry
from models.transformer.sampling import sample_residual
from models.vq.tokenise import decode_motions, tokenise
from options.evaluation import RetrievalMode
from Part_TMR.library import embed_library
from pipeline.evaluation.samples import Sample
from pipeline.text_to_motion import TextToMotion

RETRIEVAL_SALT = 3  # of random retrieval's own stream of random numbers


@dataclass(frozen=True)
class Fixed:
    """A row whose motions are the same in every repeat: `real`, and `vq`, the ground truth through the RVQ-VAE.

    Attributes:
        name: of the row.
        motions: raw features (T, D), one a clip.
        reconstructed: they follow their clips frame by frame.
    """

    name: str
    motions: Sequence[np.ndarray]
    reconstructed: bool = False


class Generated:
    """A row of motions that `TextToMotion` makes from the captions, as long as the clips.

    Attributes:
        multimodal: several tries give different motions.
        progress: called with a number of motions when so many more are made.
    """

    multimodal = True
    progress: Callable[[int], object] = staticmethod(lambda motions: None)

    def __init__(
        self,
        name: str,
        t2m: TextToMotion,
        clips: Sequence[Clip],
        settings: SamplingSettings,
        retrieval: RetrievalMode = "on",
        batch_size: int = 32,
    ):
        self.name, self.t2m, self.clips, self.settings = name, t2m, clips, settings
        self.retrieval, self.batch_size = retrieval, batch_size
        self.n_library = len(t2m.database) if t2m.database is not None else 0
        if retrieval == "self" and t2m.database is not None:
            self.t2m = copy(t2m)
            self.t2m.database = _with_clips(t2m, clips)

    def motions(self, samples: Sequence[Sample], seed: int) -> list[np.ndarray]:
        """One generated motion a sample, with seeds that follow from `seed`."""
        made = self.t2m.generate(
            [sample.text for sample in samples],
            [sample.frames for sample in samples],
            [seed * 1_000_003 + number for number in range(len(samples))],
            sampling=self.settings,
            retrieval=self.retrieval != "off",
            retrieved=self._retrieved(samples, seed),
            batch_size=self.batch_size,
            progress=lambda made, all_of_them: self.progress(1),
        )
        return [motion.features for motion in made]

    def _retrieved(self, samples: Sequence[Sample], seed: int) -> Tensor | None:
        n_retrieved = self.t2m.n_retrieved
        if not self.n_library or self.retrieval in ("on", "off"):
            return None
        if self.retrieval == "self":
            own = torch.tensor([self.n_library + sample.clip_index for sample in samples])
            return own[:, None].repeat(1, n_retrieved)
        generator, count = np.random.default_rng((seed, RETRIEVAL_SALT)), min(n_retrieved, self.n_library)
        drawn = [generator.choice(self.n_library, count, replace=False) for _ in samples]
        return torch.from_numpy(np.stack(drawn))


class Trial(ABC):
    """A row that measures what it makes itself.

    Args:
        name: of the row.
        n_motions: that a repeat makes.
    """

    multimodal = False
    progress: Callable[[int], object] = staticmethod(lambda motions: None)

    def __init__(self, name: str, n_motions: int) -> None:
        self.name, self.n_motions = name, n_motions

    @abstractmethod
    def numbers(
        self, samples: Sequence[Sample], seed: int, scored: Callable[[Sequence[np.ndarray]], dict[str, float]]
    ) -> dict[str, float]:
        """Named numbers of a repeat.

        Args:
            samples: the repeat's.
            scored: numbers of features (T, D), one motion a sample, as the other rows have them.
        """


class GroundTruthBase(Generated):
    """Ground-truth base tokens, residual tokens from the text."""

    multimodal = False  # the residual tokens are the most probable ones: the same in every try

    @torch.no_grad()
    def motions(self, samples: Sequence[Sample], seed: int) -> list[np.ndarray]:
        """The residual transformer's work on perfect base tokens."""
        retrieved = self._retrieved(samples, seed)
        features: list[np.ndarray] = []
        for start in range(0, len(samples), self.batch_size):
            rows = slice(start, start + self.batch_size)
            chosen = samples[rows]
            base = tokenise(self.t2m.vq, [self.clips[s.clip_index].features[: s.frames] for s in chosen])
            steps = torch.tensor([len(codes) for codes in base])
            padded = torch.nn.utils.rnn.pad_sequence(base, batch_first=True)[..., 0].to(self.t2m.device)
            condition = self.t2m.condition(
                [s.text for s in chosen], self.retrieval != "off", None if retrieved is None else retrieved[rows]
            )
            codes = sample_residual(self.t2m.residual, padded, condition, steps, self.settings)
            features += decode_motions(self.t2m.vq, codes, steps)
            self.progress(len(chosen))
        return features


def _with_clips(t2m: TextToMotion, clips: Sequence[Clip]):
    """The library with the evaluated clips themselves added, in order: retrieval cannot do better than that."""
    entries = [Entry(f"self/{clip.id}", f"self/{clip.take}", tuple(c.text for c in clip.captions)) for clip in clips]
    features = [clip.features for clip in clips]
    tokens = tokenise(t2m.vq, features) if t2m.database.embedded.tokens is not None else None
    sentences = t2m.database.embedded.sentences is not None
    return t2m.database.add(embed_library(t2m.retriever, entries, features, tokens, sentences=sentences))
