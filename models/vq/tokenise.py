"""Motions -> tokens, once: every stage after the RVQ-VAE reads tokens from here.

Letters: T frames, N = T / 4 token steps, J part rows, Q quantisers, D feature columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from models.vq.rvq import RVQVAE
from utils.fingerprint import weights_hash
from utils.progress import progress_bar
from utils.row_store import Row, RowStore, identity

FRAMES_AT_ONCE = 64 * 200  # of a batch with its padding: long motions are no reason to run out of memory


def tokenise(model: RVQVAE, motions: Sequence[np.ndarray | Row], batch_size: int = 64) -> list[Tensor]:
    """Codes of raw features (T, D), T a multiple of 4 -> one (N, J, Q) int64 CPU tensor a motion, in order."""
    codes: list[Tensor] = [torch.empty(0)] * len(motions)
    for index, row in _tokenised(model, motions, batch_size):
        codes[index] = row
    return codes


@torch.no_grad()
def _tokenised(
    model: RVQVAE, motions: Sequence[np.ndarray | Row], batch_size: int = 64
) -> Iterator[tuple[int, Tensor]]:
    """The number of each motion and its codes, the short motions first."""
    model.eval()
    device = model.normalizer.mean.device
    for chosen in _batches([len(motion) for motion in motions], batch_size, "tokenising"):
        rows = [torch.from_numpy(np.asarray(motions[index])) for index in chosen]
        features = pad_sequence(rows, batch_first=True).to(device)
        lengths = torch.tensor([len(row) for row in rows], device=device)
        mask = torch.arange(features.shape[1], device=device) < lengths[:, None]
        for index, row in zip(chosen, model.encode(features, mask).cpu(), strict=True):
            yield index, row[: len(motions[index]) // model.frames_per_step].clone()


def _batches(frames: Sequence[int], batch_size: int, what: str) -> Iterator[list[int]]:
    """Indices of motions of so many frames, batch by batch, with a bar where that takes time.

    Motions of similar length share a batch, so that little is computed for padding; long ones share it with fewer.
    """
    order = sorted(range(len(frames)), key=lambda index: frames[index])
    with progress_bar(sum(frames), what, "frame", scaled=True) as bar:
        while order:
            count = min(batch_size, max(1, FRAMES_AT_ONCE // frames[order[:batch_size][-1]]))
            chosen, order = order[:count], order[count:]
            yield chosen
            bar.update(sum(frames[index] for index in chosen))


def detokenise(model: RVQVAE, codes: Sequence[Tensor], batch_size: int = 64) -> list[np.ndarray]:
    """The inverse of `tokenise`: codes (N, J, q) of each motion -> raw features (T, D) each, in order."""
    device = model.normalizer.mean.device
    motions: list[np.ndarray] = [np.empty(0)] * len(codes)
    for chosen in _batches([len(each) * model.frames_per_step for each in codes], batch_size, "decoding"):
        steps = torch.tensor([len(codes[index]) for index in chosen])
        padded = pad_sequence([codes[index] for index in chosen], batch_first=True).to(device)
        for index, motion in zip(chosen, decode_motions(model, padded, steps), strict=True):
            motions[index] = motion
    return motions


@torch.no_grad()
def decode_motions(model: RVQVAE, codes: Tensor, steps: Tensor) -> list[np.ndarray]:
    """Codes (B, N, J, q) of motions of `steps` (B,) token steps -> raw features (T, D) each."""
    step_mask = torch.arange(codes.shape[1]) < steps[:, None].cpu()
    features = model.decode(codes, step_mask.to(codes.device)).cpu().numpy()
    return [row[: int(n) * model.frames_per_step] for row, n in zip(features, steps, strict=True)]


def cached_tokens(model: RVQVAE, motions: Sequence[np.ndarray | Row], cache_dir: Path) -> list[Tensor]:
    """`tokenise`, each motion once for these weights: the codes are kept in a folder of `cache_dir`."""
    store = RowStore(
        cache_dir / f"tokens_{weights_hash(model.state_dict())}", (model.n_parts, model.config.num_quantizers), np.int16
    )
    keys = [identity(motion) for motion in motions]
    numbers = {key: number for number, key in enumerate(keys)}

    def make(missing: list[bytes]) -> Iterator[tuple[bytes, np.ndarray]]:
        for index, codes in _tokenised(model, [motions[numbers[key]] for key in missing]):
            yield missing[index], codes.numpy()

    store.complete(numbers, make)
    return [torch.from_numpy(store.read(key)).long() for key in keys]
