"""Invariants of the RVQ-VAE."""

import random
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from torch import distributed

from models.configs import RVQConfig
from models.vq.quantizer import ResidualQuantizer
from models.vq.rvq import RVQVAE
from models.vq.tokenise import cached_tokens, tokenise
from utils.errors import UserError
from utils.fingerprint import weights_hash
from utils.formats import get_format

SMALL = {"width": 16, "depth": 2, "code_dim2d": 8, "nb_code2d": 16, "num_quantizers": 3}


@pytest.fixture(params=[("humanml3d", "early"), ("humanml3d", "late"), ("kit", "early"), ("kit", "late")], ids="-".join)
def model(request: pytest.FixtureRequest) -> RVQVAE:
    torch.manual_seed(0)
    layout, merge_parts = request.param
    model = RVQVAE(RVQConfig(merge_parts=merge_parts, **SMALL), get_format(layout))
    model.train()
    model(torch.randn(8, 64, model.form.n_features))  # initialises the codebooks
    return model.eval()


def test_shapes(model: RVQVAE) -> None:
    features = torch.randn(2, 40, model.form.n_features)
    codes = model.encode(features)
    assert codes.shape == (2, 10, 6, 3) and codes.min() >= 0 and codes.max() < 16
    assert model.decode(codes).shape == features.shape
    assert model.decode(codes[..., :1]).shape == features.shape
    everywhere = torch.ones(2, 40, dtype=torch.bool)
    assert torch.equal(model.encode(features, everywhere), codes)
    assert torch.equal(model.decode(codes, everywhere[:, ::4]), model.decode(codes))
    with torch.no_grad():
        assert torch.equal(model(features, everywhere).quantized.codes, codes)


def test_padding_changes_nothing(model: RVQVAE) -> None:
    torch.manual_seed(1)
    features = torch.randn(2, 48, model.form.n_features)
    mask = torch.ones(2, 48, dtype=torch.bool)
    mask[0, 28:] = False
    codes = model.encode(features, mask)
    alone = model.encode(features[:1, :28])
    assert torch.equal(codes[:1, :7], alone)
    decoded = model.decode(codes, mask[:, ::4])
    torch.testing.assert_close(decoded[:1, :28], model.decode(alone), atol=1e-5, rtol=0)
    other = torch.where(mask[:, ::4, None, None], codes, 5)
    torch.testing.assert_close(model.decode(other, mask[:, ::4])[:1, :28], decoded[:1, :28], atol=1e-5, rtol=0)


def test_save_and_load_give_identical_codes(model: RVQVAE) -> None:
    copy = RVQVAE(model.config, model.form).eval()
    copy.load_state_dict(model.state_dict())
    features = torch.randn(2, 40, model.form.n_features)
    assert torch.equal(copy.encode(features), model.encode(features))
    assert weights_hash(copy.state_dict()) == weights_hash(model.state_dict())


def test_odd_lengths_are_refused(model: RVQVAE) -> None:
    with pytest.raises(UserError, match="multiple of 4"):
        model.encode(torch.randn(1, 42, model.form.n_features))


def test_straight_through_gradient_is_one() -> None:
    quantizer = ResidualQuantizer(3, 16, 8, 0.99, dropout_prob=0.0, temperature=0.0)
    latent = torch.randn(2, 4, 6, 8, requires_grad=True)
    mask = torch.ones(2, 4, dtype=torch.bool)
    mask[1, 2:] = False
    quantizer(latent, mask).values.sum().backward()
    expected = mask[:, :, None, None].expand_as(latent).float()
    torch.testing.assert_close(latent.grad, expected)


def test_levels_reduce_the_error_and_dropout_marks_missing_levels() -> None:
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(4, 32, 8, 0.9, dropout_prob=1.0, temperature=0.5)
    latent, mask = torch.randn(16, 8, 6, 8), torch.ones(16, 8, dtype=torch.bool)
    seen = set()
    for _ in range(40):
        codes = quantizer(latent, mask).codes
        used = int((codes[0, 0, 0] >= 0).sum())
        assert (codes[..., :used] >= 0).all() and (codes[..., used:] == -1).all()
        seen.add(used)
    assert seen == {1, 2, 3, 4}
    quantizer.eval()
    codes = quantizer(latent, mask).codes
    errors = [(quantizer.lookup(codes[..., :q]) - latent).square().mean().item() for q in (1, 2, 3, 4)]
    assert errors == sorted(errors, reverse=True)


def test_dead_codes_are_revived() -> None:
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(1, 64, 4, 0.5, dropout_prob=0.0, temperature=0.0)
    mask = torch.ones(32, 8, dtype=torch.bool)
    quantizer(torch.zeros(32, 8, 6, 4) + 100, mask)  # all codes start far from what follows
    latent = torch.randn(32, 8, 6, 4)
    for _ in range(20):
        codes = quantizer(latent, mask).codes
    assert len(codes.unique()) > 32


def _quantise_in_process(rank: int, folder: str) -> None:
    """One of two processes, each with latents and random numbers of its own."""
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=timedelta(seconds=30)
    )
    random.seed(0)
    torch.manual_seed(rank)
    quantizer = ResidualQuantizer(4, 16, 8, 0.9, dropout_prob=0.7, temperature=0.5)
    mask = torch.ones(4, 8, dtype=torch.bool)
    used = [int((quantizer(torch.randn(4, 8, 6, 8), mask).codes[0, 0, 0] >= 0).sum()) for _ in range(12)]
    torch.save({"used": used, "state": quantizer.state_dict()}, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_processes_drop_the_same_levels_and_share_their_codebooks(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_quantise_in_process, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert first["used"] == second["used"] and len(set(first["used"])) > 1
    for name, values in first["state"].items():
        torch.testing.assert_close(values, second["state"][name], msg=name)


def test_tokenising_is_the_same_alone_together_and_from_the_cache(model: RVQVAE, tmp_path, monkeypatch) -> None:
    motions = [torch.randn(length, model.form.n_features).numpy() for length in (40, 64, 52)]
    together = tokenise(model, motions)
    for motion, codes in zip(motions, together, strict=True):
        assert torch.equal(codes, model.encode(torch.from_numpy(motion)[None])[0])
    for _ in range(2):
        for first, second in zip(cached_tokens(model, motions, tmp_path), together, strict=True):
            assert torch.equal(first, second)
    with monkeypatch.context() as patch:
        patch.setattr(RVQVAE, "encode", None)
        assert torch.equal(cached_tokens(model, motions[:1], tmp_path)[0], together[0]), "all are there: none is made"
    monkeypatch.setattr("models.vq.tokenise.FRAMES_AT_ONCE", 110)
    for first, second in zip(tokenise(model, motions), together, strict=True):
        assert torch.equal(first, second)
    changed = [motions[0] + 1.0, *motions[1:]]
    assert torch.equal(cached_tokens(model, changed, tmp_path)[0], tokenise(model, changed)[0])
    with torch.no_grad():
        model.normalizer.std.mul_(2)
    assert torch.equal(cached_tokens(model, changed, tmp_path)[0], tokenise(model, changed)[0]), "another model's"
