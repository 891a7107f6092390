"""Motions and captions -> what the RAG database stores, and users' own motion files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from data.clips import Caption, Clip, Skipped, cut_file, parse_caption, read_text, take_of
from data.prepare.motions import read_motion as read_source_motion
from data.prepare.settings import ClipSettings
from data.specs import DatasetSpec
from models.rag.database import Embedded, Entry, pad_tokens
from Part_TMR.retriever import Retriever
from utils.errors import UserError
from utils.files import read_array
from utils.representation import canonicalize, get_layout, joints_to_features

BASE_LEVEL = 0
MOTION_SUFFIXES = (".npy", ".bvh")


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
        progress: called with the number of motions and captions that were just done.
    """
    encoded = retriever.encode_motion(motions, progress)
    if texts is None:
        texts = retriever.encode_text([caption for entry in entries for caption in entry.captions], progress)
    padded = pad_tokens([each[..., BASE_LEVEL] for each in tokens]) if tokens is not None else (None, None)
    return Embedded(tuple(entries), texts, encoded.motion, encoded.parts, *padded)


def read_motion(path: Path | str, spec: DatasetSpec) -> np.ndarray:
    """A user's motion file as raw features (T, D).

    Args:
        path: .npy of features, taken as they are, or of joints (T, J, 3) in metres; or a .bvh of any skeleton that a
            joint map knows, see `data.prepare`.
        spec: the dataset whose features are wanted.

    Raises:
        UserError: unreadable, another shape, not finite, or a skeleton that is not the dataset's.
    """
    path = Path(path)
    if path.suffix.lower() == ".bvh":
        return _read_bvh(path, spec)
    return _read_array_file(path, spec.layout)


def _read_bvh(path: Path, spec: DatasetSpec) -> np.ndarray:
    if spec.layout != "humanml3d":
        raise UserError(f"{path}: a .bvh gives the 22 joints of HumanML3D, {spec.name} has others")
    try:
        joints = read_source_motion(path, ClipSettings(fps=spec.fps)).joints
    except UserError as error:
        raise UserError(f"{path}: {str(error).removeprefix(f'{path} ').removeprefix(f'{path}: ')}") from error
    if len(joints) < 2 or not np.isfinite(joints).all():
        raise UserError(f"{path} must hold at least two frames of finite numbers")
    return joints_to_features(canonicalize(joints, spec.layout), spec.layout)


def _read_array_file(path: Path, layout_name: str) -> np.ndarray:
    layout = get_layout(layout_name)
    content = read_array(path)
    if content.ndim == 3 and content.shape[1:] == (layout.n_joints, 3) and len(content) > 1:
        try:
            return joints_to_features(canonicalize(content, layout_name), layout_name)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
    if content.ndim != 2 or content.shape[1] != layout.n_features or not len(content):
        raise UserError(
            f"{path} must hold features (frames, {layout.n_features}) or joints (frames, {layout.n_joints}, 3),"
            f" not {content.shape}"
        )
    if content.dtype.kind not in "fiu" or not np.isfinite(content).all():
        raise UserError(f"{path} has values that are not finite numbers")
    return content.astype(np.float32)


def read_own_clips(source: Path | str, captions: Sequence[str], spec: DatasetSpec) -> list[Clip]:
    """A user's clips: one `.npy` or `.bvh` file, or all of a folder.

    Captions come from the arguments or from a `.txt` file beside each. Clips longer than the models can
    see become windows, and time tags of captions are heeded: see `cut_file`.

    Args:
        source: file or folder.
        captions: of a single file, all of it; without them `NAME.txt` holds a caption a line, alone or as in a dataset
            (`caption#word/POS ...#start#end`).
        spec: what the clips must be like.
    Raises:
        UserError: nothing there, no caption, a bad file, or a clip that is too short.
    """
    source = Path(source)
    paths = [source]
    if source.is_dir():
        paths = sorted(
            path for path in source.iterdir() if path.suffix.lower() in MOTION_SUFFIXES and path.name[0] != "."
        )
    if not paths:
        raise UserError(f"{source} holds no .npy or .bvh file")
    if captions and len(paths) > 1:
        raise UserError(f"--caption describes one clip, but {source} holds {len(paths)}: use .txt files beside them")
    names = {path.stem for path in paths}
    clips: list[Clip] = []
    for path in paths:
        motion = read_motion(path, spec)
        if len(motion) < spec.min_frames:
            raise UserError(f"{path} has {len(motion)} frames, a clip has at least {spec.min_frames}")
        found = [Caption(text.strip()) for text in captions] if captions else _captions_beside(path)
        if not found or not all(caption.text for caption in found):
            raise UserError(f"{path} has no caption: give --caption or put one into {path.with_suffix('.txt')}")
        left_out = Skipped()
        parts = cut_file(spec, Clip(path.stem, take_of(path.stem, names), motion), found, left_out, windows=True)
        if not parts:
            raise UserError(f"{path}: no caption describes a part that can be used: {left_out}")
        clips += parts
    return clips


def _captions_beside(path: Path) -> list[Caption]:
    beside = path.with_suffix(".txt")
    if not beside.is_file():
        return []
    captions = []
    for number, line in enumerate(read_text(beside).splitlines(), start=1):
        try:
            caption = parse_caption(line) if line.count("#") >= 3 else Caption(line.split("#", 1)[0].strip())
        except ValueError as error:
            raise UserError(f"{beside} line {number}: {error}") from error
        if caption.text:
            captions.append(caption)
    return captions
