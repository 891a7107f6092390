"""A clip retrieved for its own caption: another stretch at another tempo, and how far a retrieved motion is trusted."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from models.rag.captions import as_bytes
from models.rag.conditions import ConditionSource
from models.rag.database import Embedded, Entry, RAGDatabase, pad_tokens
from models.rag.variations import LEAST_SHARE, Variations, variations_of
from models.text_encoder import TextFeatures
from utils.formats import get_format
from utils.processes import Draws

FORM = get_format("humanml3d")
CLIPS, STEPS, PARTS, LEVELS = 6, 10, 6, 3
CAPTIONS = 2  # of each clip


class Texts:
    """Features that tell nothing."""

    def rows(self, numbers: Tensor) -> TextFeatures:
        return TextFeatures(
            torch.zeros(len(numbers), 4), torch.zeros(len(numbers), 1, 4), torch.ones(len(numbers), 1).bool()
        )


def unit(*shape: int, seed: int = 0) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def library() -> RAGDatabase:
    """Motion n's tokens are all n; the two captions of a motion are far apart."""
    entries = [Entry(f"{n}", f"take{n}", tuple(f"{n}.{c}" for c in range(CAPTIONS))) for n in range(CLIPS)]
    rows = CLIPS * CAPTIONS
    tokens = pad_tokens([torch.full((STEPS, PARTS, LEVELS), n) for n in range(CLIPS)])
    made = Embedded(
        entries, unit(rows, 8), unit(CLIPS, 8, seed=1), unit(CLIPS, 6, 4, seed=2), *tokens, as_bytes(unit(rows, 32))
    )
    return RAGDatabase(made, {"retriever": {"name": "tmr", "hash": "h"}})


def source(**settings: float) -> ConditionSource:
    """The pool of clip n is n + 1; variation v of clip n has tokens 100 + 10 n + v and 8 + v steps."""
    tokens = [[np.full((8 + v, PARTS, LEVELS), 100 + 10 * n + v, np.int16) for v in range(3)] for n in range(CLIPS)]
    clips = [n for n in range(CLIPS) for _ in range(CAPTIONS)]
    return ConditionSource(
        Texts(),
        library(),
        (torch.tensor(clips)[:, None] + 1) % CLIPS,
        1,
        as_bytes(unit(CLIPS * CAPTIONS, 32)),
        Variations(tokens, clips, [-1 if n == 0 else n for n in clips], 9, torch.device("cpu")),
        **settings,
    )


def test_variations_are_the_motion_at_other_tempos_and_between_its_tokens() -> None:
    features = np.random.default_rng(0).normal(size=(60, FORM.n_features)).astype(np.float32)
    made = variations_of(features, FORM)
    slow, quick, shifted = map(np.asarray, made)
    assert [len(each) for each in made] == [76, 48, 56] == [len(slow), len(quick), len(shifted)]
    assert len({each.key for each in (*made, *variations_of(features[:-1], FORM))}) == 6
    np.testing.assert_array_equal(shifted, features[2:58])
    np.testing.assert_allclose(slow[0, FORM.positions], features[0, FORM.positions], atol=1e-6)
    np.testing.assert_allclose(quick[-1, FORM.positions], features[-1, FORM.positions], atol=1e-6)
    assert all(len(each) >= 4 and len(each) % 4 == 0 for each in variations_of(features[:5], FORM))


def test_a_clip_retrieves_a_stretch_of_itself_as_often_as_asked() -> None:
    numbers = torch.arange(CLIPS * CAPTIONS).repeat(200)
    made = source(own_prob=0.3, random_prob=0.2).batch(numbers, Draws(len(numbers), torch.device("cpu"), 5))
    seen, steps, clips = made.retrieved.tokens[:, 0], made.retrieved.steps[:, 0], numbers // CAPTIONS
    own = seen[:, 0, 0, 0] >= 100
    assert not own[clips == 0].any(), "a clip that the library does not hold"
    assert abs(own[clips > 0].float().mean() - 0.3) < 0.05
    assert ((seen[own][:, 0, 0, 0] - 100) // 10 == clips[own]).all()
    whole = (8 + (seen[own][:, 0, 0, 0] - 100) % 10).clamp(max=9)
    assert (steps[own] <= whole).all() and (steps[own] >= (LEAST_SHARE * whole).floor()).all()
    assert len(steps[own].unique()) > 2
    others = seen[~own][:, 0, 0, 0]
    assert abs((others != (clips[~own] + 1) % CLIPS).float().mean() - 0.2 / 0.75 * (1 - 1 / CLIPS)) < 0.06


def test_without_draws_the_nearest_is_retrieved_as_it_is() -> None:
    numbers = torch.arange(CLIPS * CAPTIONS)
    made = source(own_prob=1.0).batch(numbers)
    assert (made.retrieved.tokens[:, 0, 0, 0, 0] == (numbers // CAPTIONS + 1) % CLIPS).all()


def test_agreement_is_that_of_the_nearest_caption() -> None:
    database, asked = library(), unit(CLIPS * CAPTIONS, 32)
    every = torch.arange(CLIPS).repeat(len(asked), 1)
    near = database.view.agreement(asked, every)
    expected = (asked @ asked.T).unflatten(1, (CLIPS, CAPTIONS)).amax(dim=2).clamp(0, 1)
    torch.testing.assert_close(near, expected, atol=0.02, rtol=0)
    hidden = database.view.agreement(asked, every, torch.ones(len(asked), dtype=torch.bool))
    own = torch.arange(len(asked)) // CAPTIONS
    partner = (asked.unflatten(0, (CLIPS, CAPTIONS))).prod(dim=1).sum(dim=1).clamp(0, 1).repeat_interleave(CAPTIONS)
    torch.testing.assert_close(hidden[torch.arange(len(asked)), own], partner, atol=0.02, rtol=0)
    assert torch.equal(hidden[0, 1:], near[0, 1:])


def test_agreement_of_what_is_retrieved_reaches_the_condition() -> None:
    numbers = torch.arange(CLIPS * CAPTIONS).repeat(50)
    made = source(own_prob=1.0).batch(numbers, Draws(len(numbers), torch.device("cpu"), 3))
    itself = made.retrieved.agreement[numbers // CAPTIONS > 0, 0]
    assert 0.3 < (itself > 0.98).float().mean() < 0.7, "the very words half of the time"
