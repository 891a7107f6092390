"""A visitor's own clips: from bytes that anybody may have sent to a motion, and to a library that one session sees.

Nothing of an upload is ever in a file except while it is read.
"""

from __future__ import annotations

import io
import secrets
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.specs import DatasetSpec
from models.vq.tokenise import tokenise
from options.app import ClipLimits
from Part_TMR.library import embed_library, read_joints, read_motion, read_own_clips
from pipeline.app.rooms import OwnClip
from pipeline.editing import LEAST_FRAMES
from pipeline.library import entry_of
from pipeline.text_to_motion import TextToMotion
from storage.limits import UNPACKED
from utils.errors import UserError
from utils.fingerprint import weights_hash

KINDS = (".bvh", ".npy", ".npz")
MEGABYTE = 1_000_000
MOST_WAITING, WAITING_SECONDS = 8, 60.0  # uploads of all visitors that are not used yet, and how long they may be so
LARGEST_LIBRARY = 200_000  # captions: a larger one takes too long to be put together with a visitor's clips
LONGEST_NAME = 60


class Upload(NamedTuple):
    """A file's name, its own and not to be trusted, and its content."""

    name: str
    data: bytes


class Uploads:
    """Files that were sent and not used yet: few, in memory, for a short time. Who has the token may use one, once."""

    def __init__(self, limits: ClipLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits, self._clock = limits, clock
        self._waiting: dict[str, tuple[float, Upload]] = {}
        self._lock = threading.Lock()

    @property
    def largest(self) -> int:
        """Bytes of an upload."""
        return round(self.limits.clip_megabytes * MEGABYTE)

    def hold(self, name: str, data: bytes) -> str:
        """Keeps a file; its token.

        Raises:
            UserError: it is of another kind, empty or too large, or too many wait.
        """
        name = Path("".join(letter if letter.isprintable() else " " for letter in name)).name.strip()
        if Path(name).suffix.lower() not in KINDS:
            raise UserError(f"a clip is a file that ends in {', '.join(KINDS[:-1])} or {KINDS[-1]}")
        if not data:
            raise UserError("the file is empty")
        if len(data) > self.largest:
            raise UserError(f"the file is larger than {self.limits.clip_megabytes:g} MB: cut the clip")
        self.sweep()
        token = secrets.token_urlsafe(16)
        with self._lock:
            if len(self._waiting) >= MOST_WAITING:
                raise UserError("too many files at once: try again in a minute")
            self._waiting[token] = self._clock(), Upload(name, data)
        return token

    def take(self, token: str) -> Upload:
        """A file, which is kept no longer.

        Raises:
            UserError: there is none, or not any more.
        """
        self.sweep()
        with self._lock:
            _, upload = self._waiting.pop(token, (0.0, None))
        if upload is None:
            raise UserError("choose a file first" if not token else "the file is gone: send it again")
        return upload

    def sweep(self) -> None:
        """Forgets what was not used in time."""
        with self._lock:
            limit = self._clock() - WAITING_SECONDS
            self._waiting = {token: each for token, each in self._waiting.items() if each[0] >= limit}


def shown_name(name: str) -> str:
    """A file's name as it is told, cut short."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 12]}...{name[-9:]}"


def sent(token: Any, wrong: Any) -> str:
    """The token of an upload, as the page's script answers.

    Raises:
        UserError: the page says what is wrong with it.
    """
    if isinstance(wrong, str) and wrong:
        raise UserError(" ".join(wrong[:200].split()))
    return token if isinstance(token, str) else ""


@contextmanager
def _as_file(upload: Upload, folder: Path, stem: str) -> Iterator[Path]:
    """The upload as a file of a name of ours; what is wrong with it is told of the visitor's name."""
    if upload.data[:2] == b"PK":
        try:
            with zipfile.ZipFile(io.BytesIO(upload.data)) as archive:
                size = sum(member.file_size for member in archive.infolist())
        except Exception as error:  # damaged bytes raise whatever zipfile stumbles over
            raise UserError(f"{shown_name(upload.name)} is not a readable .npz file") from error
        if size > UNPACKED:
            raise UserError(f"{shown_name(upload.name)} would unpack to {size:,} bytes, at most {UNPACKED:,} are read")
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary, f"{stem}{Path(upload.name).suffix.lower()}")
        path.write_bytes(upload.data)
        try:
            yield path
        except UserError as error:
            told = str(error).replace(str(path), shown_name(upload.name)).replace(temporary, "")
            raise UserError(" ".join(told.split())) from error


