"""Invariants of the token transformers and of sampling."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from benchmarks.costs import count
from models.configs import MaskedTransformerConfig, ResidualTransformerConfig, SamplingSettings
from models.transformer.blocks import SpatioTemporalTransformer
from models.transformer.condition import Condition, ConditionDims, Retrieved
from models.transformer.masked import MaskedTransformer
from models.transformer.residual import ResidualTransformer
from models.transformer.sampling import Guidance, Noise, keep_top, mask_schedule, sample_base, sample_residual
from models.transformer.token_grid import TokenGrid, codebook_table
from utils.processes import Draws
from utils.run import TokenShape

CODES, PARTS, LEVELS = 32, 6, 3
TOKENS = TokenShape(CODES, PARTS, LEVELS, "", 5)
DIMS = ConditionDims(text=20, retriever=16, retriever_part=12)
SIZES = {"latent_dim": 32, "n_heads": 4, "n_layers": 2, "ff_size": 48, "dropout": 0.0, "n_retrieved": 2}
RETRIEVED = ["none", "global", "parts", "tokens", "levels"]
BLOCKS = ["stacked", "interleaved"]


def make_condition(batch: int, seed: int = 0) -> Condition:
    """Random captions and retrieved motions."""
    torch.manual_seed(seed)
    mask = torch.ones(batch, 7, dtype=torch.bool)
    mask[0, 4:] = False
    retrieved = Retrieved(
        text=torch.randn(batch, 2, 16),
        motion=torch.randn(batch, 2, 16),
        mask=torch.ones(batch, 2, dtype=torch.bool),
        parts=torch.randn(batch, 2, 6, 12),
        tokens=torch.randint(CODES, (batch, 2, 9, PARTS, LEVELS)),
        steps=torch.randint(3, 10, (batch, 2)),
        agreement=torch.rand(batch, 2),
    )
    keep = torch.ones(batch, dtype=torch.bool)
    return Condition(torch.randn(batch, 20), torch.randn(batch, 7, 20), mask, retrieved, keep, keep)


def make_masked(retrieved: str = "global", block: str = "stacked", **changes) -> MaskedTransformer:
    torch.manual_seed(0)
    changes = {"retrieved": retrieved, "block": block, "trust": retrieved == "levels"} | changes
    model = MaskedTransformer(MaskedTransformerConfig(**SIZES, attnj=True, attnt=True, **changes), DIMS, TOKENS)
    model.condition.start_from(torch.randn(LEVELS, CODES, 5))
    return model.eval()


def make_residual(retrieved: str = "global", share_weight: bool = False) -> ResidualTransformer:
    torch.manual_seed(0)
    config = ResidualTransformerConfig(**SIZES, retrieved=retrieved, share_weight=share_weight, attnj=True, attnt=True)
    return ResidualTransformer(config, DIMS, TOKENS).eval()


def test_schedule_of_the_paper() -> None:
    assert mask_schedule(294, 10) == [294, 290, 276, 255, 225, 189, 147, 101, 51, 1]
    assert mask_schedule(60, 1) == [60]


def test_token_grid_round_trip() -> None:
    grid = TokenGrid(5, 6)
    cells = torch.arange(2 * 30).view(2, 30)
    assert torch.equal(grid.flatten(grid.unflatten(cells)), cells)
    assert torch.equal(grid.parts(), torch.arange(30) % 6)
    positions = grid.positions(32)
    assert len(positions.unique(dim=0)) == 30, "two cells share a position"


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("retrieved", RETRIEVED)
def test_padding_and_company_change_nothing(retrieved: str, block: str) -> None:
    model, condition = make_masked(retrieved, block), make_condition(3)
    tokens = torch.randint(CODES, (3, 10, PARTS))
    mask = torch.ones(3, 10, dtype=torch.bool)
    mask[0, 6:] = False
    logits = model(tokens, mask, condition)
    assert logits.shape == (3, 10, PARTS, CODES)
    alone = model(tokens[:1, :6], mask[:1, :6], condition.rows(torch.tensor([0])))
    torch.testing.assert_close(logits[:1, :6], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("retrieved", RETRIEVED[1:])
def test_withheld_conditions_are_not_seen(retrieved: str) -> None:
    model, first, second = make_masked(retrieved), make_condition(3, seed=1), make_condition(3, seed=2)
    tokens, mask = torch.randint(CODES, (3, 8, PARTS)), torch.ones(3, 8, dtype=torch.bool)

    def logits(condition: Condition) -> torch.Tensor:
        return model(tokens, mask, condition)

    blind = logits(first.withheld(text=True, retrieval=True))
    torch.testing.assert_close(blind, logits(second.withheld(text=True, retrieval=True)))
    mixed = replace(second, retrieved=first.retrieved)
    torch.testing.assert_close(logits(first.withheld(text=True)), logits(mixed.withheld(text=True)))
    same_text = replace(first, retrieved=second.retrieved)
    torch.testing.assert_close(logits(first.withheld(retrieval=True)), logits(same_text.withheld(retrieval=True)))
    assert (logits(first) - logits(mixed)).abs().max() > 1e-3, "text changes nothing"
    assert (logits(first) - logits(same_text)).abs().max() > 1e-3, "retrieval changes nothing"


@pytest.mark.parametrize("retrieved", RETRIEVED[1:])
def test_swapping_the_retrieved_rows_changes_the_logits(retrieved: str) -> None:
    model, condition = make_masked(retrieved), make_condition(2)
    tokens, mask = torch.randint(CODES, (2, 8, PARTS)), torch.ones(2, 8, dtype=torch.bool)
    swapped = replace(condition, retrieved=condition.retrieved._map(lambda tensor: tensor.flip(1)))
    assert (model(tokens, mask, condition) - model(tokens, mask, swapped)).abs().max() > 1e-3


def test_a_retrieved_token_is_seen_by_its_body_part_alone() -> None:
    torch.manual_seed(0)
    config = MaskedTransformerConfig(**SIZES | {"n_layers": 1}, retrieved="tokens")
    model, condition = MaskedTransformer(config, DIMS, TOKENS).eval(), make_condition(2)
    tokens, mask = torch.randint(CODES, (2, 8, PARTS)), torch.ones(2, 8, dtype=torch.bool)
    others = condition.retrieved.tokens.clone()
    others[..., 3, :] = (others[..., 3, :] + 1) % CODES
    changed = replace(condition, retrieved=replace(condition.retrieved, tokens=others))
    change = (model(tokens, mask, changed) - model(tokens, mask, condition)).abs().amax(dim=(0, 1, 3))
    assert change[3] > 1e-3 and change[[0, 1, 2, 4, 5]].max() < 1e-6


@pytest.mark.parametrize("retrieved", RETRIEVED[1:])
def test_a_model_reads_its_own_number_of_retrieved_motions(retrieved: str) -> None:
    condition = make_condition(2)
    more = condition.retrieved._map(lambda tensor: torch.cat([tensor, tensor.flip(0)], dim=1))
    tokens, mask = torch.randint(CODES, (2, 8, PARTS)), torch.ones(2, 8, dtype=torch.bool)
    model = make_masked(retrieved)
    torch.testing.assert_close(
        model(tokens, mask, replace(condition, retrieved=more)), model(tokens, mask, condition), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("block", BLOCKS)
def test_tokens_stay_apart_through_a_new_stack(block: str) -> None:
    torch.manual_seed(0)
    config = MaskedTransformerConfig(**{**SIZES, "n_layers": 6}, block=block, attnj=True, attnt=True)
    stack, grid = SpatioTemporalTransformer(config).eval(), TokenGrid(10, PARTS)
    cells = torch.randn(2, grid.n_cells, 32)
    out = stack(cells, grid, torch.ones(2, 10, dtype=torch.bool), None)
    spread = (out - out.mean(dim=1, keepdim=True)).norm() / out.norm()
    assert spread > 0.5, "all tokens became alike"


def test_corruption_masks_whole_steps_first_and_only_valid_cells() -> None:
    model = make_masked()
    tokens = torch.randint(CODES, (512, 12, PARTS))
    mask = torch.ones(512, 12, dtype=torch.bool)
    mask[:256, 8:] = False
    corrupted = model.corrupt(tokens, mask, Draws(512, tokens.device))
    assert not corrupted.chosen[:256, 8:].any()
    assert corrupted.chosen.flatten(1).any(dim=1).all(), "a sample has no loss"
    untouched = torch.where(corrupted.chosen, tokens, corrupted.tokens)
    assert torch.equal(untouched, tokens)
    assert corrupted.chosen.all(dim=2).any() and (corrupted.chosen.any(dim=2) & ~corrupted.chosen.all(dim=2)).any()
    # Of half of the cells or fewer, single ones alone would hardly ever fill a step.
    share, whole = corrupted.chosen[256:].float().mean(dim=(1, 2)), corrupted.chosen[256:].all(dim=2).sum(dim=1)
    few = share < 0.5
    assert (whole * PARTS / corrupted.chosen[256:].sum(dim=(1, 2)))[few].mean() > 0.2
    kept = (corrupted.tokens == tokens)[corrupted.chosen].float().mean()
    masked = (corrupted.tokens == model.mask_id)[corrupted.chosen].float().mean()
    assert masked.item() == pytest.approx(0.9 * 0.88, abs=0.04) and kept.item() == pytest.approx(0.11, abs=0.04)


def test_a_share_of_the_samples_has_holes_in_some_parts_alone() -> None:
    tokens, mask = torch.randint(CODES, (512, 12, PARTS)), torch.ones(512, 12, dtype=torch.bool)
    mask[:256, 8:] = False

    def drawn(share: float) -> torch.Tensor:
        model = make_masked()
        model.config = replace(model.config, part_mask_prob=share)
        return model.corrupt(tokens, mask, Draws(512, tokens.device)).chosen

    chosen = drawn(1.0)
    assert not chosen[:256, 8:].any() and chosen.flatten(1).any(dim=1).all()
    parts = chosen.any(dim=1).sum(dim=1)
    assert set(parts.tolist()) == set(range(1, PARTS + 1)) and parts.float().mean() < 0.75 * PARTS
    # A part may be all there is to draw, with everything else given.
    full = (chosen.sum(dim=1) == mask.sum(dim=1, keepdim=True)).sum(dim=1)
    assert ((full == parts) & (parts < PARTS)).any()
    assert 0.15 < (drawn(0.3).any(dim=1).sum(dim=1) < PARTS).float().mean() < 0.6


def test_random_withholding_has_the_asked_rates() -> None:
    draws = Draws(4000, torch.device("cpu"))
    condition = make_condition(4000).randomly_withheld(0.1, 0.2, 0.3, draws)
    text, retrieval = condition.keep_text, condition.keep_retrieval
    rates = [(~text & ~retrieval), (~text & retrieval), (text & ~retrieval), (text & retrieval)]
    for rate, expected in zip(rates, (0.1, 0.2, 0.3, 0.4), strict=True):
        assert rate.float().mean().item() == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("retrieved", RETRIEVED)
@pytest.mark.parametrize("cond_scale", [1.0, 4.0])
def test_a_sample_is_the_same_alone_and_in_a_batch(retrieved: str, cond_scale: float) -> None:
    model, residual, condition = make_masked(retrieved), make_residual(retrieved), make_condition(3)
    settings = SamplingSettings(cond_scale=cond_scale, res_cond_scale=cond_scale)
    steps, seeds = torch.tensor([6, 10, 8]), [5, 6, 7]
    before = condition.text.clone()
    base = sample_base(model, condition, steps, Noise(seeds, steps), settings)
    codes = sample_residual(residual, base, condition, steps, settings)
    assert codes.shape == (3, 10, PARTS, LEVELS) and int(codes.min()) >= 0 and int(codes.max()) < CODES
    assert torch.equal(codes[..., 0], base) and torch.equal(condition.text, before)
    for row in range(3):
        one, length = condition.rows(torch.tensor([row])), int(steps[row])
        alone = sample_base(
            model, one, steps[row : row + 1], Noise(seeds[row : row + 1], steps[row : row + 1]), settings
        )
        assert torch.equal(alone[0], base[row, :length])
        finished = sample_residual(residual, alone, one, steps[row : row + 1], settings)
        assert torch.equal(finished[0], codes[row, :length])
    other = sample_base(model, condition, steps, Noise([8, 9, 10], steps), settings)
    assert not torch.equal(other, base)


def test_sampling_follows_the_schedule_and_what_is_decided_stays() -> None:
    model, condition, steps = make_masked("none"), make_condition(2), torch.tensor([5, 8])
    settings, passes, forward = SamplingSettings(cond_scale=1.0, time_steps=6), [], model.forward
    model.forward = lambda tokens, *rest, **asked: passes.append(tokens.clone()) or forward(tokens, *rest, **asked)
    passes.append(sample_base(model, condition, steps, Noise([1, 2], steps), settings))
    for row, length in enumerate(steps.tolist()):
        seen = [tokens[row, :length] for tokens in passes]
        masked = [int((tokens == model.mask_id).sum()) for tokens in seen]
        assert masked == [*mask_schedule(length * PARTS, 6), 0]
        for before, after in zip(seen, seen[1:], strict=False):
            decided = before != model.mask_id
            assert torch.equal(after[decided], before[decided])


def test_guidance_weighs_what_each_pass_sees() -> None:
    model, condition = make_masked("tokens"), make_condition(3)
    tokens, mask = torch.randint(CODES, (3, 6, PARTS)), torch.ones(3, 6, dtype=torch.bool)
    both, text, neither = (
        model(tokens, mask, seen)
        for seen in (
            condition,
            condition.withheld(retrieval=True),
            condition.withheld(text=True, retrieval=True),
        )
    )

    def guided(*scales: float | None, given: Condition = condition) -> torch.Tensor:
        return Guidance(model, given, *scales).logits(tokens, mask)

    torch.testing.assert_close(guided(1.0), both)
    torch.testing.assert_close(guided(3.0), neither + 3 * (both - neither))
    torch.testing.assert_close(guided(3.0, 3.0), guided(3.0))
    torch.testing.assert_close(guided(3.0, 5.0), neither + 3 * (text - neither) + 5 * (both - text))
    torch.testing.assert_close(guided(3.0, 5.0, given=condition.withheld(retrieval=True)), 3 * text - 2 * neither)
    for scales in ((3.0,), (1.0, 4.0)):
        torch.testing.assert_close(Guidance(model, condition, *scales).logits(tokens, mask, guided=False), both)
    torch.testing.assert_close(Guidance(model, condition, 0.0).logits(tokens, mask, guided=False), neither)


def test_passes_between_the_guided_ones_cost_half() -> None:
    model, condition, steps = make_masked("tokens"), make_condition(2), torch.tensor([6, 5])

    def drawn(**settings: float) -> tuple[torch.Tensor, float]:
        chosen, found = SamplingSettings(time_steps=6, **settings), []
        spent = count(lambda: found.append(sample_base(model, condition, steps, Noise([1, 2], steps), chosen)))
        return found[0], spent.gflop

    (alone, plain), (always, twice), (seldom, less) = drawn(cond_scale=1.0), drawn(), drawn(guided_every=3)
    assert 0.3 < (less - plain) / (twice - plain) < 0.45  # early passes, of more cells, cost a little more
    assert not torch.equal(seldom, always) and not torch.equal(seldom, alone)
    assert torch.equal(drawn(guided_every=1)[0], always)


@pytest.mark.parametrize(
    ("axes", "block"), [("jt", "stacked"), ("jt", "interleaved"), ("j", "stacked"), ("t", "stacked")]
)
def test_only_what_is_wanted_is_computed(axes: str, block: str) -> None:
    torch.manual_seed(0)
    config = MaskedTransformerConfig(**SIZES, retrieved="tokens", block=block, attnj="j" in axes, attnt="t" in axes)
    model, condition = MaskedTransformer(config, DIMS, TOKENS).eval(), make_condition(3)
    tokens, mask = torch.randint(CODES, (3, 9, PARTS)), torch.ones(3, 9, dtype=torch.bool)
    mask[1, 5:] = False
    for chosen in (torch.rand(tokens.shape) < 0.4, torch.eye(3, 9 * PARTS).view(tokens.shape) > 0):
        wanted = (chosen & mask[:, :, None]).flatten().nonzero()[:, 0]
        whole, part = partial(model, tokens, mask, condition), partial(model, tokens, mask, condition, wanted=wanted)
        torch.testing.assert_close(part(), whole().flatten(0, 2)[wanted], atol=1e-5, rtol=0)
        assert count(part).gflop < count(whole).gflop


@pytest.mark.parametrize("retrieved", ["none", "tokens"])
def test_motions_are_those_of_whole_passes_and_cost_less(retrieved: str) -> None:
    model, condition, steps = make_masked(retrieved), make_condition(4), torch.tensor([6, 9, 6, 6])
    settings, drawn = SamplingSettings(time_steps=4, cond_scale=3.0, retrieval_scale=2.0), []

    def draw() -> None:
        drawn.append(sample_base(model, condition, steps, Noise([1, 2, 3, 4], steps), settings))

    def whole_pass(*inputs: object, wanted: torch.Tensor | None = None) -> torch.Tensor:
        logits = forward(*inputs)
        return logits if wanted is None else logits.flatten(0, 2)[wanted]

    cost, forward, sizes = count(draw).gflop, model.forward, []
    model.forward = lambda tokens, *rest, **asked: sizes.append(len(tokens)) or whole_pass(tokens, *rest, **asked)
    assert count(draw).gflop > 1.05 * cost and torch.equal(*drawn)
    assert sizes.count(2) == 1 and set(sizes) == {2, 4}, "motions of one length begin alike where nothing is told"
    model.forward = whole_pass
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Guidance, "first_logits", lambda self, *inputs: self.logits(*inputs[:2], wanted=inputs[2]))
        draw()
    assert torch.equal(drawn[2], drawn[0])


def test_top_logits_are_kept() -> None:
    logits = torch.randn(4, 50)
    kept = torch.isfinite(keep_top(logits, 0.9))
    assert (kept.sum(dim=-1) == 5).all() and kept.gather(-1, logits.argmax(dim=-1, keepdim=True)).all()
    assert torch.isfinite(keep_top(logits, 1.0)).sum(dim=-1).eq(1).all()


@pytest.mark.parametrize("share_weight", [False, True])
def test_residual_levels_do_not_see_themselves(share_weight: bool) -> None:
    model, condition = make_residual(share_weight=share_weight), make_condition(3)
    codes, mask = torch.randint(CODES, (3, 8, PARTS, LEVELS)), torch.ones(3, 8, dtype=torch.bool)
    level = torch.tensor([1, 2, 1])
    logits = model(codes, level, mask, condition)
    changed = codes.clone()
    changed[..., 2] = (changed[..., 2] + 1) % CODES
    changed[0, ..., 1] = (changed[0, ..., 1] + 1) % CODES
    torch.testing.assert_close(model(changed, level, mask, condition), logits)
    changed[1, ..., 1] = (changed[1, ..., 1] + 1) % CODES
    assert (model(changed, level, mask, condition) - logits)[1].abs().max() > 1e-3
    assert (model(changed, level, mask, condition) - logits)[0].abs().max() < 1e-5, "samples mix"


def test_shared_weights_project_onto_the_embedding_of_their_level() -> None:
    model = make_residual(share_weight=True)
    hidden = torch.randn(3, 8 * PARTS, 32)
    model.transformer.forward = lambda *_: hidden
    codes, mask, level = torch.zeros(3, 8, PARTS, LEVELS, dtype=int), torch.ones(3, 8, dtype=bool), [1, 2, 1]
    logits = model(codes, torch.tensor(level), mask, make_condition(3)).flatten(1, 2)
    # Level 1 is an input of level 2 too; nothing comes above level 2, whose table is an output only.
    for row, table in enumerate((model.embeddings[1], model.outputs[0], model.embeddings[1])):
        torch.testing.assert_close(logits[row], hidden[row] @ table.T)
    assert len(model.embeddings) == LEVELS - 1 and len(model.outputs) == 1


def test_tokens_and_losses_learn() -> None:
    torch.manual_seed(0)
    model, condition = make_masked("tokens").train(), make_condition(4)
    tokens, mask = torch.randint(CODES, (4, 6, PARTS)), torch.ones(4, 6, dtype=torch.bool)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(150):
        loss = model.loss(tokens, mask, condition, Draws(4, tokens.device)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_codes_that_are_alike_start_alike() -> None:
    torch.manual_seed(0)
    codebooks = [torch.randn(CODES, 8) * 2.0**-level for level in range(3)]
    codebooks[0][1] = codebooks[0][0] + 0.01
    table = codebook_table(codebooks[0], 32)
    assert table.shape == (CODES, 32) and table.std().item() == pytest.approx(1.0, rel=1e-4)
    nearest = torch.cdist(table, table).fill_diagonal_(torch.inf).argmin(dim=1)
    assert nearest[0] == 1 and nearest[1] == 0


def test_one_projection_serves_all_levels() -> None:
    model = make_residual()
    codebooks = [torch.randn(CODES, 8) * 2.0**-level for level in range(model.num_quantizers)]
    model.start_from(codebooks)
    codes = torch.cat(codebooks) - torch.cat(codebooks).mean(dim=0)
    embeddings = model.embeddings.detach().flatten(0, 1)
    projection = torch.linalg.lstsq(codes[: len(embeddings)], embeddings).solution
    torch.testing.assert_close(codes[: len(embeddings)] @ projection, embeddings, atol=1e-5, rtol=1e-4)
    assert model.outputs.std(dim=(1, 2)).allclose(torch.tensor(0.05), rtol=0.1)
