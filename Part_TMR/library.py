"""Motions and captions -> what the RAG database stores, and users' own motion files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.captions import Caption, one_line, read_captions
from data.clips import Clip, Skipped, cut_file, take_of
from data.motions.folder import demo_sample, motion_paths
from data.motions.reader import MotionReader
from data.motions.settings import ReadSettings
from data.motions.smpl import BodyShape
from data.prepare.checks import check_motion
from data.prepare.settings import ClipSettings
from data.specs import DatasetSpec
from models.rag.captions import as_bytes, unit
from models.rag.database import Embedded, Entry, RAGDatabase, pad_tokens
from models.rag.queries import Queries
from models.text_encoder import TextFeatureStore
from Part_TMR.retriever import TEXTS_AT_ONCE, Retriever
from storage.arrays import read_array
from storage.row_store import Row, RowStore, digest, identity
from utils.batches import Batches
from utils.errors import UserError
from utils.representation import canonicalize, features_to_joints, joints_to_features

MOTIONS_AT_ONCE = 4096  # of a block that is held in memory


def embed_library(
    retriever: Retriever,
    entries: Sequence[Entry],
    motions: Sequence[np.ndarray | Row],
    tokens: Sequence[Tensor | Row] | None = None,
    cache_dir: Path | None = None,
    sentences: bool = False,
) -> Embedded:
    """Embeds motions and their captions, each once.

    Args:
        retriever: what will make the queries too.
        entries: ids, takes and captions of M motions.
        motions: their raw features, (T, D) each.
        tokens: their codes, (N, J, q) each.
        cache_dir: folder where embeddings are kept for these weights, in half precision; what is there is not computed.
        sentences: whether the captions' sentence vectors are wanted too.
    """
    if cache_dir is not None:
        return Embedded.join(list(embedded_blocks(retriever, entries, motions, tokens, cache_dir, sentences)))
    captions = [caption for entry in entries for caption in entry.captions]
    encoded, texts = retriever.encode_motion(motions), retriever.encode_text(captions)
    vectors = as_bytes(retriever.sentences.encode(captions)) if sentences else None
    return Embedded(entries, texts, encoded.motion, encoded.parts, *_padded(tokens), vectors)


def _padded(tokens: Sequence[Tensor | Row] | None) -> tuple[Tensor | None, Tensor | None]:
    """Tokens (M, N, J, q) and steps (M,)."""
    return (None, None) if tokens is None else pad_tokens([each[:] for each in tokens])


def embedded_blocks(
    retriever: Retriever,
    entries: Sequence[Entry],
    motions: Sequence[np.ndarray | Row],
    tokens: Sequence[Tensor | Row] | None,
    cache_dir: Path,
    sentences: bool = False,
) -> Iterator[Embedded]:
    """`embed_library` with a cache, some motions at a time: all is computed first, and read from the cache then."""
    config = retriever.config
    widths = [config.embed_dim, retriever.model.n_parts * config.part_dim]
    store = RowStore(cache_dir / f"embedded_motions_{retriever.hash}", (sum(widths),), np.float16)
    keys = [identity(motion) for motion in motions]

    def embed(numbers: list[int]) -> np.ndarray:
        motion, parts = retriever.encode_motion([motions[number] for number in numbers])
        return torch.cat([motion, parts.flatten(1)], dim=1)[:, None].half().cpu().numpy()

    batches = retriever.batches([len(motion) for motion in motions])
    batches.complete(store, keys, embed, "embedding motions", "frame")
    every = [caption for entry in entries for caption in entry.captions]
    texts = kept_captions(retriever, every, cache_dir)
    meanings = kept_sentences(retriever, every, cache_dir) if sentences else None
    for start in range(0, len(entries), MOTIONS_AT_ONCE):
        here = slice(start, start + MOTIONS_AT_ONCE)
        rows = [store.read(key) for key in keys[here]]
        motion, parts = _tensor(rows).split(widths, dim=1)
        captions = [digest(caption) for entry in entries[here] for caption in entry.captions]
        yield Embedded(
            entries[here],
            _tensor([texts.read(key) for key in captions]),
            motion,
            parts.unflatten(1, (-1, config.part_dim)),
            *_padded(tokens and tokens[here]),
            None if meanings is None else sentence_rows(meanings, captions),
        )


def kept_captions(retriever: Retriever, captions: Sequence[str], cache_dir: Path) -> RowStore:
    """`Retriever.encode_text`, each caption once for these weights and those of the text encoder: (1, D) by digest."""
    name = f"embedded_captions_{retriever.hash}_{retriever.text_encoder.fingerprint}"
    store = RowStore(cache_dir / name, (retriever.config.embed_dim,), np.float16)
    encode = retriever.caption_encoder(captions, cache_dir)
    return _complete(store, retriever, captions, lambda numbers: encode(numbers).half(), "embedding captions")


def kept_sentences(retriever: Retriever, captions: Sequence[str], cache_dir: Path) -> RowStore:
    """The bytes of captions' sentence vectors, each caption once: (1, S) by digest."""
    encoder = retriever.sentences
    store = RowStore(cache_dir / f"sentences_{encoder.fingerprint}", (encoder.dim,), np.int8)
    if encoder is retriever.text_encoder:
        features = TextFeatureStore(encoder, captions, cache_dir)

        def encode(numbers: Tensor) -> Tensor:
            return as_bytes(features.rows(numbers).pooled)
    else:

        def encode(numbers: Tensor) -> Tensor:
            return as_bytes(encoder.encode([captions[number] for number in numbers.tolist()]))

    return _complete(store, retriever, captions, encode, "comparing captions")


