"""The semantic oracle of the mini dataset: reads a clip's attributes back from joints alone.

`score_attributes(joints, attributes)` answers, attribute by attribute, whether the motion shows what its caption says.
Every rule looks for an event anywhere in the clip, so that timing and length are free; of two segments, the event of
the first has to come before that of the second. T frames; positions in metres, y up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from data.clips import Clip
from data.oracle.rules import RULES, Finding
from data.oracle.signals import Signals, is_body, read_signals
from storage.files import read_json
from utils.errors import UserError
from utils.formats import HUMANML3D
from utils.rig import resample_joints

Attributes = Mapping[str, Any]
KINDS = ("locomotion", "arm", "leg", "head")
RATE = 20.0  # frames a second at which the rules look


def read_attributes(path: Path, clips: Iterable[Clip]) -> dict[str, Attributes]:
    """What a dataset's `attributes.json` says of each of these clips, by its id.

    Raises:
        UserError: it says nothing of one, or something that no rule reads.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold an object of clips, not {type(content).__name__}")
    for clip in clips:
        told = content.get(clip.id)
        segments = told.get("segments") if isinstance(told, dict) else None
        if not isinstance(segments, list) or not segments or not all(map(_is_segment, segments)):
            raise UserError(f"{path} does not say what {clip.id} shows: make the dataset again, or remove the file")
    return content


def _is_segment(segment: Any) -> bool:
    words = isinstance(segment, dict) and all(isinstance(value, str) for value in segment.values())
    kinds = [kind for kind in KINDS if words and kind in segment]
    return bool(kinds) and all((kind, segment[kind]) in RULES for kind in kinds)


def score_attributes(joints: np.ndarray, attributes: Attributes, fps: float = 20.0) -> dict[str, bool]:
    """Which of the attributes the motion shows.

    Args:
        joints: (T, 22, 3) metres, y up, facing +z at the start.
        attributes: `{"segments": [{"locomotion": "walk", "direction": "forward", ...}, ...]}` as in `attributes.json`.

    Returns:
        One entry a scored attribute, named `"0.locomotion"` (segment and key), and `"order"` for two segments.
        Joints that are no moving body (broken bones, trembling, NaN) show nothing.

    Raises:
        ValueError: the joints have another shape, or an attribute is unknown.
    """
    joints = np.asarray(joints, dtype=np.float64)
    if joints.ndim != 3 or joints.shape[1:] != (22, 3) or len(joints) < 8:
        raise ValueError(f"joints must have the shape (at least 8 frames, 22, 3), not {joints.shape}")
    if not np.isfinite(joints).all() or not is_body(joints, fps):
        return {name: False for name in _names(attributes)}
    signals = read_signals(resample_joints(joints, HUMANML3D.parents, fps, RATE), RATE)
    scores: dict[str, bool] = {}
    findings: list[list[Finding]] = []
    for index, segment in enumerate(attributes["segments"]):
        findings.append(_segment_findings(signals, segment, scores, index))
    if len(findings) > 1:
        scores["order"] = all(_in_order(first, second) for first, second in pairwise(findings))
    return scores


def _segment_findings(
    signals: Signals, segment: Mapping[str, str], scores: dict[str, bool], index: int
) -> list[Finding]:
    """Scores one segment; returns the events that its first rule found (empty: not found)."""
    events = []
    for kind in KINDS:
        if kind not in segment:
            continue
        rule = RULES.get((kind, segment[kind]))
        if rule is None:
            raise ValueError(f"no rule reads {kind} = {segment[kind]!r}")
        candidates = list(rule(signals, segment))
        scores[f"{index}.{kind}"] = bool(candidates)
        details = _details(kind, segment)
        for detail in details:
            scores[f"{index}.{detail}"] = any(each.details.get(detail, False) for each in candidates)
        complete = [each for each in candidates if all(each.details.get(detail, False) for detail in details)]
        events.append(complete or candidates)
    return events[0] if events else []


_DETAILS = {
    "locomotion": ("direction", "path", "speed", "manner", "leg_side"),
    "arm": ("side",),
    "leg": ("leg_side",),
    "head": (),
}


def _details(kind: str, segment: Mapping[str, str]) -> list[str]:
    """The attributes that the rule of `kind` answers besides its own."""
    owned = [name for name in _DETAILS[kind] if name in segment]
    if kind == "locomotion" and "leg" in segment:
        owned = [name for name in owned if name != "leg_side"]
    return owned


def _in_order(first: Sequence[Finding], second: Sequence[Finding]) -> bool:
    """Some event of the first segment lies before some event of the second."""
    return any(a.time < b.time for a in first for b in second)


def _names(attributes: Attributes) -> list[str]:
    names = []
    for index, segment in enumerate(attributes["segments"]):
        names += [f"{index}.{key}" for key in segment]
    return names + (["order"] if len(attributes["segments"]) > 1 else [])


def semantic_accuracy(scores: Sequence[Mapping[str, bool]]) -> float:
    """The share of attributes that hold, over all clips' `score_attributes` together.

    Raises:
        ValueError: there is no attribute at all.
    """
    values = [value for score in scores for value in score.values()]
    if not values:
        raise ValueError("there is no scored attribute")
    return float(np.mean(values))


def attribute_signature(attributes: Attributes) -> str:
    """A text that is equal for clips of the same attributes: `"locomotion=walk,direction=forward | arm=wave"`."""
    return " | ".join(
        ",".join(f"{key}={segment[key]}" for key in sorted(segment)) for segment in attributes["segments"]
    )
