"""Captions as a search sees them: equal when they read alike, near when they mean about the same.

Legend: R captions (rows), S width of a sentence vector.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

LARGEST = 127
SENTENCE_SPACE = "minilm 53aa5117"  # the encoder whose vectors a library keeps, and the start of its weights' hash
_APART_ASCII = re.compile(r"[^0-9a-z]+")


def normal_form(text: str) -> str:
    """What captions that read alike share: case, punctuation and white space do not count.

    A text of nothing else is what it is.
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    if text.isascii():
        words = _APART_ASCII.sub(" ", text).strip()
    else:
        # By category, since letters of many scripts are written with marks, which are no letters of their own.
        kept = (letter if unicodedata.category(letter)[0] in "LMN" else " " for letter in text)
        words = " ".join("".join(kept).split())
    return words or " ".join(text.split())


def caption_key(text: str) -> int:
    """64 bits that are equal for captions that read alike, and else different but for a chance of 1 : 10^19."""
    content = normal_form(text).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little", signed=True)


def caption_keys(captions: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """Keys of captions in ascending order (R,), and whose rows they are (R,)."""
    keys = np.array([caption_key(text) for text in captions], np.int64)
    order = np.argsort(keys, kind="stable")
    return keys[order], order.astype(np.int32)


def as_bytes(vectors: Tensor) -> Tensor:
    """Sentence vectors (R, S) -> signed bytes that point where they do, to about half a degree; see `unit`."""
    scale = LARGEST / vectors.abs().amax(dim=1, keepdim=True).clamp(min=1e-12)
    return (vectors * scale).round().to(torch.int8)


def unit(rows: Tensor) -> Tensor:
    """Bytes or numbers (R, S) -> vectors of length one, in single precision."""
    return functional.normalize(rows.float(), dim=-1)
