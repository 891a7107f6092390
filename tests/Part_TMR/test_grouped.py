"""Encoders that run as one batched computation are the encoders they stand for."""

import torch

from Part_TMR.grouped import ClassTokenEncoder, GroupedBlock

GROUPS, BATCH, TOKENS, WIDTH = 3, 4, 7, 16


def encoder(groups: int = GROUPS, layers: int = 2) -> ClassTokenEncoder:
    torch.manual_seed(0)
    return ClassTokenEncoder(groups, 5, WIDTH, layers, heads=4, feed_forward=24, dropout=0.1).eval()


def tokens_and_mask() -> tuple[torch.Tensor, torch.Tensor]:
    mask = torch.arange(TOKENS) < torch.tensor([7, 4, 1, 6])[:, None]
    return torch.randn(GROUPS, BATCH, TOKENS, 5), mask


def test_groups_do_not_mix() -> None:
    together = encoder()
    tokens, mask = tokens_and_mask()
    outputs = together(tokens, mask)
    for group in range(GROUPS):
        alone = encoder(groups=1)
        alone.load_state_dict({name: value[group : group + 1] for name, value in together.state_dict().items()})
        torch.testing.assert_close(alone(tokens[group : group + 1], mask)[0], outputs[group], atol=1e-5, rtol=1e-5)


def test_class_row_alone_is_the_first_row_of_the_whole_layer() -> None:
    torch.manual_seed(0)
    whole = GroupedBlock(GROUPS, WIDTH, 4, 24, 0.0)
    first = GroupedBlock(GROUPS, WIDTH, 4, 24, 0.0, first_only=True)
    first.load_state_dict(whole.state_dict())
    values, mask = torch.randn(GROUPS, BATCH, TOKENS, WIDTH), tokens_and_mask()[1]
    torch.testing.assert_close(first(values, mask), whole(values, mask)[:, :, :1], atol=1e-5, rtol=1e-5)


def test_padding_changes_nothing() -> None:
    model = encoder()
    tokens, mask = tokens_and_mask()
    outputs = model(tokens, mask)
    noisy = torch.where(mask[None, :, :, None], tokens, torch.full_like(tokens, 1e3))
    torch.testing.assert_close(model(noisy, mask), outputs, atol=1e-5, rtol=1e-5)
    shorter = model(tokens[:, 1:2, :4], mask[1:2, :4])
    torch.testing.assert_close(shorter, outputs[:, 1:2], atol=1e-5, rtol=1e-5)


def test_samples_stay_apart_at_initialisation() -> None:
    model = encoder(layers=4)
    tokens, mask = tokens_and_mask()
    states = model(tokens, torch.ones_like(mask))
    assert (states - states.mean(dim=1, keepdim=True)).abs().mean() > 0.02
