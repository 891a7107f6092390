"""A codebook at any number of vectors a code, beside k-means: `python -m benchmarks.codebook`.

Batches come from a fixed mixture of more clusters than codes; halfway, half of the clusters give way to others. Prints
the codes that were put elsewhere at some steps, the share in use, and the error against that of k-means (k-means++
seeds, the better of two) on the same clusters.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor

from engine.schedule import seed_everything
from models.vq.quantizer import Codebook

CODES, WIDTH, CLUSTERS = 256, 16, 400
STEPS = 150
SHOWN = (1, 2, 10, 50, 150)
JUDGED = 20_000  # vectors


def draw(centres: Tensor, count: int) -> Tensor:
    """(count, WIDTH) vectors of the clusters."""
    chosen = centres[torch.randint(len(centres), (count,))]
    return chosen + 0.3 * torch.randn_like(chosen)


def k_means_error(vectors: Tensor) -> float:
    """Mean squared distance from the nearest centre."""
    errors = []
    for seed in range(2):
        centres = torch.from_numpy(kmeans2(vectors.numpy(), CODES, minit="++", seed=seed, iter=20)[0])
        errors.append(float(torch.cdist(vectors, centres).amin(dim=1).square().mean()))
    return min(errors)


def measure(ratio: int, phases: list[tuple[Tensor, Tensor, float]]) -> list[str]:
    """The cells of a row: for each phase the codes put elsewhere, their use, and the error against k-means."""
    codebook, cells = Codebook(CODES, WIDTH, 0.99), [f"{ratio:,}"]
    for centres, judged, reference in phases:
        moved = []
        for _ in range(STEPS):
            vectors = draw(centres, ratio * CODES)
            codebook.initialise(vectors)
            moved.append(int(codebook.update(vectors, codebook.nearest(vectors))))
        nearest = codebook.nearest(judged)
        error = float((judged - codebook.codes[nearest]).square().sum(dim=1).mean())
        cells.append(", ".join(str(moved[step - 1]) for step in SHOWN))
        cells.append(f"{100 * np.mean(moved[50:]) / CODES:.2f} %")
        cells.append(f"{100 * len(nearest.unique()) / CODES:.1f} %")
        cells.append(f"{error / reference:.3f}")
    return cells


def main() -> None:
    """A row a ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratios", type=int, nargs="+", default=[1, 3, 12, 35, 96, 200, 1000], help="vectors a code")
    parser.add_argument("--spread", type=float, default=1.0, help="of the cluster centres")
    options = parser.parse_args()
    seed_everything(0)
    first = options.spread * torch.randn(CLUSTERS, WIDTH)
    second = torch.cat([first[: CLUSTERS // 2], options.spread * torch.randn(CLUSTERS // 2, WIDTH)])
    phases = []
    for centres in (first, second):
        judged = draw(centres, JUDGED)
        phases.append((centres, judged, k_means_error(judged)))
    shown = ", ".join(map(str, SHOWN))
    heads = [f"put elsewhere at step {shown}", "a step, after 50", "in use", "error / k-means"]
    print(f"| vectors a code | {' | '.join(heads)} | {' | '.join(f'new clusters: {head}' for head in heads)} |")
    print("| --- " * 9 + "|")
    for ratio in options.ratios:
        print(f"| {' | '.join(measure(ratio, phases))} |", flush=True)


if __name__ == "__main__":
    main()
