"""How long the shipped models take: `python -m benchmarks.generation` prints seconds and peak memory."""

from __future__ import annotations

import resource
import time


def main() -> None:
    """Measures in a fresh process, imports included."""
    started = time.perf_counter()
    from pipeline import TextToMotion

    t2m = TextToMotion.load()
    print(f"load (imports included)   {time.perf_counter() - started:6.2f} s")
    sequences = [f"a person walks and then {action}" for action in ("jumps", "waves", "sits", "kicks")]
    for label, prompts in (
        ("first prompt, 120 frames", ["a person waves"]),
        ("one prompt, 120 frames", ["a person walks on a circle"]),
        ("16 prompts, 120 frames", sequences * 4),
    ):
        started = time.perf_counter()
        t2m.generate(prompts, lengths=120)
        print(f"{label:25s} {time.perf_counter() - started:6.2f} s")
    print(f"peak memory               {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:6.2f} GB")


if __name__ == "__main__":
    main()
