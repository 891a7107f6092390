"""Which clip is in train, val and test: by a hash of its take, or as the user says."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from data.clips import split_lines, take_of
from data.prepare.settings import SplitSettings
from data.prepare.sources import clip_name
from data.specs import SPLITS
from utils.errors import UserError


def take_name(name: str, pattern: str) -> str:
    """The take that a clip is a part of: its name without what `pattern` matches, again and again."""
    while True:
        shorter = re.sub(pattern, "", name, flags=re.IGNORECASE)
        if shorter in ("", name):
            return name
        name = shorter


def split_by_hash(
    names: Sequence[str], settings: SplitSettings, told: Mapping[str, str] | None = None
) -> dict[str, list[str]]:
    """Clips by split; the same name is always in the same split, and all parts of a take are in one, mirrored ones that
    the user brings (`M000123` beside `000123`) included. `told` are the takes of clips whose names do not tell them.

    A take's place among 0..1 is its name's SHA-256. Only where a split would stay empty although it should have a share
    (a handful of takes), the takes next to it in this order are moved into it. Train gets the first, even the only one.
    """
    known = frozenset(names)
    takes: dict[str, list[str]] = {}
    for name in sorted(names):
        own = take_of(name, known)
        take = (told or {}).get(own) or take_name(own, settings.take_pattern)
        takes.setdefault(take, []).append(name)
    places = {take: int(hashlib.sha256(take.encode()).hexdigest()[:8], 16) / 16**8 for take in takes}
    order = sorted(takes, key=lambda take: (places[take], take))
    bounds = (settings.shares[0], settings.shares[0] + settings.shares[1])
    sizes = [0, 0, 0]
    for take in order:
        sizes[sum(places[take] >= bound for bound in bounds)] += 1
    for split, share in enumerate(settings.shares):
        if share and not sizes[split] and max(sizes) > (split > 0):
            sizes[sizes.index(max(sizes))] -= 1
            sizes[split] += 1
    result: dict[str, list[str]] = {}
    for split, size in zip(SPLITS, sizes, strict=True):
        result[split] = sorted(name for take in order[:size] for name in takes[take])
        order = order[size:]
    return result


def read_splits(folder: Path) -> dict[str, list[str]]:
    """The clips that a folder's train.txt, val.txt and test.txt name.

    Raises:
        UserError: a file is missing, or a clip is in two of them.
    """
    splits = {split: list(dict.fromkeys(map(clip_name, split_lines(folder / f"{split}.txt")))) for split in SPLITS}
    owner: dict[str, str] = {}
    for split, names in splits.items():
        for name in names:
            if owner.setdefault(name, split) != split:
                raise UserError(f"{folder}: {name} is in {owner[name]}.txt and in {split}.txt")
    return splits
