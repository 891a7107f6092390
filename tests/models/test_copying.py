"""What is copied from retrieved motions, and what is not."""

from dataclasses import replace

import pytest
import torch

from models.configs import MaskedTransformerConfig, SamplingSettings
from models.transformer.condition import Condition
from models.transformer.copying import NOTHING, Copying, copy_share, mixed
from models.transformer.sampling import Noise, sample_base, sample_residual
from tests.models.test_transformer import LEVELS, PARTS, make_condition, make_masked, make_residual

CONFIG = MaskedTransformerConfig(copy_from=0.6)
ALWAYS = SamplingSettings(copy_scale=1.0, copy_from=0.5)
STEPS = torch.tensor([8, 8, 8])


def agreeing(*agreement: float, steps: int = 9) -> Condition:
    """Three samples with two retrieved motions each; the first agrees so much, the second not at all."""
    condition = make_condition(3)
    near = torch.zeros(3, 2)
    near[:, 0] = torch.tensor(agreement)
    return replace(condition, retrieved=replace(condition.retrieved, agreement=near, steps=torch.full((3, 2), steps)))


def test_a_motion_is_copied_by_how_far_its_caption_agrees() -> None:
    settings = SamplingSettings(copy_scale=0.8)
    condition = agreeing(1.0, 0.7, 0.6)
    torch.testing.assert_close(copy_share(condition, CONFIG, settings)[:, 0], torch.tensor([0.8, 0.2, 0.0]))
    own = copy_share(condition, CONFIG, replace(settings, copy_from=0.9))[:, 0]
    torch.testing.assert_close(own, torch.tensor([0.8, 0.0, 0.0]))
    assert not copy_share(condition.withheld(retrieval=True), CONFIG, settings).any()
    assert not copy_share(replace(condition, retrieved=None), CONFIG, settings).any()
    unknown = replace(condition, retrieved=replace(condition.retrieved, agreement=None))
    assert not copy_share(unknown, CONFIG, settings).any() and not Copying(
        unknown, torch.Size((3, 8, PARTS)), CONFIG, settings
    )


def test_mixing_is_that_of_the_equation() -> None:
    logits = torch.tensor([[2.0, 1.0, -torch.inf], [0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    made = mixed(logits, torch.tensor([2, 0, NOTHING]), torch.tensor([0.25, 0.5, 0.0]))
    expected = 0.75 * logits[0].softmax(dim=0) + 0.25 * torch.tensor([0.0, 0.0, 1.0])
    torch.testing.assert_close(made[0].exp(), expected)
    torch.testing.assert_close(made[1].exp(), torch.tensor([2 / 3, 1 / 6, 1 / 6]))
    assert torch.equal(made[2], logits[2])


def test_a_motion_that_fits_wholly_is_made_again_and_one_that_does_not_changes_nothing() -> None:
    condition = agreeing(1.0, 0.2, 0.3)
    model, residual = make_masked("levels"), make_residual()
    base = sample_base(model, condition, STEPS, Noise([1, 2, 3], STEPS), ALWAYS)
    codes = sample_residual(residual, base, condition, STEPS, ALWAYS)
    assert torch.equal(codes[0], condition.retrieved.tokens[0, 0, :8])
    none = replace(ALWAYS, copy_scale=0.0)
    plain = sample_base(model, condition, STEPS, Noise([1, 2, 3], STEPS), none)
    assert torch.equal(base[1:], plain[1:]) and not torch.equal(base[0], plain[0])
    assert torch.equal(codes[1:], sample_residual(residual, plain, condition, STEPS, none)[1:])


def test_past_the_end_of_a_motion_the_model_goes_on() -> None:
    condition, model = agreeing(1.0, 1.0, 1.0, steps=5), make_masked("levels")
    base = sample_base(model, condition, STEPS, Noise([1, 2, 3], STEPS), ALWAYS)
    tokens = condition.retrieved.tokens[:, 0, :8, :, 0]
    assert torch.equal(base[:, :5], tokens[:, :5]) and not torch.equal(base[:, 5:], tokens[:, 5:])


def test_of_motions_that_agree_alike_each_is_copied_by_some_seed_and_none_is_mixed_with_another() -> None:
    condition = agreeing(1.0, 1.0, 1.0)
    condition = replace(condition, retrieved=replace(condition.retrieved, agreement=torch.ones(3, 2)))
    sources = set()
    for seed in range(6):
        base = sample_base(make_masked("levels"), condition, STEPS, Noise([seed] * 3, STEPS), ALWAYS)
        same = [torch.equal(base[0], condition.retrieved.tokens[0, source, :8, :, 0]) for source in range(2)]
        assert sum(same) == 1
        sources.add(same.index(True))
    assert sources == {0, 1}


@pytest.mark.parametrize("level", [1, 2])
def test_a_level_is_copied_where_those_below_are_the_motions(level: int) -> None:
    condition = agreeing(1.0, 1.0, 1.0)
    copying = Copying(condition, torch.Size((3, 8, PARTS)), CONFIG, ALWAYS)
    own = condition.retrieved.tokens[:, 0, :8]
    below = own[..., :level].clone()
    below[0, 3, 2, level - 1] += 1
    codes, share = copying.above(below)
    assert share[0, 3, 2] == 0 and share.sum() == share.numel() - 1
    assert torch.equal(codes[share > 0], own[..., level][share > 0])
    assert not copying.above(own[..., :LEVELS])[1].any()  # the library holds no level above these
