"""Motions and captions -> what the RAG database stores, and users' own motion files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from models.rag.database import Embedded, Entry, pad_tokens
from Part_TMR.retriever import Retriever
from utils.errors import UserError
from utils.files import read_array
from utils.representation import canonicalize, get_layout, joints_to_features

BASE_LEVEL = 0


def embed_library(
    retriever: Retriever,
    entries: Sequence[Entry],
    motions: Sequence[np.ndarray],
    tokens: Sequence[Tensor] | None = None,
    texts: Tensor | None = None,
    progress: Callable[[int], object] | None = None,
) -> Embedded:
    """Embeds motions and their captions, each once.

    Args:
        retriever: what will make the queries too.
        entries: ids, takes and captions of M motions.
        motions: their raw features, (T, D) each.
        tokens: their codes, (N, J, Q) each; the base level is kept.
        texts: (R, D) embeddings of all captions in order, where there are any already.
        progress: called with the number of motions that were just done.
    """
    encoded = retriever.encode_motion(motions, progress)
    if texts is None:
        texts = retriever.encode_text([caption for entry in entries for caption in entry.captions])
    padded = pad_tokens([each[..., BASE_LEVEL] for each in tokens]) if tokens is not None else (None, None)
    return Embedded(tuple(entries), texts, encoded.motion, encoded.parts, *padded)


def read_motion(path: Path | str, layout_name: str) -> np.ndarray:
    """A user's `.npy` file as raw features (T, D): features as they are, joints (T, J, 3) in metres are converted.

    Raises:
        UserError: unreadable, another shape, or not finite.
    """
    layout = get_layout(layout_name)
    content = read_array(path)
    if content.ndim == 3 and content.shape[1:] == (layout.n_joints, 3) and len(content) > 1:
        return joints_to_features(canonicalize(content, layout_name), layout_name)
    if content.ndim != 2 or content.shape[1] != layout.n_features or not len(content):
        raise UserError(
            f"{path} must hold features (frames, {layout.n_features}) or joints (frames, {layout.n_joints}, 3),"
            f" not {content.shape}"
        )
    if content.dtype.kind not in "fiu" or not np.isfinite(content).all():
        raise UserError(f"{path} has values that are not finite numbers")
    return content.astype(np.float32)


def read_own_clips(
    source: Path | str, captions: Sequence[str], layout_name: str, frames: tuple[int, int], unit_length: int
) -> tuple[list[Entry], list[np.ndarray]]:
    """A user's clips: one `.npy` file, or all of a folder; captions from the arguments or a `.txt` file beside each.

    Args:
        source: file or folder.
        captions: of a single file; without them `NAME.txt` holds one caption a line (what follows a `#` is left out).
        layout_name: see `read_motion`.
        frames: shortest and longest clip. unit_length: lengths are cut down to multiples of it.
    Raises:
        UserError: nothing there, no caption, a bad file, or a length out of the range.
    """
    source = Path(source)
    paths = sorted(source.glob("*.npy")) if source.is_dir() else [source]
    if not paths:
        raise UserError(f"{source} holds no .npy file")
    if captions and len(paths) > 1:
        raise UserError(f"--caption describes one clip, but {source} holds {len(paths)}: use .txt files beside them")
    entries, motions = [], []
    for path in paths:
        motion = read_motion(path, layout_name)
        if not frames[0] <= len(motion) <= frames[1]:
            raise UserError(f"{path} has {len(motion)} frames, a clip has {frames[0]} to {frames[1]}")
        texts = tuple(text.strip() for text in captions) if captions else _captions_beside(path)
        if not texts or not all(texts):
            raise UserError(f"{path} has no caption: give --caption or put one into {path.with_suffix('.txt')}")
        entries.append(Entry(path.stem, path.stem, texts))
        motions.append(motion[: len(motion) // unit_length * unit_length])
    return entries, motions


def _captions_beside(path: Path) -> tuple[str, ...]:
    beside = path.with_suffix(".txt")
    if not beside.is_file():
        return ()
    try:
        lines = beside.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{beside} is not UTF-8 text") from error
    return tuple(text for line in lines if (text := line.split("#", 1)[0].strip()))
