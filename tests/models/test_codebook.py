"""A codebook is alive at any number of vectors a code, judged beside k-means on the same data."""

import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor, distributed

from models.vq.quantizer import Codebook, ResidualQuantizer
from storage.checkpoint import load_state

CODES, WIDTH = 128, 8
Source = Callable[[int], Tensor]


def mixture(seed: int, spread: float = 3.0, n_centres: int = 200) -> Source:
    """Vectors of Gaussian clusters, more of them than codes."""
    generator = torch.Generator().manual_seed(seed)
    centres = spread * torch.randn(n_centres, WIDTH, generator=generator)

    def draw(count: int) -> Tensor:
        chosen = centres[torch.randint(n_centres, (count,), generator=generator)]
        return chosen + 0.3 * torch.randn(count, WIDTH, generator=generator)

    return draw


def k_means_error(vectors: Tensor, codes: int = CODES) -> float:
    """Mean squared distance from the centres of k-means with k-means++ seeds."""
    centres, _ = kmeans2(vectors.numpy(), codes, minit="++", seed=0, iter=20)
    return float(torch.cdist(vectors, torch.from_numpy(np.asarray(centres))).amin(dim=1).square().mean())


def train(codebook: Codebook, draw: Source, steps: int, ratio: int) -> list[int]:
    """Codes put to another place in each of the steps."""
    revived = []
    for _ in range(steps):
        vectors = draw(ratio * len(codebook.codes))
        codebook.initialise(vectors)
        revived.append(int(codebook.update(vectors, codebook.nearest(vectors))))
    return revived


def error_and_use(codebook: Codebook, vectors: Tensor) -> tuple[float, float]:
    """Mean squared distance from the nearest codes, and the share of codes that are some vector's nearest."""
    nearest = codebook.nearest(vectors)
    return float((vectors - codebook.codes[nearest]).square().sum(dim=1).mean()), len(nearest.unique()) / len(
        codebook.codes
    )


