"""What retrieval costs: `python -m benchmarks.retrieval` prints times, and their ratios to a plain matrix product.

What libraries of other sizes cost: `python -m benchmarks.growth --curves rows`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as functional

from benchmarks.figures import median_seconds
from engine.retriever_task import CaptionTexts, RetrieverTask
from models.configs import PartTMRConfig
from models.rag.database import Embedded, Entry, RAGDatabase
from models.text_encoder import TextFeatures
from options.presets import PRESETS
from Part_TMR.model import RetrieverModel
from Part_TMR.momentum_model import Keys
from Part_TMR.retriever import Retriever
from utils.formats import get_format

ROWS, WIDTH, CAPTIONS, TOP = 66_912, 512, 64, 10  # the training rows of HumanML3D
CAPTIONS_PER_MOTION = 3
REPEATS = 5
PADDED_FRAMES = 224
TEXT_WIDTH = 384


def unit(*shape: int) -> torch.Tensor:
    """Random vectors of length 1."""
    return functional.normalize(torch.randn(*shape), dim=-1)


def search() -> None:
    """Exact search of distinct motions against the matrix product it cannot do without."""
    motions = ROWS // CAPTIONS_PER_MOTION
    entries = tuple(Entry(f"{n:06d}", f"{n:06d}", ("a",) * CAPTIONS_PER_MOTION) for n in range(motions))
    facts = {"retriever": {"name": "tmr", "hash": ""}, "dataset": "humanml3d"}
    embedded = Embedded(entries, unit(ROWS, WIDTH), unit(motions, WIDTH), torch.zeros(motions, 6, 1))
    database = RAGDatabase(embedded, facts)
    queries = unit(CAPTIONS, WIDTH)
    product = median_seconds(lambda: queries @ database.embedded.text.T, REPEATS)
    ours = median_seconds(lambda: database.search(queries, TOP), REPEATS)

    def one_caption() -> None:
        scores = functional.cosine_similarity(queries[:1], database.embedded.text)
        scores.argsort(descending=True)

    one_by_one = median_seconds(one_caption, REPEATS) * CAPTIONS
    print(f"search of {CAPTIONS} captions in {ROWS:,} x {WIDTH} rows, top {TOP} distinct motions")
    print(f"  exact search {ours:.3f} s = {ours / product:.1f} x the matrix product ({product:.3f} s)")
    print(f"  per-caption cosine and full sort {one_by_one:.2f} s = {one_by_one / product:.0f} x")


def building() -> None:
    """Encoders of the paper's sizes: each motion once in batches of like length, against every row alone, padded."""
    model = RetrieverModel(replace(PartTMRConfig(), text_encoder="minilm"), get_format("humanml3d"), TEXT_WIDTH)
    retriever = Retriever(model, None, "tmr")
    generator = np.random.default_rng(0)
    lengths = generator.integers(40, 200, 48)
    motions = [generator.normal(size=(length, 263)).astype(np.float32) for length in lengths]
    padded = torch.zeros(1, PADDED_FRAMES, 263)
    mask = torch.ones(1, PADDED_FRAMES, dtype=torch.bool)
    with torch.no_grad():
        alone = median_seconds(lambda: model.encode_motion(padded, mask), 3)
    ours = median_seconds(lambda: retriever.encode_motion(motions), 1) / (len(motions) * CAPTIONS_PER_MOTION)
    frames = retriever.batches([]).at_once
    print(f"building with the paper's encoders, {CAPTIONS_PER_MOTION} captions a motion ({frames} frames at once)")
    print(f"  {1 / ours:.1f} rows a second; each row alone, padded to {PADDED_FRAMES} frames: {1 / alone:.1f}")
    print(f"  ratio of the times 1/{alone / ours:.1f}")


class RandomStore:
    """Features of captions without a text encoder."""

    def rows(self, indices: torch.Tensor) -> TextFeatures:
        states = torch.randn(len(indices), 16, TEXT_WIDTH)
        return TextFeatures(states.mean(dim=1), states, torch.ones(states.shape[:2], dtype=torch.bool))


def training() -> None:
    """A step with momentum queues against a step with in-batch negatives alone, at the mini sizes."""
    preset = PRESETS["tmr"]["mini"]
    sizes = {name: value for name, value in preset.items() if hasattr(PartTMRConfig, name)}
    batch_size, frames = preset["batch_size"], 80
    rows = torch.arange(batch_size)
    batch = {
        "motion": torch.randn(batch_size, frames, 263),
        "mask": torch.ones(batch_size, frames, dtype=torch.bool),
        "caption_index": rows,
        "take_index": rows,
    }
    texts = CaptionTexts([f"caption {n}" for n in range(batch_size)], rows.numpy(), RandomStore())
    print(f"a training step of {batch_size} pairs of {frames} frames, mini sizes")
    in_batch = 0.0
    for queue in (0, 1024, 4096, 16384):
        task = RetrieverTask(
            RetrieverModel(PartTMRConfig(**{**sizes, "queue_size": queue}), get_format("humanml3d"), TEXT_WIDTH),
            texts,
            texts,
        )
        optimizer = torch.optim.AdamW(task.model.parameters(), fused=True)

        def step(task: RetrieverTask = task, optimizer: torch.optim.Optimizer = optimizer) -> None:
            losses = task(batch | task.host_fetcher()(batch))
            sum(losses[name] * weight for name, weight in task.loss_weights.items()).backward()
            optimizer.step()
            optimizer.zero_grad()
            task.after_step()

        if queue:
            vectors, strangers = unit(queue, task.model.config.embed_dim), torch.full((queue,), len(rows))
            task.momentum.queue.add(Keys(vectors, vectors, strangers, strangers))
        spent = median_seconds(step, REPEATS)
        in_batch = in_batch or spent
        print(f"  queue {queue:6d}: {1000 * spent:.0f} ms = {spent / in_batch:.2f} x in-batch")


if __name__ == "__main__":
    torch.manual_seed(0)
    search()
    building()
    training()
