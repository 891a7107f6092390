"""What can be wrong with a caption file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data.captions import Caption, caption_lines, parse_caption
from data.check.report import Found
from data.clips import TOLERATED_SECONDS, tag_frames
from data.specs import DatasetSpec
from utils.errors import UserError


def check_captions(spec: DatasetSpec, path: Path, n_frames: int | None, findings: list[Found]) -> list[Caption]:
    """The usable captions of a file; what is wrong is appended to `findings`.

    Args:
        n_frames: length of the motion, None where it is unknown: tags are not compared with it then.
    """
    try:
        lines = caption_lines(path)
    except UserError:
        kind = "encoding" if path.exists() else "no-text"
        findings.append((kind, path.stem))
        return []
    captions: list[Caption] = []
    for number, line in lines:
        name = f"{path.name} line {number}"
        try:
            caption = parse_caption(line)
        except ValueError as error:
            findings.append(("malformed-line", f"{name}: {error}"))
            continue
        if not caption.text:
            findings.append(("empty-caption", name))
            continue
        findings += [(kind, name + extra) for kind, extra in _faults(spec, caption, n_frames)]
        if "nan" in "".join(line.rsplit("#", 2)[1:]).lower():
            findings.append(("nan-tag", name))
        if caption in captions:
            findings.append(("repeated-caption", name))
        captions.append(caption)
    if not captions:
        findings.append(("no-caption", path.name))
    return captions


def _faults(spec: DatasetSpec, caption: Caption, n_frames: int | None) -> Iterator[Found]:
    """What is wrong with one caption, as (kind, more about it)."""
    if not caption.tokens:
        yield "no-words", ""
    elif bare := [token for token in caption.tokens if not all(token.rpartition("/")[::2])]:
        yield "no-pos", f": {bare[0]}"
    if not (caption.start or caption.end):
        return
    tag = f": {caption.start:g} to {caption.end:g} s" if caption.end else f": from {caption.start:g} s on"
    if caption.end and caption.start >= caption.end:
        yield "reversed-tag", tag
    elif n_frames is not None:
        seconds = n_frames / spec.format.fps
        if caption.start >= seconds or caption.end > seconds + TOLERATED_SECONDS:
            yield "outside-tag", f"{tag}, the clip has {seconds:g} s"
        else:
            start, end = tag_frames(caption, spec.format.fps, n_frames)
            if end - start < spec.min_frames:
                yield "short-tag", tag