def _limits(spec: DatasetSpec, limits: ClipLimits, remarks: list[str]) -> dict[str, object]:
    """What a clip may be like, for the readers; what they remark goes into a list."""
    return {
        "most_frames": round(limits.clip_seconds * spec.format.fps),
        "tell": lambda line: remarks.append(line.partition(": ")[2].partition(": ")[2]),
    }


def read_clip(upload: Upload, spec: DatasetSpec, limits: ClipLimits, folder: Path) -> tuple[np.ndarray, list[str]]:
    """Raw features (T, D) of an upload, and what looks odd about it.

    Args:
        folder: private; it holds the file while it is read.

    Raises:
        UserError: it is no motion, too short or too long.
    """
    remarks: list[str] = []
    with _as_file(upload, folder, "clip") as path:
        features = read_motion(path, spec, **_limits(spec, limits, remarks))
        if len(features) < spec.min_frames:
            raise UserError(f"{path} has {len(features)} frames, a clip has at least {spec.min_frames}")
    return features, remarks


def read_source(upload: Upload, spec: DatasetSpec, limits: ClipLimits, folder: Path) -> tuple[np.ndarray, list[str]]:
    """Joints (T, J, 3) of an upload that is to be changed, and what looks odd about it; as `read_clip`."""
    remarks: list[str] = []
    with _as_file(upload, folder, "source") as path:
        joints = read_joints(path, spec, **_limits(spec, limits, remarks))
        if len(joints) < LEAST_FRAMES:
            raise UserError(f"{path} has {len(joints)} frames, at least {LEAST_FRAMES} are needed")
    return joints, remarks


def embed_clip(upload: Upload, caption: str, stem: str, t2m: TextToMotion, limits: ClipLimits, folder: Path) -> OwnClip:
    """What a library holds of an upload, a long one in windows.

    Args:
        caption: what the visitor says of it.
        stem: its name in the library.
        folder: see `read_clip`.

    Raises:
        UserError: as `read_clip`, or the library takes no clips.
    """
    database, spec = t2m.database, t2m.spec
    remarks: list[str] = []
    with _as_file(upload, folder, stem) as path:
        clips = read_own_clips(path, [caption], spec, **_limits(spec, limits, remarks))
    motions = [clip.features for clip in clips]
    tokens = tokenise(t2m.vq, motions) if database.embedded.tokens is not None else None
    sentences = database.embedded.sentences is not None
    embedded = embed_library(t2m.retriever, [entry_of(clip) for clip in clips], motions, tokens, sentences=sentences)
    database.check_addition(embedded)
    last = max((clip.frames or (0, len(clip.features)))[1] for clip in clips)
    return OwnClip(shown_name(upload.name), caption, last / spec.format.fps, embedded, tuple(remarks))


def check_library(t2m: TextToMotion) -> None:
    """Raises `UserError` where clips cannot be put beside the models' library."""
    database = t2m.database
    if database is None:
        raise UserError("these models use no library: there is nothing to search, and nothing to add to")
    if len(database.embedded.text) > LARGEST_LIBRARY:
        raise UserError("this library is too large for clips of one's own")
    if "tokenizer" in database.facts and database.facts["tokenizer"]["hash"] != weights_hash(t2m.vq.state_dict()):
        raise UserError("this library holds tokens of another RVQ-VAE: clips cannot be added to it")


def with_clips(t2m: TextToMotion, clips: Sequence[OwnClip]) -> TextToMotion:
    """The same models with a library that holds a visitor's clips too; the shared one stays as it is."""
    database = t2m.database
    for clip in clips:
        database = database.add(clip.embedded)
    return replace(t2m, database=database) if clips else t2m
