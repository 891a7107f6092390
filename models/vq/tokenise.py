"""Motions -> tokens, once: every stage after the RVQ-VAE reads tokens from here.

Letters: T frames, N = T / 4 token steps, J part rows, Q quantisers, D feature columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from models.vq.rvq import RVQVAE
from utils.files import atomic_path

# State that says nothing about tokens, and that files of former versions lack.
UNHASHED = ".code_use"
FRAMES_AT_ONCE = 64 * 200  # of a batch with its padding: long motions are no reason to run out of memory


@torch.no_grad()
def tokenise(model: RVQVAE, motions: Sequence[np.ndarray], batch_size: int = 64) -> list[Tensor]:
    """Codes of raw features (T, D), T a multiple of 4 -> one (N, J, Q) int64 CPU tensor a motion, in order."""
    model.eval()
    device = model.normalizer.mean.device
    codes: list[Tensor] = [torch.empty(0)] * len(motions)
    for chosen in _batches([len(motion) for motion in motions], batch_size, "tokenising"):
        features = pad_sequence([torch.from_numpy(motions[index]) for index in chosen], batch_first=True).to(device)
        lengths = torch.tensor([len(motions[index]) for index in chosen], device=device)
        mask = torch.arange(features.shape[1], device=device) < lengths[:, None]
        for index, row in zip(chosen, model.encode(features, mask).cpu(), strict=True):
            codes[index] = row[: len(motions[index]) // model.frames_per_step].clone()
    return codes


def _batches(frames: Sequence[int], batch_size: int, what: str) -> Iterator[list[int]]:
    """Indices of motions of so many frames, batch by batch, with a bar where that takes time.

    Motions of similar length share a batch, so that little is computed for padding; long ones share it with fewer.
    """
    order = sorted(range(len(frames)), key=lambda index: frames[index])
    with tqdm(total=len(order), desc=what, unit="motion", leave=False, delay=2) as bar:
        while order:
            count = min(batch_size, max(1, FRAMES_AT_ONCE // frames[order[:batch_size][-1]]))
            chosen, order = order[:count], order[count:]
            yield chosen
            bar.update(len(chosen))


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


def state_hash(module: torch.nn.Module, length: int = 16) -> str:
    """A fingerprint of a model's weights in half precision, the same before and after export."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if name.endswith(UNHASHED):
            continue
        digest.update(name.encode())
        rounded = tensor.detach().cpu()
        digest.update((rounded.half() if rounded.is_floating_point() else rounded).numpy().tobytes())
    return digest.hexdigest()[:length]


def cached_tokens(model: RVQVAE, motions: Sequence[np.ndarray], cache: Path) -> list[Tensor]:
    """`tokenise` with a cache file that is only believed for this model and these motions."""
    digest = hashlib.sha256(state_hash(model).encode())
    for motion in motions:
        digest.update(motion.tobytes())
    key = digest.hexdigest()
    lengths = [len(motion) // model.frames_per_step for motion in motions]
    try:
        with safe_open(cache, framework="pt") as file:
            if (file.metadata() or {}).get("key") == key:
                return list(file.get_tensor("codes").long().split(lengths))
    except (OSError, SafetensorError):
        pass  # absent or unreadable: made anew
    codes = tokenise(model, motions)
    with atomic_path(cache) as temporary:
        save_file({"codes": torch.cat(codes).to(torch.int16)}, temporary, {"key": key})
    return codes