def sentence_rows(store: RowStore, keys: Sequence[bytes]) -> Tensor:
    """Rows of `kept_sentences`, (R, S)."""
    return torch.from_numpy(np.concatenate([store.read(key) for key in keys]))


def _complete(
    store: RowStore, retriever: Retriever, captions: Sequence[str], encode: Callable[[Tensor], Tensor], what: str
) -> RowStore:
    def embed(numbers: list[int]) -> np.ndarray:
        return encode(torch.tensor(numbers))[:, None].cpu().numpy()

    batches = Batches([len(caption) for caption in captions], retriever.device, most=TEXTS_AT_ONCE)
    batches.complete(store, [digest(caption) for caption in captions], embed, what, "letter")
    return store


def caption_queries(
    retriever: Retriever, captions: Sequence[str], cache_dir: Path, database: RAGDatabase
) -> Callable[[Tensor], Queries]:
    """What asks a library for captions by their numbers, (B,) -> B queries; features are kept in `cache_dir`."""
    encode = retriever.caption_encoder(captions, cache_dir)
    meanings = None if database.score is None else kept_sentences(retriever, captions, cache_dir)

    def ask(numbers: Tensor) -> Queries:
        texts = [captions[number] for number in numbers.tolist()]
        sentences = None if meanings is None else unit(sentence_rows(meanings, [digest(text) for text in texts]))
        return Queries(encode(numbers), texts, sentences)

    return ask


def _tensor(rows: Sequence[np.ndarray]) -> Tensor:
    """n rows (1, width) of a store -> (n, width) in single precision."""
    return torch.from_numpy(np.concatenate(rows)).float()


def read_motion(
    path: Path | str,
    spec: DatasetSpec,
    reader: MotionReader | None = None,
    most_frames: int | None = None,
    tell: Callable[[str], None] = print,
) -> np.ndarray:
    """A user's motion file as raw features (T, D).

    Args:
        path: .npy of features, taken as they are, or any motion that `data.motions` reads.
        spec: the dataset whose features are wanted.
        reader: how it is read; see `reader_for`.
        most_frames: that it may have, at the dataset's rate.
        tell: is told what looks odd, a line each.

    Raises:
        UserError: unreadable, another shape, not finite, a skeleton that is not the dataset's, too long, or no usable
            motion.
    """
    form, own = spec.format, _own_features(Path(path), spec, most_frames)
    if own is not None:
        return own
    return joints_to_features(canonicalize(_read_joints(Path(path), spec, reader, most_frames, tell), form), form)


def read_joints(path: Path | str, spec: DatasetSpec, most_frames: int, tell: Callable[[str], None]) -> np.ndarray:
    """A user's motion file as joints (T, J, 3) in metres, where it has them; the rest is as in `read_motion`."""
    own = _own_features(Path(path), spec, most_frames)
    if own is not None:
        return features_to_joints(own, spec.format)
    return _read_joints(Path(path), spec, None, most_frames, tell).astype(np.float32)


