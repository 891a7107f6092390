"""Motions -> tokens, once: every stage after the RVQ-VAE reads tokens from here.

Letters: T frames, N = T / 4 token steps, J part rows, Q quantisers, D feature columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from models.vq.rvq import RVQVAE
from storage.row_store import Row, RowStore, identity
from utils.batches import Batches, length_mask
from utils.fingerprint import weights_hash
from utils.progress import with_bar

MOTIONS_AT_ONCE = 16
FRAMES_AT_ONCE = 16 * 200  # of a batch with its padding: neither long motions nor many cores should fill the memory


def tokenise(model: RVQVAE, motions: Sequence[np.ndarray | Row], batch_size: int = MOTIONS_AT_ONCE) -> list[Tensor]:
    """Codes of raw features (T, D), T a multiple of 4 -> one (N, J, Q) int64 CPU tensor a motion, in order."""
    batches = _batches(model, [len(motion) for motion in motions], batch_size)
    codes: list[Tensor] = [torch.empty(0)] * len(motions)
    tokenised = batches.map(partial(_encode, model.eval(), motions))
    for index, row in with_bar(tokenised, "tokenising", "frame", batches.sizes):
        codes[index] = torch.from_numpy(row)
    return codes


def _batches(model: RVQVAE, frames: Sequence[int], batch_size: int) -> Batches:
    return Batches(frames, model.normalizer.mean.device, batch_size, FRAMES_AT_ONCE)


@torch.no_grad()
def _encode(model: RVQVAE, motions: Sequence[np.ndarray | Row], chosen: Sequence[int]) -> list[np.ndarray]:
    """The codes (N, J, Q) of the motions `chosen`."""
    device = model.normalizer.mean.device
    rows = [torch.from_numpy(np.asarray(motions[index])) for index in chosen]
    features = pad_sequence(rows, batch_first=True).to(device)
    codes = model.encode(features, _mask(features, [len(row) for row in rows])).cpu().numpy()
    return [each[: len(row) // model.frames_per_step].copy() for each, row in zip(codes, rows, strict=True)]


def _mask(padded: Tensor, lengths: Sequence[int]) -> Tensor | None:
    """(B, L): where rows (B, L, ...) of these lengths are valid. None: everywhere."""
    if min(lengths) == padded.shape[1]:
        return None
    return length_mask(torch.tensor(lengths, device=padded.device), padded.shape[1])


def detokenise(model: RVQVAE, codes: Sequence[Tensor], batch_size: int = MOTIONS_AT_ONCE) -> list[np.ndarray]:
    """The inverse of `tokenise`: codes (N, J, q) of each motion -> raw features (T, D) each, in order."""
    batches = _batches(model, [len(each) * model.frames_per_step for each in codes], batch_size)

    def decode(chosen: list[int]) -> list[np.ndarray]:
        padded = pad_sequence([codes[index] for index in chosen], batch_first=True).to(batches.device)
        return decode_motions(model, padded, torch.tensor([len(codes[index]) for index in chosen]))

    motions: list[np.ndarray] = [np.empty(0)] * len(codes)
    for index, motion in with_bar(batches.map(decode), "decoding", "frame", batches.sizes):
        motions[index] = motion
    return motions


@torch.no_grad()
def decode_motions(model: RVQVAE, codes: Tensor, steps: Tensor) -> list[np.ndarray]:
    """Codes (B, N, J, q) of motions of `steps` (B,) token steps -> raw features (T, D) each."""
    features = model.decode(codes, _mask(codes, steps.tolist())).cpu().numpy()
    return [row[: int(n) * model.frames_per_step] for row, n in zip(features, steps, strict=True)]


def cached_tokens(model: RVQVAE, motions: Sequence[np.ndarray | Row], cache_dir: Path) -> list[Tensor]:
    """`tokenise`, each motion once for these weights: the codes are kept in a folder of `cache_dir`."""
    return [torch.from_numpy(row[:]).long() for row in kept_tokens(model, motions, cache_dir)]


def kept_tokens(
    model: RVQVAE, motions: Sequence[np.ndarray | Row], cache_dir: Path, keys: Sequence[bytes] | None = None
) -> list[Row]:
    """The rows that `cached_tokens` reads, (N, J, Q) int16 each, left where they are kept.

    Args:
        keys: tell each motion from all others; None: its content does.
    """
    store = RowStore(
        cache_dir / f"tokens_{weights_hash(model.state_dict())}", (model.n_parts, model.config.num_quantizers), np.int16
    )
    batches = _batches(model, [len(motion) for motion in motions], MOTIONS_AT_ONCE)
    keys = keys or [identity(motion) for motion in motions]
    batches.complete(store, keys, partial(_encode, model.eval(), motions), "tokenising", "frame")
    return [store.row(key) for key in keys]
