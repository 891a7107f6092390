"""How long a story of 60 s takes with the shipped models: `python -m benchmarks.story` prints seconds and memory."""

from __future__ import annotations

import resource
import time

ACTIONS = ("walks forward", "waves the right hand", "jumps forward", "turns around", "sits down", "walks in a circle",
           "kicks with the left leg", "runs forward", "claps", "walks backward")  # fmt: skip
SCENE = 6.0  # seconds


def main() -> None:
    """Measures in a fresh process, imports included."""
    started, busy = time.perf_counter(), time.process_time()
    from pipeline import TextToMotion
    from pipeline.stories import make_story, stream

    t2m = TextToMotion.load()
    scenes = [(n * SCENE, (n + 1) * SCENE, f"a person {action}") for n, action in enumerate(ACTIONS)]
    story, frames = make_story(scenes, t2m.spec.format), 0
    print(
        f"load (imports included) {time.perf_counter() - started:6.2f} s, {time.process_time() - busy:6.2f} s of work"
    )
    started, busy = time.perf_counter(), time.process_time()
    for number, chunk in enumerate(stream(t2m, story)):
        frames += len(chunk.joints)
        if not number or frames == story.frames:
            print(
                f"{frames / chunk.fps:5.1f} s of motion after {time.perf_counter() - started:6.2f} s, "
                f"{time.process_time() - busy:6.2f} s of work"
            )
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB")


if __name__ == "__main__":
    main()