def _check_length(path: Path, frames: int, spec: DatasetSpec, most_frames: int | None) -> None:
    if most_frames is not None and frames > most_frames:
        lasts, may = (f"{count / spec.format.fps:.1f} s" for count in (frames, most_frames))
        raise UserError(f"{path} lasts {lasts}, at most {may} are read: cut it")


def _own_features(path: Path, spec: DatasetSpec, most_frames: int | None) -> np.ndarray | None:
    """What a .npy file of features holds; None: the file is another one."""
    form = spec.format
    if path.suffix.lower() != ".npy" or (content := read_array(path)).ndim != 2:
        return None
    if content.shape[1] != form.n_features or not len(content):
        raise UserError(
            f"{path} must hold features (frames, {form.n_features}) or joints (frames, {form.n_joints}, 3),"
            f" not {content.shape}"
        )
    _check_length(path, len(content), spec, most_frames)
    with np.errstate(over="ignore"):
        features = content.astype(np.float32) if content.dtype.kind in "fiu" else np.array(np.nan)
    if not np.isfinite(features).all():
        raise UserError(f"{path} has values that are not finite numbers")
    return features


def _read_joints(
    path: Path,
    spec: DatasetSpec,
    reader: MotionReader | None,
    most_frames: int | None,
    tell: Callable[[str], None],
) -> np.ndarray:
    form = spec.format
    motion = (reader or reader_for(spec)).read(path)
    _check_length(path, len(motion.joints), spec, most_frames)
    try:
        odd = check_motion(motion.joints, ClipSettings(form=form, min_frames=1))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    for remark in (*motion.remarks, *odd):
        tell(f"note: {path.name}: {remark}")
    return motion.joints


def reader_for(
    spec: DatasetSpec, settings: ReadSettings | None = None, bodies: Mapping[str, BodyShape] | None = None
) -> MotionReader:
    """What reads motion files as joints of a dataset, at its frame rate."""
    return MotionReader(settings or ReadSettings(), spec.format.fps, spec.format, bodies or {})


def read_own_clips(
    source: Path | str,
    captions: Sequence[str],
    spec: DatasetSpec,
    reader: MotionReader | None = None,
    **reading: Any,
) -> list[Clip]:
    """A user's clips: one motion file, or all of a folder.

    Captions come from the arguments or from a `.txt` file beside each. Clips longer than the models can
    see become windows, and time tags of captions are heeded: see `cut_file`.

    Args:
        source: file or folder.
        captions: of a single file, all of it; without them `NAME.txt` holds a caption a line, alone or as in a dataset
            (`caption#word/POS ...#start#end`).
        spec: what the clips must be like.
        reader: how the files are read; see `reader_for`.
        reading: `most_frames` and `tell` of `read_motion`.

    Raises:
        UserError: nothing there, no caption, a bad file, or a clip that is too short.
    """
    source = Path(source)
    paths = motion_paths(source) if source.is_dir() else {source.stem: source}
    if captions and len(paths) > 1:
        raise UserError(f"--caption describes one clip, but {source} holds {len(paths)}: use .txt files beside them")
    reader = (reader or reader_for(spec)).agreed(paths.values())
    clips: list[Clip] = []
    for name, path in paths.items():
        motion = read_motion(path, spec, reader, **reading)
        if len(motion) < spec.min_frames:
            raise UserError(f"{path} has {len(motion)} frames, a clip has at least {spec.min_frames}")
        found = [Caption(one_line(text)) for text in captions] if captions else _captions_beside(path)
        if not found or not all(caption.text for caption in found):
            raise UserError(f"{path} has no caption: give --caption or put one into {path.with_suffix('.txt')}")
        left_out = Skipped()
        parts = cut_file(spec, Clip(name, take_of(name, paths), motion), found, left_out, windows=True)
        if not parts:
            raise UserError(f"{path}: no caption describes a part that can be used: {left_out}")
        clips += parts
    return clips


def _captions_beside(path: Path) -> list[Caption]:
    beside = path.with_suffix(".txt")
    if not beside.is_file():
        sample = demo_sample(path)
        return [Caption(sample["prompt"])] if sample and sample.get("prompt") else []
    return read_captions(beside, plain=True)
