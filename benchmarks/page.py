"""From click to result on the page, as its server works: `python -m benchmarks.page` prints seconds, step by step.

Processor seconds of the server and of ffmpeg together are what two cores share; the clock adds what else the machine
does, so its load is printed too. A click costs Gradio and the browser some 0.1 s more.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable

PROMPT, SEEDS = "a person walks in a circle", 3


def processor() -> float:
    """Processor seconds of this process and of those that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def main() -> None:
    """Measures prompts of the estimated length, one motion and several, after a first one."""
    from options.app import AppOptions
    from pipeline.app.results import ResultStore
    from pipeline.app.session import AppSession
    from pipeline.text_to_motion import TextToMotion

    t2m, usual = TextToMotion.load(), {"motion_length": None, "cond_scale": 2.0, "time_steps": 10, "retrieval": True}
    with ResultStore(3600, 50) as store:
        session = AppSession(t2m, AppOptions(), store)
        session.generate(prompt="a person waves", seed=0, motions=1, **usual)
        print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        print(f"{'':<28}{'clock':>8}{'processor':>11}  seconds")
        for motions in range(1, session.options.limits.motions + 1):
            steps: dict[str, list[tuple[float, float]]] = {}
            for seed in range(SEEDS):
                marks = [("", time.monotonic(), processor())]
                request = {"prompt": PROMPT, "seed": 10 * seed, "motions": motions, **usual}
                result = session.generate(_noting(marks), **request)
                marks.append(("end", time.monotonic(), processor()))
                for (name, clock, used), (_, later, more) in zip(marks[1:], marks[2:], strict=False):
                    steps.setdefault(name, []).append((later - clock, more - used))
                steps.setdefault("click to result", []).append((marks[-1][1] - marks[0][1], marks[-1][2] - marks[0][2]))
            size = sum(path.stat().st_size for path in store.path(result.token, "viewer.html").parent.iterdir())
            print(f"{motions} of {result.frames[0]} frames, {size / 1e6:.1f} MB of files")
            for name, rows in steps.items():
                clock, used = (sorted(column)[len(column) // 2] for column in zip(*rows, strict=True))
                print(f"  {name:<26}{clock:>8.2f}{used:>11.2f}")


def _noting(marks: list[tuple[str, float, float]]) -> Callable[[float, str], None]:
    return lambda share, what: marks.append((what, time.monotonic(), processor()))


if __name__ == "__main__":
    main()
