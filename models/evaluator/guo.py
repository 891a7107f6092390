"""Guo's evaluators (Guo et al., CVPR 2022), which all published numbers on HumanML3D and KIT-ML come from.

The parameter names and shapes are those of the published `text_mot_match/model/finest.tar`; widths are read from it.
Letters: B batch, T frames, N = T / 4 steps, L tokens of a caption, C width, D dimensions of the joint space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from models.evaluator.base import FRAMES_PER_STEP, MOTIONS_AT_ONCE, TEXTS_AT_ONCE, Evaluator
from models.evaluator.glove import POS_TAGS, WordVectors, vocabulary_files
from storage.arrays import read_array
from storage.checkpoint import load_state, read_checkpoint
from utils.errors import UserError
from utils.normalizer import Normalizer

if TYPE_CHECKING:
    from data.clips import Caption
    from data.specs import DatasetSpec

MAX_FRAMES = 196
N_CONTACTS = 4  # the last columns, which the evaluators do not see
SLOPE = 0.2
# Folder names of a dataset, ours and the published one's.
FOLDERS = {"humanml3d": ("humanml3d", "t2m"), "kit": ("kit",)}
WEIGHTS = Path("text_mot_match/model/finest.tar")
STATISTICS = tuple(Path(run) / "meta" for run in ("Comp_v6_KLD01", "Comp_v6_KLD005", "text_mot_match"))


class BidirectionalEncoder(nn.Module):
    """A bidirectional GRU with learned initial states; its two last states become the embedding.

    Args:
        input_width, width, dimension: channels of the input, C, D.
        pos_tags: classes that are embedded and added to the input; 0: none.
    """

    def __init__(self, input_width: int, width: int, dimension: int, pos_tags: int = 0) -> None:
        super().__init__()
        self.hidden = nn.Parameter(torch.zeros(2, 1, width))
        if pos_tags:
            self.pos_emb = nn.Linear(pos_tags, input_width)
        self.input_emb = nn.Linear(input_width, width)
        self.gru = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.output_net = nn.Sequential(
            nn.Linear(2 * width, width), nn.LayerNorm(width), nn.LeakyReLU(SLOPE), nn.Linear(width, dimension)
        )

    def forward(self, rows: Tensor, lengths: Tensor, pos: Tensor | None = None) -> Tensor:
        """rows (B, L, input_width), lengths (B,) on the CPU, pos (B, L, pos_tags) -> (B, D)."""
        if pos is not None:
            rows = rows + self.pos_emb(pos)
        packed = pack_padded_sequence(self.input_emb(rows), lengths, batch_first=True, enforce_sorted=False)
        _, last = self.gru(packed, self.hidden.repeat(1, len(rows), 1))
        return self.output_net(torch.cat([last[0], last[1]], dim=-1))


class MovementEncoder(nn.Module):
    """Two strided convolutions: normalised features (B, T, D_f - 4) -> movements (B, T / 4, C)."""

    def __init__(self, input_width: int, hidden: int, width: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            *(nn.Conv1d(input_width, hidden, 4, 2, 1), nn.Dropout(0.2), nn.LeakyReLU(SLOPE)),
            *(nn.Conv1d(hidden, width, 4, 2, 1), nn.Dropout(0.2), nn.LeakyReLU(SLOPE)),
        )
        self.out_net = nn.Linear(width, width)

    def forward(self, features: Tensor) -> Tensor:
        """(B, T, D_f - 4) -> (B, T / 4, C)."""
        return self.out_net(self.main(features.transpose(1, 2)).transpose(1, 2))


class GuoNetwork(nn.Module):
    """The three encoders and the statistics they were trained with.

    Args:
        content: of `finest.tar`.
        normalizer: statistics of the motions.
        source: the file, for messages.

    Raises:
        UserError: the content is not of this kind, or belongs to features of another width.
    """

    def __init__(self, content: Mapping[str, Any], normalizer: Normalizer, source: Path | str) -> None:
        super().__init__()

        def size(encoder: str, name: str, axis: int) -> int:
            tensor = content.get(encoder, {}).get(name) if isinstance(content.get(encoder), Mapping) else None
            if not isinstance(tensor, Tensor) or tensor.ndim <= axis:
                raise UserError(f"{source} is no evaluator: it lacks {encoder} {name}")
            return tensor.shape[axis]

        movement_width = size("movement_encoder", "out_net.weight", 0)
        self.dimension = size("text_encoder", "output_net.3.weight", 0)
        self.normalizer = normalizer
        text_widths = size("text_encoder", "input_emb.weight", 1), size("text_encoder", "hidden", 2)
        motion_width, hidden = size("motion_encoder", "hidden", 2), size("movement_encoder", "main.0.weight", 0)
        with torch.device("meta"):  # widths of strangers take memory once all that they promise is there
            self.text_encoder = BidirectionalEncoder(*text_widths, self.dimension, len(POS_TAGS))
            self.motion_encoder = BidirectionalEncoder(movement_width, motion_width, self.dimension)
            self.movement_encoder = MovementEncoder(len(normalizer.mean) - N_CONTACTS, hidden, movement_width)
        for name in ("text_encoder", "motion_encoder", "movement_encoder"):
            load_state(getattr(self, name), content[name], f"{source}: {name}")

    def encode_motion(self, normalized: Tensor, lengths: Tensor) -> Tensor:
        """Normalised features (B, 196, D_f), zero after `lengths` (B,) frames -> (B, D).

        The last step's convolution reads up to three frames past the end, which are zero frames unless the motion
        fills all 196: the padding is part of what the published numbers mean.
        """
        movements = self.movement_encoder(normalized[..., :-N_CONTACTS])
        return self.motion_encoder(movements, lengths // FRAMES_PER_STEP)


class GuoEvaluator(Evaluator):
    """Captions by their `word/POS` tokens, motions of at most 196 frames.

    Args:
        network: the encoders.
        words: GloVe.

    Raises:
        UserError: word vectors of another width than the text encoder's.
    """

    def __init__(self, network: GuoNetwork, words: WordVectors) -> None:
        super().__init__("guo", network, len(network.normalizer.mean), network.dimension)
        expected = network.text_encoder.input_emb.in_features
        if words.width != expected:
            raise UserError(f"word vectors have {words.width} dimensions, but the evaluator reads {expected}")
        self.words = words

    @classmethod
    def load(
        cls,
        spec: DatasetSpec,
        device: torch.device | str = "cpu",
        checkpoints: Path | str = "checkpoints",
        glove: Path | str = "glove",
    ) -> GuoEvaluator:
        """Reads the published files of a dataset.

        Raises:
            UserError: files are missing (all are named, with the places where they belong), damaged, or do not fit.
        """
        folders = [Path(checkpoints) / name for name in FOLDERS[spec.name]]
        weights = [folder / WEIGHTS for folder in folders]
        means = [folder / place / "mean.npy" for folder in folders for place in STATISTICS]
        found_weights = next((path for path in weights if path.is_file()), None)
        found_mean = next((path for path in means if path.is_file() and path.with_name("std.npy").is_file()), None)
        missing = [str(path) for path in vocabulary_files(glove) if not path.is_file()]
        if found_weights is None:
            missing.append(" or ".join(map(str, weights)))
        if found_mean is None:
            published = [folders[-1] / place / "mean.npy" for place in STATISTICS]
            missing.append(f"{' or '.join(map(str, published))} (with std.npy beside it)")
        if missing:
            raise UserError(f"the evaluator of {spec.name} is incomplete, files belong at: {'; '.join(missing)}")
        statistics = read_array(found_mean), read_array(found_mean.with_name("std.npy"))
        normalizer = Normalizer.from_statistics(*statistics, spec.format)
        network = GuoNetwork(read_checkpoint(found_weights), normalizer, found_weights)
        return cls(network.to(device), WordVectors.from_folder(glove))

    def embed_text(self, captions: Sequence[Caption]) -> np.ndarray:
        """See `Evaluator.embed_text`; a caption needs its `word/POS` tokens."""
        for caption in captions:
            if not caption.tokens:
                raise UserError(f"the caption {caption.text!r} has no word/POS tokens, which this evaluator reads")
        tokens = [tuple(map(torch.from_numpy, self.words.embed(caption.tokens))) for caption in captions]
        lengths = torch.tensor([len(words) for words, _ in tokens], dtype=torch.long)

        def embed(chosen: list[int]) -> Tensor:
            words, pos = (
                pad_sequence([tokens[number][kind] for number in chosen], batch_first=True).to(self.device)
                for kind in (0, 1)
            )
            return self.network.text_encoder(words, lengths[chosen], pos)

        return self._embed(lengths.tolist(), TEXTS_AT_ONCE, embed)

    def embed_motion(self, motions: Sequence[np.ndarray]) -> np.ndarray:
        """See `Evaluator.embed_motion`."""
        checked = self._checked(motions, MAX_FRAMES)
        lengths = torch.tensor([len(motion) for motion in checked], dtype=torch.long)

        def embed(chosen: list[int]) -> Tensor:
            padded = torch.zeros(len(chosen), MAX_FRAMES, self.n_features, device=self.device)
            for row, number in zip(padded, chosen, strict=True):
                row[: lengths[number]] = self.network.normalizer.normalize(checked[number].to(self.device))
            return self.network.encode_motion(padded, lengths[chosen])

        return self._embed([MAX_FRAMES] * len(checked), MOTIONS_AT_ONCE, embed)
