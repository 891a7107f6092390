"""The tables of `benchmarks.health`, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.figures import table
from benchmarks.health_probes import Recorder, Row
from benchmarks.instruments import slope
from engine.harness import Harness
from engine.progress import peak_memory
from engine.retriever_task import RetrieverTask
from engine.vq_task import VQTask

LINES = 12  # of a table
# What a stage's table over time shows: heading -> number, or with a star the numbers of all levels.
OVER_TIME = {
    "vq": {
        "loss": "loss",
        "perplexity of the levels": "metric/perplexity/*",
        "codes in use, share": "use/*",
        "nearest code drawn, share": "nearest/*",
        "codes drawn anew a step": "metric/revived/*",
    },
    "tmr": {
        "loss": "loss",
        "R@1 in batch": "metric/batch_r1",
        "positives": "metric/positive_similarity",
        "negatives in batch": "metric/negative_similarity",
        "queue fill": "queue/filled",
        "negatives' share of it": "queue/negatives",
        "takes in it": "queue/distinct_takes",
        "captions in it": "queue/distinct_captions",
        "newest eighth": "queue/similarity_newest",
        "oldest eighth": "queue/similarity_oldest",
        "hardest of newest": "queue/hardest_newest",
        "hardest of oldest": "queue/hardest_oldest",
    },
}
OVER_TIME["mtrans"] = OVER_TIME["rtrans"] = {
    "loss": "loss",
    "accuracy": "metric/accuracy",
    "spread": "metric/token_spread",
    "val loss": "val/loss",
    "without retrieval": "val/loss_without_retrieval",
    "without text": "val/loss_without_text",
    "without both": "val/loss_without_both",
    "attention to retrieved": "attention/retrieved",
    "if shared equally": "attention/equal",
}
TITLES = {"gradient": "gradient norm of module", "spread": "spread after layer", "attention": "attention of layer"}


def shown(value: float | None) -> str:
    """A number in a table's cell."""
    return "" if value is None else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def chosen(rows: Sequence[Row], count: int = LINES) -> list[Row]:
    """The first, the last and evenly many between."""
    if len(rows) <= count:
        return list(rows)
    return [rows[round(index * (len(rows) - 1) / (count - 1))] for index in range(count)]


def over_time(stage: str, rows: Sequence[Row]) -> str:
    """A line a moment of the training."""
    columns = OVER_TIME[stage]

    def cell(row: Row, name: str) -> str:
        names = sorted(each for each in row if each.startswith(name[:-1])) if name.endswith("*") else [name]
        return " ".join(shown(row.get(each)) for each in names)

    lines = ([f"{row['step']:.0f}", *(cell(row, name) for name in columns.values())] for row in chosen(rows))
    return table(["step", *columns], lines)


def by_place(rows: Sequence[Row], prefix: str) -> str:
    """A line a module or layer, a column for each of a few moments."""
    moments = chosen(rows, 4)
    names = dict.fromkeys(name for row in moments for name in row if name.startswith(f"{prefix}/"))
    headings = [TITLES[prefix], *(f"step {row['step']:.0f}" for row in moments)]
    return table(headings, ([name.partition("/")[2], *(shown(row.get(name)) for row in moments)] for name in names))


def ratios(harness: Harness) -> dict[str, float]:
    """What decides at a stage, and should be the published training's."""
    task, model, batch = harness.task, harness.task.model, harness.settings.batch_size
    if isinstance(task, VQTask):
        cells = harness.train_dataset.window // model.frames_per_step * model.n_parts
        return {"vectors a code": batch * cells / model.config.nb_code2d}
    if isinstance(task, RetrieverTask):
        return {"queue to batch": model.config.queue_size / batch}
    steps = harness.train_dataset.lengths
    return {"cells a sample": max(steps) * model.n_parts, "mean cells": sum(steps) / len(steps) * model.n_parts}


def report(stage: str, harness: Harness, recorder: Recorder, changes: Sequence[str]) -> dict[str, Any]:
    """Prints the tables and the verdict; returns the numbers for a JSON file."""
    model, settings = harness.task.model, harness.settings
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    facts = {
        "parameters, millions": millions,
        "samples": len(harness.train_dataset),
        "batch_size": settings.batch_size,
        **ratios(harness),
        "steps": harness.step,
        "seconds": recorder.seconds,
        "loss, change a hundred steps": slope(recorder.losses),
        "peak memory, GB": peak_memory(harness.device),
        "kept for the backward pass, GB a sample": recorder.saved_bytes / settings.batch_size / 1e9,
        "device": str(harness.device),
    }
    print(f"\n{stage} on {harness.run_dir.parent.name}")
    print("changed from the published training: " + ("; ".join(changes) or "nothing"))
    print("; ".join(f"{name}: {shown(value) if isinstance(value, float) else value}" for name, value in facts.items()))
    if recorder.rows:
        print(f"\n{over_time(stage, recorder.rows)}")
        for prefix in TITLES:
            if any(name.startswith(f"{prefix}/") for name in recorder.rows[-1]):
                print(f"\n{by_place(recorder.rows, prefix)}")
    verdict = recorder.verdict()
    print("\n" + table(["verdict", stage], [[kind, complaint or "healthy"] for kind, complaint in verdict.items()]))
    return {
        "stage": stage,
        "changes": list(changes),
        "facts": facts,
        "rows": recorder.rows,
        "losses": recorder.losses,
        "validation": recorder.validation,
        "verdict": verdict,
    }
