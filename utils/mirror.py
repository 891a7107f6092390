"""Left and right exchanged: in joints, in features, in captions. Letters: T frames, J joints, D feature columns."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from utils.errors import UserError
from utils.formats import get_format
from utils.motion_format import MotionFormat

if TYPE_CHECKING:
    import torch

Features = TypeVar("Features")  # a NumPy array or a torch tensor

# Signs that a reflection of x gives to a position or velocity, and to the first two columns of a rotation matrix.
VECTOR_SIGNS = (-1, 1, 1)
SIXD_SIGNS = (1, -1, -1, -1, 1, 1)

COUNTER = r"(?:counter|anti)[ -]?clock-?wise"
ENDINGS = r"(?:-?(?:hand|foot)(?:ed|er)?|-?(?:arm|leg|side)|wards?|most|s)?"
SIDED = re.compile(rf"\b(?:{COUNTER}|clock-?wise|left|right)(?={ENDINGS}\b)", re.IGNORECASE)
# "Right" that names no side: "right angle", and "claps right after" but neither "to the right after" nor "steps right
# after".
ANGLE = re.compile(r"\bright[ -](?:angle[sd]?|side up)\b", re.IGNORECASE)
ADVERB = re.compile(
    r"\bright (?:away|now|here|there|in front|next to|beside|behind|(?P<timed>before|after))\b", re.IGNORECASE
)
OWNED = re.compile(r"\b(?:the|his|her|its|their|your|my|a|to) $", re.IGNORECASE)
AIMED = re.compile(
    r"\b(?:turn|step|look|lean|fac|mov|go|walk|shuffl|bend|tilt|sway|veer|twist|pivot|rotat)"
    r"(?:e|s|es|ed|ing|ped|ping)? $",
    re.IGNORECASE,
)
# "Left" as a form of "leave".
LEFT_BEHIND = re.compile(
    r"\b(?:he|she|they|who|has|have|had|having|person|man|woman|someone) (?=left"
    r"(?: (?:the|a|an|his|her|its|their|for|from|again|before|after)\b|[.,;!]|$))",
    re.IGNORECASE,
)


def mirror_joints(joints: np.ndarray, dataset: str | MotionFormat = "humanml3d") -> np.ndarray:
    """The motion of a body whose left and right are exchanged: joints (..., J, 3) with x to the body's left.

    The two sides of a dataset's skeleton need not be equally long: `canonicalize` gives the mirrored body the dataset's
    bones again.

    Raises:
        UserError: another number of joints.
    """
    skeleton = get_format(dataset)
    joints = np.asarray(joints)
    if joints.shape[-2:] != (skeleton.n_joints, 3):
        raise UserError(f"joints must have the shape (..., {skeleton.n_joints}, 3), not {joints.shape}")
    return joints[..., list(skeleton.mirror), :] * np.array(VECTOR_SIGNS, dtype=joints.dtype)


def mirror_features(features: Features, dataset: str | MotionFormat = "humanml3d") -> Features:
    """Raw features (..., D), NumPy or torch, of the mirrored motion: the columns change places and signs, nothing else.

    It is exact: `joints_to_features(mirror_joints(joints))` gives the same.

    Raises:
        UserError: another number of columns.
    """
    columns, signs = _mirrored_columns(get_format(dataset))
    if features.shape[-1] != len(columns):
        raise UserError(f"features must have {len(columns)} columns, not {features.shape[-1]}")
    if isinstance(features, np.ndarray):
        return features[..., columns] * signs.astype(features.dtype)
    order, factors = _on_device(get_format(dataset), features.device)
    return features.index_select(-1, order) * factors.to(features.dtype)


def mirror_caption(caption: str) -> str:
    """The caption with the words for sides exchanged (left and right, clockwise and counterclockwise); others stay."""
    kept = {match.start() for match in ANGLE.finditer(caption)}
    kept |= {match.end() for match in LEFT_BEHIND.finditer(caption)}
    for match in ADVERB.finditer(caption):
        before = caption[: match.start()]
        if not OWNED.search(before) and not (match["timed"] and AIMED.search(before)):
            kept.add(match.start())

    def exchange(match: re.Match[str]) -> str:
        word = match.group()
        if match.start() in kept:
            return word
        plain = word.lower().replace("-", "")
        other = {"left": "right", "right": "left", "clockwise": "counterclockwise"}.get(plain, "clockwise")
        if word.isupper():
            return other.upper()
        return other.capitalize() if word[0].isupper() else other

    return SIDED.sub(exchange, caption)


@lru_cache
def _on_device(form: MotionFormat, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """`_mirrored_columns` as tensors, brought to a device once: a copy in every step would make the host wait."""
    import torch

    with torch.inference_mode(False):  # whoever asks first, autograd must be able to keep them
        return tuple(torch.from_numpy(table).to(device) for table in _mirrored_columns(form))


@lru_cache
def _mirrored_columns(form: MotionFormat) -> tuple[np.ndarray, np.ndarray]:
    """(D,) the column that each mirrored column is taken from, and (D,) its sign."""
    columns = np.arange(form.n_features)
    signs = np.ones(form.n_features, dtype=np.float32)
    signs[:2] = -1  # yaw velocity and root velocity in x; z and height stay
    for joint, other in enumerate(form.mirror):
        own = form.joint_columns(joint)
        columns[own] = form.joint_columns(other)
        signs[own] = VECTOR_SIGNS if joint == 0 else (*VECTOR_SIGNS, *SIXD_SIGNS, *VECTOR_SIGNS)
    contacts = np.arange(form.contacts.start, form.contacts.stop)
    columns[contacts] = np.roll(contacts, len(contacts) // 2)  # the left foot's two, then the right foot's
    return columns, signs