@pytest.mark.parametrize("ratio", [1, 3, 12, 35, 96, 200, 1000])
def test_a_codebook_is_as_good_as_k_means_at_any_number_of_vectors_a_code(ratio: int) -> None:
    torch.manual_seed(0)
    codes = CODES if ratio < 1000 else CODES // 4  # the ratio counts, and costs
    draw = mixture(0, n_centres=codes * 3 // 2)
    codebook = Codebook(codes, WIDTH, 0.99)
    revived = train(codebook, draw, 80, ratio)
    vectors = draw(100 * codes)
    error, use = error_and_use(codebook, vectors)
    assert error < 1.1 * k_means_error(vectors, codes)
    assert use > 0.95
    assert np.mean(revived[50:]) / codes < 0.01


@pytest.mark.parametrize("ratio", [1, 12, 48])
def test_clusters_that_vanish_and_appear_are_followed(ratio: int) -> None:
    torch.manual_seed(0)
    codebook = Codebook(CODES, WIDTH, 0.99)
    train(codebook, mixture(0), 60, ratio)
    kept, new = mixture(0), mixture(1)

    def draw(count: int) -> Tensor:
        return torch.where((torch.arange(count) % 2 == 0)[:, None], kept(count), new(count))

    revived = train(codebook, draw, 260, ratio)
    vectors = draw(12_800)
    error, use = error_and_use(codebook, vectors)
    assert error < 1.1 * k_means_error(vectors)
    assert use > 0.95
    assert np.mean(revived[-50:]) / CODES < 0.01


@pytest.mark.parametrize("ratio", [3, 40])
def test_latents_that_collapse_late_and_come_back_lose_no_code(ratio: int) -> None:
    torch.manual_seed(0)
    draw = mixture(0)
    codebook = Codebook(CODES, WIDTH, 0.99)
    train(codebook, draw, 60, ratio)
    for scale in (0.01, 1.0):
        train(codebook, lambda count, scale=scale: scale * draw(count), 200, ratio)
        vectors = scale * draw(12_800)
        error, use = error_and_use(codebook, vectors)
        assert error < 1.1 * k_means_error(vectors)
        assert use > 0.95


def test_fewer_vectors_than_codes_and_equal_vectors_are_survived() -> None:
    torch.manual_seed(0)
    codebook = Codebook(CODES, WIDTH, 0.99)
    for vectors in (torch.randn(5, WIDTH), torch.ones(CODES * 2, WIDTH), torch.randn(CODES * 40, WIDTH)):
        codebook.initialise(vectors)
        for _ in range(120):
            codebook.update(vectors, codebook.nearest(vectors))
        assert torch.isfinite(codebook.codes).all()
    assert error_and_use(codebook, vectors)[1] > 0.95


def test_another_batch_size_and_files_without_the_use_of_codes_kill_no_code() -> None:
    torch.manual_seed(0)
    draw = mixture(0)
    old, new = Codebook(CODES, WIDTH, 0.99), Codebook(CODES, WIDTH, 0.99)
    train(old, draw, 60, 3)
    state = {name: value.clone() for name, value in old.state_dict().items() if name != "code_use"}
    load_state(new, state, "a former file")
    assert train(new, draw, 1, 200)[0] / CODES < 0.01


def test_a_resumed_codebook_goes_on_with_the_same_codes() -> None:
    def steps(codebook: Codebook, first: int, last: int) -> None:
        for step in range(first, last):
            random.seed(step)
            train(codebook, mixture(step), 1, 12)

    straight, before, after = (Codebook(CODES, WIDTH, 0.99) for _ in range(3))
    steps(straight, 0, 30)
    steps(before, 0, 15)
    after.load_state_dict(before.state_dict())
    steps(after, 15, 30)
    for name, values in straight.state_dict().items():
        assert torch.equal(values, after.state_dict()[name]), name


def test_vectors_of_padding_teach_nothing_and_are_never_taken() -> None:
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(2, 16, WIDTH, 0.99, dropout_prob=0.0, temperature=0.0)
    mask = torch.ones(8, 12, dtype=torch.bool)
    mask[:, 6:] = False
    for _ in range(60):
        latent = torch.randn(8, 12, 6, WIDTH)
        latent[:, 6:] += 1000
        quantizer(latent, mask)
    assert max(float(level.codes.abs().max()) for level in quantizer.levels) < 10
    few = ResidualQuantizer(2, 64, WIDTH, 0.99, dropout_prob=0.0, temperature=0.0)
    few(latent, mask & (torch.arange(12) < 1))  # fewer vectors that count than codes
    assert max(float(level.codes.abs().max()) for level in few.levels) < 10


def _train_in_process(rank: int, folder: str) -> None:
    """One of two processes, each of which sees clusters that the other one does not."""
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    random.seed(0)
    torch.manual_seed(rank)
    codebook = Codebook(CODES, WIDTH, 0.99)
    revived = train(codebook, mixture(rank), 150, 24)
    torch.save({"revived": revived, "state": codebook.state_dict()}, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_make_one_codebook_of_what_both_see(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_train_in_process, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert first["revived"] == second["revived"] and np.mean(first["revived"][50:]) / CODES < 0.01
    for name, values in first["state"].items():
        assert torch.equal(values, second["state"][name]), name
    codebook = Codebook(CODES, WIDTH, 0.99)
    codebook.load_state_dict(first["state"])
    vectors = torch.cat([mixture(rank)(6_400) for rank in range(2)])
    error, use = error_and_use(codebook, vectors)
    assert error < 1.1 * k_means_error(vectors)
    assert use > 0.95


def test_kept_codes_follow_their_vectors_and_are_put_nowhere_else() -> None:
    """Few clips use few codes: the others stay to the bit, and do not jump once they are needed again."""
    draw = mixture(3)
    codebook = Codebook(CODES, WIDTH, 0.99)
    train(codebook, draw, 50, 8)
    before = codebook.codes.clone()
    codebook.kept = True
    few = draw(2000)[:12]
    shift = torch.full((WIDTH,), 0.1)
    used = torch.zeros(CODES, dtype=torch.bool)
    for _ in range(3000):  # a moving average of nothing would have vanished by then
        index = codebook.nearest(few + shift)
        used[index] = True
        assert int(codebook.update(few + shift, index)) == 0
    assert 0 < int(used.sum()) < CODES // 4
    assert torch.equal(codebook.codes[~used], before[~used]) and not torch.equal(codebook.codes[used], before[used])
    for code in index.unique():
        torch.testing.assert_close(codebook.codes[code], (few + shift)[index == code].mean(dim=0), atol=1e-3, rtol=0)
    number = int((~used).nonzero()[0])
    codebook.update(before[number : number + 1] + 1, torch.tensor([number]))
    assert float((codebook.codes[number] - before[number]).norm()) < 0.1
