"""What weights are known by, whatever precision an export kept. NumPy alone: telling files apart needs no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from storage.checkpoint_names import EXPORT_SUFFIX

LENGTH = 16  # hexadecimal digits
UNHASHED = ".code_use"  # state that says nothing about tokens, and that files of former versions lack
# What decides a retriever's embeddings and does not show in names and shapes of its weights.
RETRIEVER_SETTINGS = ("parts", "patch_frames", "motion_heads", "text_encoder", "text_heads")
HALF = np.finfo(np.float16)


def as_array(value: Any) -> np.ndarray:
    """An array, or a tensor as one; NumPy has no bfloat16."""
    if not hasattr(value, "detach"):
        return value
    return (value.float() if str(value.dtype) == "torch.bfloat16" else value).detach().cpu().numpy()


def weights_hash(state: Mapping[str, Any]) -> str:
    """Fingerprint of a state, name -> tensor or array, in half precision."""
    digest = hashlib.sha256()
    for name in sorted(state):
        if not name.endswith(UNHASHED):
            array = as_array(state[name])
            with np.errstate(over="ignore"):
                rounded = array.astype(np.float16) if array.dtype.kind == "f" else array
            digest.update(name.encode() + rounded.tobytes())
    return digest.hexdigest()[:LENGTH]


def retriever_hash(settings: Mapping[str, Any], layout: str, state: Mapping[str, Any]) -> str:
    """Fingerprint of a retriever: architecture, name of its motions' format, and weights as an export keeps them."""
    chosen = {name: settings[name] for name in RETRIEVER_SETTINGS} | {"layout": layout}
    digest = hashlib.sha256(json.dumps(chosen, sort_keys=True).encode())
    for name in sorted(state):
        array = as_array(state[name])
        if array.dtype == np.float32 and array.ndim > 1 and np.abs(array).max(initial=0) <= HALF.max:
            array = array.astype(np.float16)
        digest.update(name.encode() + array.tobytes())
    return digest.hexdigest()[:LENGTH]


def read_arrays(path: Path) -> dict[str, Any]:
    """The weights in a checkpoint of a run by name; torch is loaded only for those of a training.

    Raises:
        UserError: damaged, or no checkpoint of a run.
    """
    if path.suffix != EXPORT_SUFFIX:
        from storage.checkpoint import read_model

        return dict(read_model(path))
    from storage.tensor_files import read_tensors

    return read_tensors(path, "np")[0]
