"""Which motions become a library."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from data.clips import Caption, Clip
from models.rag import thinning
from models.rag.thinning import covering
from pipeline.library import thinned

KINDS = {"few": 10, "many": 40}


def sentences(captions: list[str]) -> torch.Tensor:
    """Captions of one text are alike, all others as far from each other as can be."""
    texts = [f"{name} {n}" for name, kinds in KINDS.items() for n in range(kinds)]
    return torch.eye(len(texts), dtype=torch.int8)[[texts.index(text) for text in captions]]


def test_a_library_may_be_thinned_to_motions_whose_captions_say_most() -> None:
    clips = [
        Clip(f"{name}/{n:03d}", f"{name}/{n:03d}", np.zeros((4, 1)), (Caption(f"{name} {n % kinds}"),))
        for name, kinds in KINDS.items()
        for n in range(50)
    ]
    kept = thinned(clips, 40, sentences)
    assert [clip.id for clip in kept] == sorted(clip.id for clip in kept) and len(kept) == 40
    said = {clip.captions[0].text for clip in kept}
    assert len(said) == 40 and {text for text in said if "few" in text} == {f"few {n}" for n in range(10)}, (
        "said by five"
    )
    assert thinned(clips, 40, sentences) == kept and thinned(clips, 1000, sentences) == clips


def nearness(vectors: torch.Tensor, owners: torch.Tensor, chosen: list[int]) -> float:
    there = torch.isin(owners, torch.tensor(chosen))
    return float((vectors @ vectors[there].T).amax(dim=1).mean())


def test_what_is_chosen_covers_almost_as_well_as_the_best_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.rand(24, 5, generator=generator), dim=1)
    owners = torch.arange(24) // 2
    everything = {one: nearness(vectors, owners, list(one)) for one in itertools.combinations(range(12), 4)}
    chosen = covering(vectors, owners, 4)
    found = everything[tuple(chosen)]
    assert found > max(everything.values()) - 0.01 and found > np.mean(list(everything.values())) + 0.01
    assert covering(vectors, owners, 12) == list(range(12))
    monkeypatch.setattr(thinning, "ROWS_AT_ONCE", 5)
    assert covering(vectors, owners, 4) == chosen
