"""Which motions become a library."""

from __future__ import annotations

import numpy as np

from data.clips import Caption, Clip
from pipeline.library import thinned


def test_a_library_may_be_thinned_to_motions_of_new_captions() -> None:
    clips = [
        Clip(f"{name}/{n:03d}", f"{name}/{n:03d}", np.zeros((4, 1)), (Caption(f"{name} {n % kinds}"),))
        for name, kinds in (("few", 10), ("many", 40))
        for n in range(50)
    ]
    kept = thinned(clips, 20)
    names = [clip.id for clip in kept]
    assert names == sorted(names) and len(kept) == 40
    assert {clip.captions[0].text for clip in kept if clip.source == "few"} == {f"few {n}" for n in range(10)}
    assert len({clip.captions[0].text for clip in kept if clip.source == "many"}) == 20
    assert [clip.id for clip in thinned(clips[::-1], 20)] == names[::-1], "the order decides"
    assert thinned(clips, 1000) == clips
